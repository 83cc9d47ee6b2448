"""``+split``: each output kernel on its own gives the layer's own output, and sees its group's channels only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sampling import sample

import convfuzz
from convfuzz import Case, ConvConfig, DataRecipe
from convfuzz.backends import Backend, Numerics, Outputs, Support, resolve
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.backends.variants import Split
from convfuzz.backends.variants.splits import SplitBatch, SplitGroup, SplitIn, SplitVariant
from convfuzz.strategies import configs
from convfuzz.tensors.generator import Array, Tensors, make_tensors

from .fakes import Spy, exact


def test_maps_concatenated_are_the_layer_s_own_output() -> None:
    """On integers the maps of the kernels on their own are the layer's output exactly, bit for bit."""
    split, compared = Split(Spy()), 0
    for config in sample(configs(max_flops=100_000, max_elements=2**11), 150, seed=20261122):
        case = Case(config, DataRecipe("integers", 3))
        if split.supports(case):
            tensors = make_tensors(case)
            assert np.array_equal(split.run(case, tensors)["forward"], exact(case, tensors)["forward"]), case
            compared += 1
    assert compared > 100


@pytest.mark.parametrize("batch", ["n3", "n-"])
@pytest.mark.parametrize(("channels", "outputs", "groups"), [(3, 10, 1), (4, 6, 2), (4, 4, 4), (2, 6, 2), (6, 4, 2)])
def test_kernel_sees_the_channels_of_its_group_only(batch: str, channels: int, outputs: int, groups: int) -> None:
    """Each call gets one kernel, its bias, and exactly its group's input channels: all of them in a dense layer."""
    grouped = f"_g{groups}" if groups > 1 else ""
    case = Case.parse(f"conv2d_{batch}_c{channels}_o{outputs}{grouped}_i5_k3_b_f32@normal.1")
    spy, tensors = Spy(), make_tensors(case)
    Split(spy).run(case, tensors)
    width, per_group = channels // groups, outputs // groups
    assert tensors.b is not None
    assert len(spy.seen) == outputs
    for kernel, (single, part) in enumerate(spy.seen):
        first = kernel // per_group * width
        seen = tensors.x[..., first : first + width, :, :]
        assert (single.config.in_channels, single.config.out_channels, single.config.groups) == (width, 1, 1)
        assert part.x.shape == single.config.input_shape
        assert np.array_equal(part.x, seen)
        assert np.array_equal(part.w, tensors.w[kernel : kernel + 1])
        assert part.b is not None
        assert part.b.tolist() == [tensors.b[kernel]]


def test_founding_layer_is_its_ten_kernels() -> None:
    """``torch.nn.Conv2d(3, 10, 3)`` applied kernel by kernel differs from the layer by 0."""
    result = convfuzz.check("conv2d_c3_o10_i8_k3_b_f32@integers.0", ["reference", "reference+split"])
    assert [r.verdict for r in result.results] == ["agree", "agree"]
    assert [float(apart) for *_, apart in result.pairs] == [0.0]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("conv2d_c2_o0_i5_k3_f32", "+split: no output kernel"),
        ("convt2d_c2_o0_i5_k3_f32", "+split: no output kernel"),
        ("conv2d_c2_o3_i2_k3_f32", "+split has no meaning for an invalid configuration"),
    ],
)
def test_split_declines_what_has_no_kernels_to_split(line: str, reason: str) -> None:
    """Layers without output kernels and invalid ones are declined with the reason."""
    assert Split(Spy()).supports(Case.parse(line)).reason == reason


class DeclinesSingleChannels(Spy):
    """Declines a case with one input channel."""

    def supports(self, case: Case) -> Support:
        """Take cases of several input channels."""
        return Support.YES if case.config.in_channels > 1 else Support.no("one channel")

    def numerics(self, case: Case) -> Numerics:
        """Declare another accumulator for one output kernel."""
        return Numerics(accumulator="float64" if case.config.out_channels == 1 else None)


def test_split_declines_what_the_backend_declines_of_its_parts() -> None:
    """The wrapped backend must support the layer and the layer of one kernel."""
    split: Backend = Split(DeclinesSingleChannels())
    assert split.supports(Case.parse("conv2d_c4_o4_g2_i5_k3_f32"))
    assert split.supports(Case.parse("conv2d_c4_o4_g4_i5_k3_f32")).reason == "one channel"
    assert split.supports(Case.parse("conv2d_c1_o4_i5_k3_f32")).reason == "one channel"


def test_split_has_the_numerics_of_one_kernel() -> None:
    """What is judged is the arithmetic that the wrapped backend declares for one kernel."""
    assert Split(DeclinesSingleChannels()).numerics(Case.parse("conv2d_c4_o4_i5_k3_f32")).accumulator == "float64"


def kernel_backend(change: Any) -> KernelBackend:
    """Return a kernel that changes the right result."""

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Any:
        return change(convfuzz.reference(config, x, w, b).y.astype(x.dtype))

    return KernelBackend("kernel", kernel)


@pytest.mark.parametrize("variant", [Split, SplitIn, SplitGroup, SplitBatch])
@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda y: y[..., :-1], "wrong-shape"),
        (lambda y: y.astype(np.float64), "wrong-dtype"),
        (lambda _: None, "error"),
        (lambda y: y + 1, "wrong"),
    ],
    ids=["shape", "dtype", "None", "values"],
)
def test_splits_hide_no_mistake_of_their_backend(change: Any, verdict: str, variant: type[SplitVariant]) -> None:
    """A wrong shape, dtype, value or type of the parts is the verdict of the whole."""
    (result,) = convfuzz.check("conv2d_n2_c4_o4_g2_i5_k3_f32@integers.1", [variant(kernel_backend(change))]).results
    assert result.verdict == verdict


@pytest.mark.parametrize("variant", [Split, SplitIn, SplitGroup, SplitBatch])
@pytest.mark.parametrize("in_pass", ["grad_input", "grad_weight", "grad_bias"])
@pytest.mark.parametrize(
    ("change", "verdict"),
    [(lambda y: y[None], "wrong-shape"), (lambda y: y.astype(np.float64), "wrong-dtype"), (lambda y: y + 1, "wrong")],
    ids=["shape", "dtype", "values"],
)
def test_splits_hide_no_mistake_in_a_gradient(change: Any, verdict: str, in_pass: str, variant: type[SplitVariant]) -> None:
    """A wrong shape, dtype or value of a part's gradient is the verdict of the whole, in that pass."""

    class Mistaken(Spy):
        def run(self, case: Case, tensors: Tensors) -> Outputs:
            outputs = super().run(case, tensors)
            return {name: change(y) if name == in_pass else y for name, y in outputs.items()}

    (result,) = convfuzz.check("conv2d_n2_c4_o4_g2_i5_k3_b_f32_grad@integers.1", [variant(Mistaken())]).results
    assert (result.verdict, result.in_pass) == (verdict, in_pass)


def test_split_shows_a_write_to_the_input() -> None:
    """The parts share the tensors' memory, so that a kernel that writes to its input is still seen."""

    class Writes(Spy):
        def run(self, case: Case, tensors: Tensors) -> Outputs:
            outputs = super().run(case, tensors)
            tensors.x[...] = 0
            return outputs

    (result,) = convfuzz.check("conv2d_c4_o4_g2_i5_k3_f32@normal.1", [Split(Writes())]).results
    assert (result.verdict, result.reason) == ("corrupted-input", "changed its input x")


@pytest.mark.parametrize("name", ["torch+split", "tensorflow+split"])
def test_frameworks_split_exactly_on_integers(name: str) -> None:
    """A framework's layer and its kernels one by one give the same integers, dense, grouped and depthwise."""
    pytest.importorskip(name.partition("+")[0], reason="the framework is what is split")
    pair = [resolve(name.removesuffix("+split")), resolve(name)]
    for shape in ("c3_o10", "c4_o6_g2", "c6_o6_g6", "c3_o6_g3"):
        result = convfuzz.check(f"conv2d_n2_{shape}_i9_k3_p1_b_f32@integers.5", pair)
        assert [r.verdict for r in result.results] == ["agree", "agree"], shape
        assert [float(apart) for *_, apart in result.pairs] == [0.0], shape
