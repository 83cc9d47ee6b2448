"""Cases that are chosen for runtimes: what they compute is most of what runs, and frameworks draw as they did."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

from convfuzz.backends import Outputs, Support
from convfuzz.campaign.candidates import Candidates, Steering
from convfuzz.campaign.pair_coverage import PairCoverage
from convfuzz.campaign.rounds import CLIMBING, draw_round
from convfuzz.campaign.runtimes import Batch, Runtimes
from convfuzz.case import Case
from convfuzz.case.batch import Exchangeable
from convfuzz.judging.numerics import Numerics
from convfuzz.strategies.spaces import default
from convfuzz.tensors.generator import Tensors


@dataclass(frozen=True)
class Fake:
    """A backend that says what it computes and is never called."""

    name: str
    computes: Callable[[Case], bool] = lambda _: True
    versions: Mapping[str, str] = field(default_factory=dict, compare=False)

    def supports(self, case: Case) -> Support:
        """Answer."""
        return Support.YES if self.computes(case) else Support.no("it does not")

    def numerics(self, case: Case) -> Numerics:
        """Refuse: nobody asks."""
        raise NotImplementedError

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Refuse: nobody runs it."""
        raise NotImplementedError


def computes_floats(case: Case) -> bool:
    """Whether the runtime of these tests computes a case, as it does one in six of ``default``: float32, contiguous, no groups."""
    config = case.config
    plain = config.dtype == "float32" and config.layout == "contiguous" and config.groups == 1 and config.batch is not None
    return plain and config.op == "conv" and not case.grad


FRAMEWORK, RUNTIME = Fake("torch"), Fake("runtime", computes_floats)
_CASES = 120
PLAIN = "conv2d_c1_o1_i5_k3_f32"
"""The layer by which a runtime is told from a framework."""
PLANES = Fake("planes", lambda case: not case.grad and case.config.dims == 2)
VOLUMES = Fake("volumes", lambda case: not case.grad and (_is_transposed_volume(case) or str(case.config) == PLAIN))


def _is_transposed_volume(case: Case) -> bool:
    return case.config.dims == 3 and case.config.op == "conv_transpose"


@cache
def ran(*backends: Fake, number: int = 0) -> list[Case]:
    """Return the first cases of a round of a campaign on some backends."""
    runtimes, coverage, cases = Runtimes.among(backends), PairCoverage(), []

    class Enough(KeyboardInterrupt):
        pass

    def run_batch(batch: Batch) -> float:
        for case in batch:
            if len(cases) == _CASES:
                raise Enough
            coverage.add(case.config)
            cases.append(case)
        return 0.0

    with contextlib.suppress(Enough):
        draw_round(number, 42, default().map(runtimes.fitted), coverage, run_batch, Steering(runtimes=runtimes))
    return cases


def share(cases: list[Case], computes: Callable[[Case], bool]) -> float:
    """Return the part of the cases that something is true of."""
    return sum(map(computes, cases)) / len(cases)


def test_runtimes_have_the_forward_pass_only() -> None:
    """A framework has gradients, and what a user's kernel computes is drawn from in another way."""
    kernel = Fake("kernels.py::runtime", computes_floats)
    runtimes = Runtimes.among([FRAMEWORK, RUNTIME, kernel])
    assert runtimes.backends == (RUNTIME,)
    assert not runtimes.are_alone
    assert Runtimes.among([RUNTIME, PLANES]).are_alone
    assert not Runtimes.among([FRAMEWORK, kernel]).backends


def test_frameworks_and_kernels_draw_what_they_drew() -> None:
    """Without a runtime the cases are those of a round that knows of none."""
    assert ran(FRAMEWORK, Fake("kernels.py::narrow", computes_floats)) == ran()


def test_most_of_what_runs_on_a_runtime_alone_is_compared() -> None:
    """Of the draw it computes a sixth, of what runs three quarters; invalid configurations keep their share, and no gradients are left."""
    before, cases = ran(), ran(RUNTIME)
    assert share(before, computes_floats) < 0.2
    assert share(cases, computes_floats) > 0.75
    assert share(cases, lambda case: not case.config.is_valid) > 0.5 * share(before, lambda case: not case.config.is_valid) > 0
    assert not any(case.grad for case in cases)


def test_climbing_round_passes_over_what_no_runtime_computes() -> None:
    """What Hypothesis draws cannot be put together anew, but need not run."""
    assert share(ran(RUNTIME, number=CLIMBING - 1), computes_floats) == 1


def test_a_runtime_has_its_share_beside_a_framework() -> None:
    """About a third of the cases is for it, and gradients and other dtypes are still there for the framework."""
    cases = ran(FRAMEWORK, RUNTIME)
    assert share(ran(FRAMEWORK), computes_floats) < 0.2
    assert 0.25 < share(cases, computes_floats) < 0.5
    assert share(cases, lambda case: case.grad) > 0.1


def test_each_runtime_has_its_share() -> None:
    """Of two whose domains have nothing in common each has more than it would have without a choice, the rare one too."""
    cases = ran(PLANES, VOLUMES)
    assert share(cases, _is_transposed_volume) > 1.5 * share(ran(), _is_transposed_volume)
    assert share(cases, PLANES.computes) > 1.5 * share(ran(), PLANES.computes)


def test_a_layer_with_gradients_runs_forward_for_a_runtime() -> None:
    """Its operands are those that the runtime has; a past bug, which is not put together anew, keeps its passes and does not run for it."""
    past = (Case.parse("conv1d_c2_o3_i7_k3_grad@normal.1"),)
    drawn = [Exchangeable((Case.parse(f"conv1d_c2_o3_i9_k3_{options}@normal.7"),)) for options in ("s2_f16_grad", "d2_f32")]
    candidates = Candidates(PairCoverage(), Steering(runtimes=Runtimes.among([RUNTIME])))
    candidates.add([past, drawn[0]])
    assert candidates.take() is None
    candidates.add([drawn[1]])
    taken = [str(case) for case in candidates.take() or ()]
    assert taken in (["conv1d_c2_o3_i9_k3_s2_f32@normal.7"], ["conv1d_c2_o3_i9_k3_d2_f32@normal.7"])


def test_a_list_is_run_as_far_as_a_runtime_computes_it() -> None:
    """Of the corpus a campaign of runtimes alone runs the forward passes of what one of them computes; beside a framework all of it."""
    listed = tuple(map(Case.parse, ("conv2d_c1_o1_i9_k3_f32_grad", "conv2d_c1_o1_i9_k3_f16", "conv1d_c1_o1_i9_k3")))
    assert [str(case) for case in Runtimes.among([RUNTIME]).fitted(listed)] == [
        "conv2d_c1_o1_i9_k3_f32",
        "conv1d_c1_o1_i9_k3_f32",
    ]
    assert Runtimes.among([FRAMEWORK, RUNTIME]).fitted(listed) == listed
    assert Runtimes.among([Fake("onnx", lambda case: not case.grad and str(case.config) == PLAIN)]).fitted(listed) == ()
