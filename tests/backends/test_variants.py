"""Every variant gives the original's results: on integers bit for bit, in every pass; and shows a mistake of its kind."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from tensors.drawn import layer

import convfuzz
from convfuzz import Case, ConvConfig, DataRecipe
from convfuzz.backends import Backend, Outputs, Support, resolve
from convfuzz.backends.variants import VARIANTS
from convfuzz.case import REGIMES
from convfuzz.errors import Unsupported
from convfuzz.tensors.generator import Tensors, make_tensors

from .fakes import Spy, exact
from .frameworks import KNOWN_DEFECTS, SUMS_IN_16_BITS

every_variant = pytest.mark.parametrize("variant", VARIANTS)


def same(a: Outputs, b: Outputs) -> bool:
    """Compare the results of every pass, bit for bit but for the sign of zeros."""
    return a.keys() == b.keys() and all(a[p].dtype == b[p].dtype and np.array_equal(a[p], b[p]) for p in a)


def supported(backend: Backend, rewritten: Backend, count: int, *, integers: bool) -> Iterator[Case]:
    """Yield ``count`` cases that a backend and its variant support, with gradients where both have them."""
    rng = random.Random(20261122)  # noqa: S311 - no secret
    for _ in range(20_000):
        regime = "integers" if integers else rng.choice([regime for regime in REGIMES if regime != "integers"])
        case = Case(layer(rng), DataRecipe(regime, rng.randrange(10_000)), rng.random() < 0.5)
        if case.grad and not rewritten.supports(case):
            case = replace(case, grad=False)
        if backend.supports(case) and rewritten.supports(case) and not _is_left_out(backend.name, rewritten.name, case, integers=integers):
            yield case
            count -= 1
            if not count:
                return
    raise AssertionError(f"{count} cases too few for {rewritten.name}")


def _is_left_out(name: str, rewritten: str, case: Case, *, integers: bool) -> bool:
    """Say whether the framework is known to be wrong on the case, or on what a variant may make of it."""
    if 0 in (case.config.in_channels, case.config.batch):
        return name != "spy"
    one_channel = replace(case, config=case.config.replace(in_channels=1, out_channels=1, groups=1))
    like = [case, *([one_channel] if "split" in rewritten else []), *([replace(case, grad=True)] if "adjoint" in rewritten else [])]
    defects = [defect for defect in KNOWN_DEFECTS.get(name, ()) if not (integers and defect is SUMS_IN_16_BITS)]
    return any(defect.applies(asked) for defect in defects for asked in like)


@every_variant
def test_a_variant_of_a_correct_backend_is_correct(variant: str) -> None:
    """Around the reference every variant gives the reference's integers in every pass, of every op, dtype, padding and layout."""
    rewritten = VARIANTS[variant](Spy())
    for case in supported(Spy(), rewritten, 40, integers=True):
        tensors = make_tensors(case)
        assert same(rewritten.run(case, tensors), exact(case, tensors)), str(case)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@every_variant
@pytest.mark.parametrize(("name", "count"), [("torch", 40), ("torch:native", 15), ("tensorflow", 8)])
def test_frameworks_equal_their_variants_on_integers(name: str, count: int, variant: str) -> None:
    """A framework's layer and its rewriting give the same integers, their largest difference 0, in every pass and of both ops."""
    pytest.importorskip(name.partition(":")[0], reason="the framework is what is compared with itself")
    backend = resolve(name)
    rewritten = VARIANTS[variant](backend)
    for case in supported(backend, rewritten, count, integers=True):
        tensors = make_tensors(case)
        assert same(rewritten.run(case, tensors), backend.run(case, tensors)), str(case)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@every_variant
@pytest.mark.parametrize(("name", "count"), [("reference", 30), ("torch", 30), ("tensorflow", 8)])
def test_declared_tolerances_hold(name: str, count: int, variant: str) -> None:
    """On data of every regime and dtype a variant stays within the tolerance that follows from its backend's declaration."""
    pytest.importorskip(name.replace("reference", "numpy"), reason="the framework is what is rewritten")
    backend = resolve(name)
    rewritten = VARIANTS[variant](backend)
    for case in supported(backend, rewritten, count, integers=False):
        for result in convfuzz.check(case, [rewritten]).results:
            assert not result.verdict.failing, f"{case}: {result.verdict} in {result.in_pass}, {result.reason}"


# -- what is handed over ----------------------------------------------------------------------------------------------

REWRITINGS = [
    ("split", "conv2d_n2_c4_o6_g2_i7_k3", "conv2d_n2_c2_o1_i7_k3_f32", 6),
    ("split", "convt2d_n2_c4_o6_g2_i7_k3", "convt2d_n2_c2_o1_i7_k3_f32", 6),
    ("split-in", "conv2d_n2_c4_o6_g2_i7_k3", "conv2d_n2_c1_o3_i7_k3_f32", 4),
    ("split-in", "convt2d_n2_c4_o6_g2_i7_k3", "convt2d_n2_c1_o3_i7_k3_f32", 4),
    ("split-group", "conv2d_n2_c4_o6_g2_i7_k3", "conv2d_n2_c2_o3_i7_k3_f32", 2),
    ("split-batch", "conv2d_n3_c4_o6_g2_i7_k3", "conv2d_c4_o6_g2_i7_k3_f32", 3),
    ("zero-stuffed", "conv2d_c1_o1_i9_k3x2_d2x3", "conv2d_c1_o1_i9_k5x4_f32", 1),
    ("zero-stuffed", "convt2d_c1_o1_i5_k3_s2_psame_d2", "convt2d_c1_o1_i5_k5_s2_p1:2_f32", 1),
    ("subsampled", "conv2d_c1_o1_i9_k3_s2x3_psame", "conv2d_c1_o1_i9_k3_p1x0_f32", 1),
    ("padded", "conv2d_c1_o1_i9_k3_p1x-1:2", "conv2d_c1_o1_i11x10_k3_f32", 1),
    ("padded", "conv2d_c1_o1_i9_k3_p1_pmreflect", "conv2d_c1_o1_i11_k3_f32", 1),
    ("permuted", "conv2d_c2_o3_i9_k3_cl", "conv2d_c2_o3_i9_k3_f32", 1),
    ("adjoint", "conv2d_c2_o3_i10_k3_s2_p1_b", "convt2d_c3_o2_i5_k3_s2_p1_op1_f32_grad", 1),
    ("adjoint", "convt2d_c2_o3_i5_k3_s2_op1", "conv2d_c3_o2_i12_k3_s2_f32_grad", 1),
]


@pytest.mark.parametrize(("variant", "line", "rewritten", "calls"), REWRITINGS)
def test_what_the_wrapped_backend_is_asked_for(variant: str, line: str, rewritten: str, calls: int) -> None:
    """A variant asks its backend for another layer, once or once per part, and hands it tensors of that layer's shapes."""
    spy, case = Spy(), Case.parse(line)
    VARIANTS[variant](spy).run(case, make_tensors(case))
    assert [str(asked) for asked, _ in spy.seen] == [rewritten] * calls
    for asked, tensors in spy.seen:
        assert (tensors.x.shape, tensors.w.shape) == (asked.config.input_shape, asked.config.weight_shape)
        assert tensors.dy is None or tensors.dy.shape == asked.config.output_shape


DECLINED = [
    ("split-in", "conv2d_c0_o2_i5_k3", "+split-in: no input or output channel"),
    ("split-group", "conv2d_c2_o2_i5_k3", "+split-group: there is one group only"),
    ("split-batch", "conv2d_c2_o2_i5_k3", "+split-batch: no batch of two samples and more"),
    ("split-batch", "conv2d_n-_c2_o2_i5_k3", "+split-batch: no batch of two samples and more"),
    ("split-batch", "conv2d_n0_c2_o2_i5_k3", "+split-batch: no batch of two samples and more"),
    ("zero-stuffed", "conv2d_c2_o2_i5_k3", "+zero-stuffed: there is no dilation"),
    ("zero-stuffed", "conv2d_c2_o2_i5_k3_d2@special.1", "+zero-stuffed: NaN and Inf would meet the zeros"),
    ("zero-stuffed", "convt2d_c2_o2_i5_k3_d3_op2", "+zero-stuffed: the rewriting is no valid convolution"),  # output_padding < dilation
    ("subsampled", "conv2d_c2_o2_i5_k3", "+subsampled: there is no stride"),
    ("subsampled", "convt2d_c2_o2_i5_k3_s2", "+subsampled: a transposed convolution's stride is no subsampling"),
    ("zero-stuffed", "conv2d_c2_o2_i5_k3_d2@x0=nan", "+zero-stuffed: NaN and Inf would meet the zeros"),
    ("subsampled", "conv2d_c2_o2_i5_k3_s2_grad@dy0=-inf", "+subsampled: NaN and Inf would meet the zeros between the sites"),
    ("subsampled", "conv2d_c2_o2_i5_k3_s2_grad@special.1", "+subsampled: NaN and Inf would meet the zeros between the sites"),
    ("subsampled", "conv2d_c1_o64_i2048_k1_s64", "+subsampled: the result with stride 1 is too large"),
    ("padded", "conv2d_c2_o2_i5_k3", "+padded: there is no padding"),
    ("padded", "convt2d_c2_o2_i5_k3_p1", "+padded: a transposed convolution's padding crops its output"),
    ("padded", "conv2d_c2_o2_i5_k3_p1_pmreflect_grad", "+padded: the gradient of copied sites is not a slice"),
    ("permuted", "conv2d_c1_o1_i5_k3", "+permuted: there is one channel on either side"),
    ("permuted", "conv2d_c4_o4_g4_i5_k3", "+permuted: there is one channel on either side"),
    ("adjoint", "conv2d_c2_o2_i5_k3_grad", "+adjoint: it is itself a gradient"),
    ("adjoint", "conv2d_c2_o2_i5_k3_p1_pmcircular", "+adjoint: padding mode circular has no transposed convolution"),
    ("adjoint", "conv2d_c2_o0_i5_k3", "+adjoint: no input or output channel"),
]


@pytest.mark.parametrize(("variant", "line", "reason"), DECLINED)
def test_what_a_rewriting_has_no_meaning_for_is_declined(variant: str, line: str, reason: str) -> None:
    """A variant declines what it would leave as it is, and what its rewriting cannot say, with the reason."""
    support = VARIANTS[variant](Spy()).supports(Case.parse(line))
    assert not support
    assert support.reason == reason


@every_variant
@pytest.mark.parametrize("line", ["conv2d_c3_o2_g2_i5_k3", "conv2d_c2_o2_i5_k3_bad-input-rank", "conv1d_c2_o2_i2_k3"])
def test_an_invalid_configuration_is_declined(variant: str, line: str) -> None:
    """There is nothing to rewrite in what is no convolution."""
    assert VARIANTS[variant](Spy()).supports(Case.parse(line)).reason == f"+{variant} has no meaning for an invalid configuration"


@pytest.mark.parametrize("name", ["split-group+split-in", "split-batch+split", "permuted+padded", "zero-stuffed+subsampled+split-in"])
def test_variants_of_variants(name: str) -> None:
    """Rewritings can be stacked, and stacked they still give the layer's own integers and gradients."""
    case = Case.parse("conv2d_n2_c4_o4_g2_i9_k3_s2_p1_d2_b_f32_grad@integers.3")
    stacked: Backend = Spy()
    for variant in reversed(name.split("+")):
        stacked = VARIANTS[variant](stacked)
    tensors = make_tensors(case)
    assert stacked.supports(case)
    assert same(stacked.run(case, tensors), exact(case, tensors))
    assert stacked.name == f"spy+{'+'.join(reversed(name.split('+')))}"


# -- mistakes of their kind -------------------------------------------------------------------------------------------


@dataclass
class Mistaken(Spy):
    """Loses a kernel's last tap in the layers of some kind, in some passes; right everywhere else."""

    where: Callable[[ConvConfig], Any] = bool
    passes: tuple[str, ...] = ("forward", "grad_input", "grad_weight")

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Compute, and spoil what is to be spoilt."""
        outputs = super().run(case, tensors)
        if not self.where(case.config):
            return outputs
        w = tensors.w.copy()
        w[..., -1] = 0
        lost = super().run(case, replace(tensors, w=w))
        if "grad_weight" in outputs:
            lost["grad_weight"][..., -1] = 0
        return {name: lost[name] if name in self.passes else output for name, output in outputs.items()}


MISTAKES: list[tuple[str, str, Callable[[ConvConfig], Any]]] = [
    ("split", "conv2d_n2_c3_o4_i7_k3", lambda c: c.out_channels > 1),
    ("split", "convt2d_n2_c3_o4_i7_k3", lambda c: c.out_channels == 1),
    ("split-in", "conv2d_n2_c3_o4_i7_k3", lambda c: c.in_channels > 1),
    ("split-in", "convt2d_n2_c3_o4_i7_k3", lambda c: c.in_channels == 1),
    ("split-group", "conv2d_n2_c4_o4_g2_i7_k3", lambda c: c.groups > 1),
    ("split-group", "convt2d_n2_c4_o4_g2_i7_k3", lambda c: c.groups == 1),
    ("split-batch", "conv2d_n2_c3_o4_i7_k3", lambda c: c.batch != 1),
    ("split-batch", "convt2d_n2_c3_o4_i7_k3", lambda c: c.batch == 1),
    ("zero-stuffed", "conv2d_n2_c3_o4_i7_k3_d2", lambda c: c.dilation != (1, 1)),
    ("zero-stuffed", "convt2d_n2_c3_o4_i7_k3_d2", lambda c: c.dilation == (1, 1)),
    ("subsampled", "conv2d_n2_c3_o4_i7_k3_s2", lambda c: c.stride != (1, 1)),
    ("subsampled", "conv2d_n2_c3_o4_i7_k3_s2", lambda c: c.stride == (1, 1)),
    ("padded", "conv2d_n2_c3_o4_i7_k3_p1", lambda c: any(map(any, c.pads))),
    ("padded", "conv2d_n2_c3_o4_i7_k3_p1", lambda c: not any(map(any, c.pads))),
    ("permuted", "conv2d_n2_c3_o4_i7_k3_cl", lambda c: c.layout == "channels_last"),
]


@pytest.mark.parametrize("grad", ["", "_grad"])
@pytest.mark.parametrize(("variant", "line", "where"), MISTAKES, ids=[f"{v}-{i}" for i, (v, *_) in enumerate(MISTAKES)])
def test_a_mistake_on_either_side_of_a_rewriting_shows(variant: str, line: str, where: Callable[[ConvConfig], Any], grad: str) -> None:
    """A backend that is wrong for what is rewritten, or for what it is rewritten to, differs from its variant; a right one does not."""
    mistaken, right = Mistaken(where=where), Spy()
    result = convfuzz.check(f"{line}_f32{grad}@integers.1", [mistaken, VARIANTS[variant](mistaken)])
    assert sorted(r.verdict for r in result.results) == ["agree", "wrong"]
    assert float(result.pairs[0][2]) > 0.0
    result = convfuzz.check(f"{line}_f32{grad}@integers.1", [right, VARIANTS[variant](right)])
    assert [r.verdict for r in result.results] == ["agree", "agree"]
    assert float(result.pairs[0][2]) == 0.0


@pytest.mark.parametrize(("variant", "line"), [(v, line) for v, line, _ in MISTAKES if v != "permuted"][::2])
@pytest.mark.parametrize("in_pass", ["grad_input", "grad_weight"])
def test_a_mistake_in_a_gradient_shows(variant: str, line: str, in_pass: str) -> None:
    """A gradient alone that is wrong for what is rewritten is found in that pass, and the variant's is right."""
    where = next(w for v, same_line, w in MISTAKES if (v, same_line) == (variant, line))
    mistaken = Mistaken(where=where, passes=(in_pass,))
    plain, rewritten = convfuzz.check(f"{line}_f32_grad@integers.1", [mistaken, VARIANTS[variant](mistaken)]).results
    assert (plain.verdict, plain.in_pass) == ("wrong", in_pass)
    assert rewritten.verdict == "agree"


def test_channels_that_are_told_apart_show() -> None:
    """A backend that loses the last input channel loses another one when the channels come in another order."""

    class LosesLastChannel(Spy):
        def run(self, case: Case, tensors: Tensors) -> Outputs:
            w = tensors.w.copy()
            w[:, -1] = 0
            return super().run(case, replace(tensors, w=w))

    backend = LosesLastChannel()
    result = convfuzz.check("conv2d_n2_c3_o4_i7_k3_f32@integers.1", [backend, VARIANTS["permuted"](backend)])
    assert float(result.pairs[0][2]) > 0.0


@pytest.mark.parametrize("line", ["conv2d_n2_c3_o4_i7_k3_s2_p1", "convt2d_n2_c3_o4_i5_k3_s2_p1"])
@pytest.mark.parametrize(("passes", "verdicts"), [(("forward",), ["wrong", "agree"]), (("grad_input",), ["agree", "wrong"])])
def test_operations_that_are_not_adjoint_show(line: str, passes: tuple[str, ...], verdicts: list[str]) -> None:
    """A forward pass and a backward pass of the opposite operation that do not belong together differ, whichever is wrong."""
    mistaken = Mistaken(where=lambda _: True, passes=passes)
    result = convfuzz.check(f"{line}_f32@integers.1", [mistaken, VARIANTS["adjoint"](mistaken)])
    assert [r.verdict for r in result.results] == verdicts
    assert float(result.pairs[0][2]) > 0.0


def test_a_backend_that_declines_gradients_has_no_adjoint() -> None:
    """The adjoint is a backward pass: a backend without one declines it with its own reason."""

    class ForwardOnly(Spy):
        def supports(self, case: Case) -> Support:
            return Support.no("no gradients") if case.grad else Support.YES

        def run(self, case: Case, tensors: Tensors) -> Outputs:
            if case.grad:
                raise Unsupported("no gradients")
            return super().run(case, tensors)

    assert VARIANTS["adjoint"](ForwardOnly()).supports(Case.parse("conv2d_c2_o2_i5_k3")).reason == "no gradients"
    assert VARIANTS["split"](ForwardOnly()).supports(Case.parse("conv2d_c2_o2_i5_k3"))
