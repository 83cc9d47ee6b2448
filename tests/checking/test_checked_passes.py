"""One case in all its passes: which verdict the whole gets, and what becomes of gradients that are declined."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from backends.fakes import Spy

import convfuzz
from convfuzz import Case, Numerics, Unsupported
from convfuzz.backends import Backend, Outputs, Support
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.checking import case_run
from convfuzz.checking.checker import Checker, fold_check
from convfuzz.judging.comparing import max_abs_between
from convfuzz.record.events import BackendEnded
from convfuzz.tensors.generator import Array, Tensors, make_tensors

LINE = "conv2d_n2_c4_o6_g2_i7_k3_s2_p1_b_f32_grad@integers.1"
Change = Callable[[Array], Any]


def one_more(y: Array) -> Array:
    """Be off by a whole unit in one element."""
    wrong = y.copy()
    wrong.flat[1] += 1
    return wrong


def a_quarter_more(y: Array) -> Array:
    """Be off by less than a unit in one element."""
    wrong = y.copy()
    wrong.flat[1] += 0.25
    return wrong


def with_nan(y: Array) -> Array:
    """Have NaN in one element."""
    wrong = y.copy()
    wrong.flat[1] = np.nan
    return wrong


def wide(y: Array) -> Array:
    """Be of another dtype."""
    return y.astype(np.float64)


def longer(y: Array) -> Array:
    """Be of another shape."""
    return y[None]


@dataclass
class Changed(Spy):
    """Computes correctly, and then changes the results of some passes."""

    changes: dict[str, Change] = field(default_factory=dict)
    declared: Numerics = field(default_factory=Numerics)

    def numerics(self, case: Case) -> Numerics:
        """Declare what the test wants."""
        del case
        return self.declared

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Compute and change."""
        return {p: self.changes[p](y) if p in self.changes else y for p, y in super().run(case, tensors).items()}


def ended(backend: Backend, case: Case | str = LINE) -> BackendEnded:
    """Check one backend on one case."""
    (result,) = convfuzz.check(case, [backend]).results
    return result


# -- the gravest pass -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "verdict", "in_pass", "also"),
    [
        ({}, "agree", "forward", {}),
        ({"grad_bias": one_more}, "wrong", "grad_bias", {}),
        ({"grad_weight": with_nan}, "non-finite", "grad_weight", {}),
        ({"forward": a_quarter_more, "grad_input": one_more}, "wrong", "grad_input", {"forward": "imprecise"}),
        ({"forward": one_more, "grad_weight": with_nan}, "non-finite", "grad_weight", {"forward": "wrong"}),
        ({"grad_input": with_nan, "grad_bias": wide}, "wrong-dtype", "grad_bias", {"grad_input": "non-finite"}),
        ({"grad_weight": longer, "grad_bias": wide}, "wrong-shape", "grad_weight", {"grad_bias": "wrong-dtype"}),
        ({"grad_weight": one_more, "grad_input": one_more}, "wrong", "grad_input", {"grad_weight": "wrong"}),  # the first of equals
        ({"grad_weight": lambda _: None, "forward": a_quarter_more}, "error", "grad_weight", {"forward": "imprecise"}),
    ],
)
def test_the_gravest_pass_is_the_verdict(changes: dict[str, Change], verdict: str, in_pass: str, also: dict[str, str]) -> None:
    """A case has the verdict of its worst pass, names that pass, and says which others fail."""
    result = ended(Changed(changes=changes))
    assert (result.verdict, result.in_pass, result.also) == (verdict, in_pass, also)


def test_every_pass_that_is_compared_has_its_discrepancy() -> None:
    """Each pass of the right shape and dtype is measured, whatever the verdict, and each by itself."""
    result = ended(Changed(changes={"grad_weight": one_more, "grad_bias": wide}))
    assert set(result.discrepancies) == {"forward", "grad_input", "grad_weight"}
    assert {p: float(found.max_abs) for p, found in result.discrepancies.items()} == {"forward": 0.0, "grad_input": 0.0, "grad_weight": 1.0}
    assert result.discrepancies["grad_weight"].elements == 6 * 2 * 9
    without_bias = ended(Spy(), LINE.replace("_b_", "_"))
    assert set(without_bias.discrepancies) == {"forward", "grad_input", "grad_weight"}


@pytest.mark.parametrize("missing", ["grad_input", "grad_weight", "grad_bias"])
def test_a_missing_gradient_is_an_error(missing: str) -> None:
    """A backend that was asked for a gradient and returns none of it, or no array, is in error there."""

    class Silent(Spy):
        def run(self, case: Case, tensors: Tensors) -> Outputs:
            return {p: y for p, y in super().run(case, tensors).items() if p != missing}

    for backend in (Silent(), Changed(changes={missing: lambda _: None})):
        result = ended(backend)
        assert (result.verdict, result.in_pass, result.reason) == ("error", missing, f"returned no array for {missing}")


def test_a_gradient_that_is_missing_on_integers_only_is_an_error() -> None:
    """A gradient that is suspect, and is not there when integers are to settle it, is no crash of the checker."""

    class Moody(Spy):
        def run(self, case: Case, tensors: Tensors) -> Outputs:
            outputs = super().run(case, tensors)
            if case.recipe.regime == "integers":
                return {"forward": outputs["forward"]}
            return outputs | {"grad_weight": outputs["grad_weight"] * np.float32(1.01)}

    result = ended(Moody(), LINE.replace("integers", "normal"))
    assert (result.verdict, result.in_pass) == ("wrong", "grad_weight")
    assert "returned no array for grad_weight" in result.reason


# -- suspicion is settled pass by pass --------------------------------------------------------------------------------


@pytest.mark.parametrize("in_pass", ["grad_input", "grad_weight", "grad_bias"])
@pytest.mark.parametrize("regime", ["normal", "cancellation", "positive"])
def test_a_dropped_product_is_settled_by_integers(regime: str, in_pass: str) -> None:
    """A gradient that loses a product is suspect on any data and wrong once the same pass of integers was seen."""

    class Loses(Spy):
        def run(self, case: Case, tensors: Tensors) -> Outputs:
            lost = "w" if in_pass == "grad_input" else "dy"
            changed = tensors.named()[lost].copy()
            changed[..., 0] = 0
            return super().run(case, tensors) | {in_pass: super().run(case, replace(tensors, **{lost: changed}))[in_pass]}

    result = ended(Loses(), LINE.replace("integers", regime))
    assert (result.verdict, result.in_pass, result.model) == ("wrong", in_pass, "")
    assert "wrong on integers too" in result.reason
    assert result.discrepancies["forward"].over == 0


def test_one_run_on_integers_settles_every_pass() -> None:
    """A backend that is off in all passes runs once for each draw of integers, not once more for each pass."""
    ran = []

    class Coarse(Spy):
        def run(self, case: Case, tensors: Tensors) -> Outputs:
            ran.append(str(case))
            off = np.float32(1.0 if case.recipe.regime == "integers" else 1.01)
            return {in_pass: y * off for in_pass, y in super().run(case, tensors).items()}

    result = ended(Coarse(), LINE.replace("integers", "normal"))
    assert result.also.keys() | {result.in_pass} == {"forward", "grad_input", "grad_weight", "grad_bias"}
    assert len(ran) == len(set(ran)) > 1


def test_an_imprecise_gradient_is_explained() -> None:
    """A gradient of silently rounded inputs is imprecise and named, and agrees where that is declared of the gradients."""

    class RoundsBackwards(Changed):
        def run(self, case: Case, tensors: Tensors) -> Outputs:
            coarse = {n: a.view(np.uint32) & np.uint32(0xFFFF0000) for n, a in tensors.named().items() if n in ("x", "dy")}
            rounded = replace(tensors, **{name: bits.view(np.float32) for name, bits in coarse.items()})
            return super().run(case, tensors) | {"grad_weight": super().run(case, rounded)["grad_weight"]}

    line = "conv2d_n4_c4_o4_i9_k3_p1_b_f32_grad@normal.1"
    result = ended(RoundsBackwards(), line)
    assert (result.verdict, result.in_pass, result.model) == ("imprecise", "grad_weight", "truncated bfloat16 inputs")
    loose = Numerics(accumulator="bfloat16")
    assert ended(RoundsBackwards(declared=Numerics(gradients=loose)), line).verdict == "agree"


# -- gradients that are declined --------------------------------------------------------------------------------------


@dataclass
class ForwardOnly(Spy):
    """Has no gradients, and says so when it is asked, or only once it runs."""

    says_so: bool = True

    def supports(self, case: Case) -> Support:
        """Decline gradients."""
        return Support.no("no gradients here") if case.grad and self.says_so else Support.YES

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Refuse gradients."""
        if case.grad:
            raise Unsupported("no gradients after all")
        return super().run(case, tensors)


@pytest.mark.parametrize("says_so", [True, False])
def test_without_gradients_the_forward_pass_is_judged(*, says_so: bool) -> None:
    """A backend that declines the gradients, before or while it runs, is judged on the forward pass, without the output's gradient."""
    backend = ForwardOnly(says_so=says_so)
    result = ended(backend)
    assert (result.verdict, set(result.discrepancies)) == ("agree", {"forward"})
    assert [(case.grad, tensors.dy) for case, tensors in backend.seen] == [(False, None)]
    wrong = Changed(changes={"forward": one_more})
    assert ended(wrong).verdict == "wrong"


def test_what_is_declined_altogether_keeps_its_reason() -> None:
    """A backend that declines the forward pass too is unsupported for the reason it gave for the case that was asked."""

    class Declines(Spy):
        def supports(self, case: Case) -> Support:
            return Support.no("no gradients, and nothing else either" if case.grad else "nothing")

    result = ended(Declines())
    assert (result.verdict, result.reason) == ("unsupported", "no gradients, and nothing else either")


def test_backends_with_and_without_gradients_side_by_side() -> None:
    """One backend's lack of gradients is nothing to another, and their forward passes are compared."""
    result = convfuzz.check(LINE, [ForwardOnly(name="forward only"), Spy()])
    assert [set(r.discrepancies) for r in result.results] == [{"forward"}, {"forward", "grad_input", "grad_weight", "grad_bias"}]
    assert [(a, b, float(apart)) for a, b, apart in result.pairs] == [("forward only", "spy", 0.0)]


# -- two runs, and the operands ---------------------------------------------------------------------------------------


@dataclass
class Wobbling(Changed):
    """Has one result in the last place differ from run to run."""

    in_pass: str = "grad_weight"

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Compute, and be a little off every other time."""
        outputs = super().run(case, tensors)
        y = outputs[self.in_pass]
        return outputs | {self.in_pass: np.nextafter(y, y + len(self.seen) % 2)}


@pytest.mark.parametrize("in_pass", ["forward", "grad_input", "grad_weight", "grad_bias"])
def test_a_gradient_that_differs_between_runs_is_nondeterministic(in_pass: str) -> None:
    """Two runs within the tolerance that differ in some pass are nondeterministic there, unless that was declared."""
    case = Case.parse(LINE.replace("integers", "normal"))
    for declared, verdict in ((Numerics(), "nondeterministic"), (Numerics(deterministic=False), "agree")):
        backend = Wobbling(in_pass=in_pass, declared=declared)
        (result,) = fold_check(case, Checker([backend], repeat_one_in=1).events(case)).results
        assert result.verdict == verdict
        assert len(backend.seen) == 2
        assert verdict == "agree" or result.in_pass == in_pass


@pytest.mark.parametrize("layout", ["", "_cl", "_nc", "_tr", "_ex", "_of", "_ls"])
@pytest.mark.parametrize("name", ["x", "w", "b", "dy"])
@pytest.mark.parametrize("dtype", ["f32", "bf16", "c64"])
def test_a_changed_operand_is_found_in_every_layout(name: str, layout: str, dtype: str) -> None:
    """A backend that writes to an operand, the output's gradient among them, is found out, and the next one sees it restored."""

    class Writes(Spy):
        def run(self, case: Case, tensors: Tensors) -> Outputs:
            outputs = super().run(case, tensors)
            tensors.named()[name][...] = 0
            return outputs

    case, spy = Case.parse(f"conv2d_n2_c4_o6_g2_i5_k3_b_{dtype}{layout}_grad@normal.1"), Spy()
    first, second = convfuzz.check(case, [Writes("writes"), spy]).results
    assert (first.verdict, first.reason) == ("corrupted-input", f"changed its input {name}")
    assert second.verdict == "agree"
    seen, pristine = spy.seen[0][1].named(), make_tensors(case).named()
    assert {n: a.tobytes() for n, a in seen.items()} == {n: a.tobytes() for n, a in pristine.items()}


# -- dtypes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16", "c64", "c128", "i8", "i32", "i64"])
@pytest.mark.parametrize("op", ["conv", "convt"])
def test_every_dtype_is_judged(dtype: str, op: str) -> None:
    """In every dtype the reference agrees with itself in all passes that there are, and a unit more is wrong."""
    line = f"{op}2d_n2_c4_o6_g2_i7_k3_s2_p1_b_{dtype}_grad@integers.1"
    passes = {"forward"} if dtype.startswith("i") else {"forward", "grad_input", "grad_weight", "grad_bias"}
    result = ended(Spy(), line)
    assert (result.verdict, set(result.discrepancies)) == ("agree", passes)
    for in_pass in passes:
        result = ended(Changed(changes={in_pass: one_more}), line)
        assert (result.verdict, result.in_pass) == ("wrong", in_pass)


# -- what nobody computes like that --------------------------------------------------------------------------------------


def everywhere(value: float) -> Change:
    """Return the same number in every element."""
    return lambda y: np.full(y.shape, value, y.dtype)


@pytest.mark.parametrize("value", [1.0, -3.5, np.nan, np.inf])
@pytest.mark.parametrize(
    "line",
    [
        "conv1d_c1_o1_i0_k1_p0:1_f32",
        "conv1d_c1_o1_i0_k1_p0:1_bf16_grad@normal.1",
        "conv2d_n-_c2_o3_i0x3_k1_p1_f16_grad@special.1",
        "conv2d_n2_c0_o2_i3_k1_b_f32_grad",
        "convt2d_n2_c2_o3_i3x0_k3_op0x1_s2_f32_grad@normal.1",
    ],
)
def test_results_of_layers_without_sites_or_channels_are_judged(line: str, value: float) -> None:
    """Where nothing but zeros and the bias is summed, any other number is wrong, in every pass that has elements."""
    case = Case.parse(line)
    changes = {in_pass: everywhere(value) for in_pass in case.passes}
    result = ended(Changed(changes=changes), case)
    assert result.verdict in ("wrong", "non-finite"), result.reason


def test_a_fault_of_the_judge_s_is_not_the_backend_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result says that convfuzz failed, and where; the process lives on."""

    def fails(*_: object) -> None:
        raise IndexError("index 7 is out of bounds")

    monkeypatch.setattr("convfuzz.checking.case_run.Judge.judge", fails)
    result = ended(Changed())
    assert result.verdict == "error"
    assert re.search(r"no fault of the backend's: .* test_checked_passes.py:\d+: .* IndexError: index 7", result.reason)


def test_each_two_outputs_are_compared_and_equal_bits_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five backends with three kinds of output every pair is told, and three are compared: a night has dozens of backends."""
    compared = []

    def noted(a: Array, b: Array) -> float:
        compared.append((a, b))
        return max_abs_between(a, b)

    def kernel(by: float) -> Callable[..., Array]:
        return lambda x, w, b, config: convfuzz.reference(config, x, w, b).y.astype(x.dtype) + np.float32(by)

    monkeypatch.setattr(case_run, "max_abs_between", noted)
    backends = [KernelBackend(f"k{number}", kernel(by)) for number, by in enumerate((0.0, 0.25, 0.0, 0.25, np.nan))]
    result = fold_check(Case.parse(LINE), Checker(backends).events(Case.parse(LINE.replace("_grad", ""))))
    apart = {(a, b): float(apart) for a, b, apart in result.pairs}
    assert list(apart) == list(itertools.combinations(["k0", "k1", "k2", "k3", "k4"], 2))
    assert [apart[pair] for pair in (("k0", "k1"), ("k0", "k2"), ("k1", "k2"), ("k1", "k3"), ("k3", "k4"))] == [0.25, 0, 0.25, 0, np.inf]
    assert len(compared) == 3
