"""``torch:meta``: what PyTorch says of a layer's shapes and dtypes without computing it, and which calls it takes."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version

import numpy as np
import pytest
from packaging.version import Version
from sampling import sample

import convfuzz
from convfuzz import Case, DataRecipe
from convfuzz.backends import Numerics, resolve
from convfuzz.backends.protocol import Outputs
from convfuzz.strategies import cases
from convfuzz.tensors.generator import Tensors, make_tensors

from .fakes import Spy
from .frameworks import SMALL, has_known_defect

pytest.importorskip("torch", reason="the device is PyTorch's")


class Valueless(Spy):
    """Declares that it has no values, and returns zeros."""

    def numerics(self, case: Case) -> Numerics:
        """Declare it."""
        del case
        return Numerics(values=False)

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Return zeros of the right shape and dtype."""
        return {in_pass: np.zeros_like(y) for in_pass, y in super().run(case, tensors).items()}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")  # which PyTorch says once a process
def test_shapes_and_dtypes_of_every_pass_are_right_over_the_drawn_domain() -> None:
    """On valid layers of every kind the shapes and dtypes are the reference's; no value is compared."""
    backend, verdicts = resolve("torch:meta"), Counter[str]()
    failures: list[str] = []

    for case in sample(cases(**SMALL), 300, seed=20261122):
        if has_known_defect("torch:meta", case):
            continue
        (result,) = convfuzz.check(case, [backend]).results
        assert result.discrepancies == {}
        verdicts[result.verdict] += 1
        if result.verdict.failing:
            failures.append(f"{case}: {result.verdict}, {result.reason}")
    assert failures == []
    assert verdicts["agree"] > 100


def test_a_backend_without_values_is_judged_by_shape_and_dtype_alone() -> None:
    """Zeros agree, another shape and another dtype do not, and nobody is compared with zeros."""
    line = "conv2d_n2_c2_o3_i5_k3_b_f32_grad@normal.1"
    result = convfuzz.check(line, [Valueless(), Spy(name="other")])
    assert [(r.verdict, r.reason) for r in result.results] == [("agree", "shape and dtype only"), ("agree", "")]
    assert result.pairs == ()

    class Longer(Valueless):
        def run(self, case: Case, tensors: Tensors) -> Outputs:
            return {in_pass: np.repeat(y, 2, axis=0) for in_pass, y in super().run(case, tensors).items()}

    class Wider(Valueless):
        def run(self, case: Case, tensors: Tensors) -> Outputs:
            return {in_pass: y.astype(np.float64) for in_pass, y in super().run(case, tensors).items()}

    assert [r.verdict for r in convfuzz.check(line, [Longer(), Wider(name="wider")]).results] == ["wrong-shape", "wrong-dtype"]


MENDED = (
    "convt1d_n20_c16_o66_g2_i50_k5_s2_op2_f32",  # pytorch#178125
    "convt2d_c1_o1_i5_k3_s2_d2_op2_f32",  # pytorch#178127
    "convt3d_c16_o66_g2_i3_k3_b_f32_bad-bias-size",  # pytorch#178128
)
"""What PyTorch 2.13's meta functions accept, and 2.15's do not."""


@pytest.mark.parametrize("line", [*MENDED, "conv2d_c3_o1_i8x6_k2x1_f32_bad-weight-dtype"])
def test_what_the_meta_device_accepts_and_the_cpu_rejects_is_found(line: str) -> None:
    """Published defects of the meta functions, each of which PyTorch's own CPU convolution rejects; later releases have fewer."""
    on_meta, on_cpu = convfuzz.check(line, ["torch:meta", "torch"]).results
    release = Version(version("torch"))
    if release >= Version("2.15") and line in MENDED:
        assert (on_meta.verdict, on_meta.reason[:9]) == ("agree", "rejected:")
    elif release < Version("2.14") or line not in MENDED:  # which of the two mended them is not known
        assert on_meta.verdict == "accepted-invalid"
    assert (on_cpu.verdict, on_cpu.reason[:9]) == ("agree", "rejected:")


@pytest.mark.parametrize("dtype", ["f32", "bf16", "c64", "i32"])
def test_its_script_returns_zeros_of_the_shapes(dtype: str) -> None:
    """The script of a finding on the meta device runs without values, in every pass."""
    grad = "" if dtype == "i32" else "_grad"
    case, backend = Case.parse(f"conv2d_n2_c2_o3_i5_k3_b_{dtype}{grad}@normal.1"), resolve("torch:meta")
    scope: dict[str, object] = {"np": np}
    exec(backend.script(case), scope)  # type: ignore[attr-defined] # noqa: S102 - it is the script that is tested
    tensors = make_tensors(Case(case.config, DataRecipe("normal", 2), case.grad))
    operands = [None if a is None else a.view(np.uint16) if dtype == "bf16" else a for a in (tensors.x, tensors.w, tensors.b, tensors.dy)]
    returned = scope["run"](*operands[: 4 if case.grad else 3])  # type: ignore[operator]
    outputs = returned if case.grad else {"forward": returned}
    assert {name: y.shape for name, y in outputs.items()} == {name: case.shape_of(name) for name in case.passes}
