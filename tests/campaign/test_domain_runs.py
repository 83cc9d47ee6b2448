"""Campaigns over kernels of narrow domains: wrong ones are found, right ones are clean, and green is never said of nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from convfuzz.campaign.assignment import Assignment
from convfuzz.campaign.plan import Plan
from convfuzz.campaign.remote_slot import RoundDone, RoundTask, run_round
from convfuzz.campaign.worker_state import Position
from convfuzz.record.journal import read_journal
from convfuzz.record.summary import Summary
from convfuzz.record.versions import installed
from convfuzz.system.json_records import decode, encode

from .kernel_sources import CORRECT
from .launch import Finished, Place, drawn

KERNELS = (Path(__file__).parents[2] / "benchmarks" / "narrow_kernels.py").read_text().replace("from __future__ import annotations\n", "")
DOCS = (Path(__file__).parents[2] / "docs" / "kernels.md").read_text()
RECIPES = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", DOCS, re.DOTALL))

RARE = """
import convfuzz

TABLE = {"37/(5, 9)/(3, 1)", "38/(5, 9)/(3, 1)", "39/(5, 9)/(3, 1)"}


@convfuzz.backend(supports=lambda c: f"{c.in_channels}/{c.kernel_size}/{c.stride}" in TABLE and c.op == "conv" or "not in the table")
def rare(x, w, b, config):
    return correct(x, w, b, config) + 1


@convfuzz.backend(
    ops=("conv",), dims=(1,), supports=lambda c: c.kernel_size[0] <= 4 and c.groups == 1 and c.padding_mode == "zeros"
)
def short(x, w, b, config):
    return correct(x, w, b, config)


@convfuzz.backend(supports=lambda c: "nothing at all")
def nothing(x, w, b, config):
    raise AssertionError


def unannounced(x, w, b, config):
    y = correct(x, w, b, config)
    if config.kernel_size != (1,):
        raise convfuzz.Unsupported("one tap only")
    return y
"""


def compared(done: Finished, function: str) -> tuple[int, int]:
    """Return how many cases of how many configurations were compared."""
    (backend,) = [backend for name, backend in done.run.summary.backends.items() if name.endswith(f"::{function}")]
    return backend.compared, len(backend.coverage.configs)


WRONG = ("causal", "refusing", "stem", "half", "volume", "halving", "fixed", "upsampling", "patches", "vocoder", "pointwise")


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_kernel_is_found_in_its_narrow_domain(tmp_path: Path, name: str) -> None:
    """Some dozens of cases are enough to find what is wrong; hardly any of them is declined.

    A worker runs them as in any campaign; what a campaign then makes of failures is not waited for.
    """
    most = {"pointwise": 120, "patches": 120}.get(name, 24)  # whose mistakes show on one in six numbers of channels, on oblong grids
    (tmp_path / "kernels.py").write_text(CORRECT + KERNELS)
    backend = f"{tmp_path / 'kernels.py'}::wrong_{name}"
    plan = Plan(backends=[backend], strategy="default", seed=1, max_cases=most)
    task = RoundTask(assignment=Assignment(plan=plan, directory="", worker=0, position=Position(round=0), cases=most), versions=installed())
    done = decode(run_round(encode(task)), RoundDone)
    assert not done.refused
    (tmp_path / "journal-0.jsonl").write_text(done.journal)
    told = Summary.of(read_journal(tmp_path / "journal-0.jsonl")).backends[backend]
    assert told.compared >= 0.9 * most
    assert any(verdict.failing for verdict in told.verdicts)


def test_a_run_over_a_wrong_kernel_of_a_narrow_domain_has_a_finding(place: Place) -> None:
    """A campaign over a kernel that refuses most cases where it is called reduces what is wrong with the others, and exits 1."""
    done = place.run_warm(KERNELS, ["wrong_refusing"], "--seed", "1", "--max-cases", "24")
    assert done.status == 1, done.stdout
    (cause,) = done.run.causes
    lead = next(finding for finding in done.run.findings if finding.fingerprint == cause.lead)
    assert (lead.verdict in {"wrong", "non-finite"}, lead.reduction) == (True, "minimal")


@pytest.mark.parametrize("name", ["causal", "refusing", "stem", "half", "fixed", "upsampling", "patches"])
def test_a_right_kernel_is_clean_on_fifty_configurations(place: Place, name: str) -> None:
    """Its run ends with status 0, and says what it compared."""
    most = 160 if name == "fixed" else 70  # of a single layer there are few that differ: batch, bias, layout
    done = place.run_warm(KERNELS, [f"right_{name}"], "--seed", "1", "--max-cases", str(most))
    assert done.status == 0, done.stdout
    cases, configs = compared(done, f"right_{name}")
    assert configs >= 50
    assert f"right_{name}: no finding in {cases} compared cases of {configs} configurations" in done.stdout
    assert "No findings." in done.stdout


def test_a_start_finds_what_no_search_finds(place: Place) -> None:
    """Without one nothing is compared, which is no clean run; with --near a wrong kernel of a rare domain is found."""
    options = ("--seed", "1", "--max-cases", "10")
    without = place.run_warm(RARE, ["rare"], *options)
    assert without.status == 2
    assert "This run proves nothing" in without.stdout
    done = place.run_warm(RARE, ["rare"], *options, "--near", "conv2d_c37_o4_i9x20_k5x9_s3x1_f32")
    assert done.status == 1
    assert compared(done, "rare")[0] == 10


def test_a_start_that_is_declined_is_said(place: Place) -> None:
    """A --near that the kernel does not compute is named with the reason."""
    done = place.run_warm(RARE, ["short"], "--seed", "1", "--max-cases", "20", "--near", "conv1d_c1_o1_i9_k7_f32")
    assert "--near conv1d_c1_o1_i9_k7_f32 is declined: declined by the kernel's declaration" in done.stdout


def test_a_run_goes_on_with_the_same_cases(place: Place) -> None:
    """The search comes out the same in a process that resumes: the cases are those of a run that was not interrupted."""
    options = ("--seed", "3", "--near", "conv1d_c2_o3_i9_k3_f32")
    whole = place.run_warm(RARE, ["short"], "--max-cases", "30", *options)
    part = place.run_warm(RARE, ["short"], "--max-cases", "13", *options)
    resumed = place.resume_warm(part.directory, "--max-cases", "30")
    assert resumed.status == 0, resumed.stderr
    assert drawn(resumed.directory) == drawn(whole.directory)


def test_one_kernel_size_alone_is_no_clean_run(place: Place) -> None:
    """A search space that knows nothing of domains and meets a corner of one ends with status 2, which the report says too."""
    cases = [f"conv1d_c{c}_o{o}_i9_k1_f32@normal.{seed}" for c in (1, 2, 3, 5) for o in (1, 2, 4) for seed in (0, 1)]
    done = place.run_warm(RARE, ["short"], cases=cases)
    assert done.status == 2
    assert "This run proves little about kernels.py::short: 24 compared cases of 12 configurations had" in done.stdout
    assert "kernel size 1 alone, where 2, 3, 4 are accepted too" in done.stdout
    assert "No findings." not in done.stdout
    page = (done.directory / "report.html").read_text()
    assert "proves little about kernels.py::short" in page
    assert re.search(r"kernel size</th><td>1 \(12\)</td><td>2, 3, 4</td>", page)


def test_a_backend_that_ran_nothing_is_no_clean_run(place: Place) -> None:
    """Beside one that was compared it is named, with the reason, and the run ends with status 2."""
    done = place.run_warm(RARE, ["short", "nothing"], "--seed", "1", "--max-cases", "40")
    assert done.status == 2
    assert re.search(r"This run proves nothing about kernels.py::nothing: none of 40 cases was compared: .*nothing at all", done.stdout)


def test_a_kernel_that_does_not_say_what_it_computes_is_no_clean_run(place: Place) -> None:
    """One that declines nearly all after it has computed was hardly compared, and has to say what it computes."""
    done = place.run_warm(RARE, ["unannounced"], "--seed", "1", "--max-cases", "150", "--strategy", "boundary")
    assert done.status == 2
    assert re.search(r"proves (little|nothing)", done.stdout)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_of_the_documentation_run(place: Place, name: str) -> None:
    """Each kernel of docs/kernels.md is clean, on cases that are drawn for it."""
    done = place.run_warm(RECIPES[name], [name], "--seed", "1", "--max-cases", "60")
    assert done.status == 0, done.stdout
    assert compared(done, name)[0] == 60


def test_there_are_recipes() -> None:
    """The four forms of narrow kernels each have one."""
    assert set(RECIPES) == {"causal_state", "nhwc", "fixed_layer", "bound_module"}
