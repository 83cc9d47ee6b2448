"""Every way a kernel is written: the recipes of the documentation, each right as it stands and found out with a mistake."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from sampling import sample

import convfuzz
from convfuzz import Case
from convfuzz.backends import resolve
from convfuzz.backends.domains import domain_of, drawn_from
from convfuzz.entry_points import load_strategy
from convfuzz.verdicts import Verdict

DOCS = (Path(__file__).parents[2] / "docs" / "kernel-recipes.md").read_text()
RECIPES = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", DOCS, re.DOTALL))
MISTAKES = {
    "numpy_conv": ("[t * d for t, d in", "[t for t, d in"),
    "nn_module": ("self.weight[:, :, i, j]", "self.weight[:, :, i, j - 1]"),
    "jax_conv": ("w.transpose(2, 3, 1, 0)", "w[:, :, ::-1].transpose(2, 3, 1, 0)"),
    "pallas_conv": ("range(w.shape[2])", "range(1, w.shape[2])"),
    "triton_conv": ("term // taps, term % taps", "term % channels, term // channels"),
    "numba_conv": ("site * stride + tap", "site + tap"),
}
"""A line of each, and its mistake: no dilation, the tap beside, a flipped kernel, a tap left out, another layout, no stride."""
CONFIGURATIONS = {"numpy_conv": 30, "triton_conv": 3, "numba_conv": 8, "pallas_conv": 5}
"""How many are drawn; ten where a call is quick, more where few show the mistake. One of Triton's interpreter takes half a second."""
DATA = {"numba_conv": 1}
"""How many of a configuration's data recipes are run, where not all: Numba's simulator is a thread of Python for each output."""
CHEAPEST_OF = {"numba_conv": 24}
"""Of how many draws those configurations are the ones with the fewest operations, where that is not all, for the same reason."""
NEEDS = {"nn_module": "torch", "jax_conv": "jax", "pallas_conv": "jax", "triton_conv": "triton"}


def drawn_for(backend: str, count: int, data: int | None = None, draws: int | None = None) -> list[Case]:
    """Return the cases of ``count`` configurations as a campaign draws them for a kernel, with all or so much ``data`` for each.

    They are the cheapest of so many ``draws``.
    """
    domain = domain_of(resolve(backend))
    assert domain is not None
    batches = sample(load_strategy("default", drawn_from([domain])), draws or count, seed=20261129)
    if draws is not None:
        batches.sort(key=lambda batch: batch[0].config.flops)
    return [case for batch in batches[:count] for case in batch[:data]]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_right_and_a_mistake_in_it_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On cases that are drawn for it the file of the documentation agrees on each, and its copy with one line changed does not."""
    if find_spec(needed := NEEDS.get(name, "numpy")) is None:  # not imported, since Triton does not bear others in this process
        pytest.skip(f"the recipe is for {needed}; of Triton, which cannot be installed beside TensorFlow, tox run -e triton has it")
    monkeypatch.chdir(tmp_path)
    right, wrong = MISTAKES[name]
    assert RECIPES[name].count(right) == 1
    (tmp_path / f"{name}.py").write_text(RECIPES[name])
    (tmp_path / "mistaken.py").write_text(RECIPES[name].replace(right, wrong))
    names = [f"{name}.py::{name}", f"mistaken.py::{name}"]
    cases = drawn_for(names[0], CONFIGURATIONS.get(name, 10), DATA.get(name), CHEAPEST_OF.get(name))
    results = [convfuzz.check(case, names).results for case in cases]
    compared = [good for good, _ in results if good.verdict is not Verdict.UNSUPPORTED]
    assert len(compared) >= 6
    assert {str(one.verdict): one.reason for one in compared if one.verdict.failing} == {}
    assert {bad.verdict for _, bad in results} & {Verdict.WRONG, Verdict.WRONG_SHAPE}


def test_every_way_has_a_recipe() -> None:
    """Each recipe has its mistake."""
    assert set(RECIPES) == set(MISTAKES)
