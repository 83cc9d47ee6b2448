"""Large layers: which of their elements are judged, what is right there, and that mistakes at the edges of tiles are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import convfuzz
from convfuzz.backends import Support
from convfuzz.case import Case
from convfuzz.case.dtypes import is_integer
from convfuzz.checking.checker import Checker, fold_check
from convfuzz.judging import sampled_judge, tiles
from convfuzz.judging.boxes import TILES, sampled_boxes
from convfuzz.judging.pass_sums import LayerSums
from convfuzz.oracle import gradients, reference
from convfuzz.record.events import BackendEnded
from convfuzz.system.json_records import decode, encode
from convfuzz.tensors import generator
from convfuzz.tensors import stretches as stretched
from convfuzz.tensors.generator import Tensors, make_tensors, redraw
from convfuzz.tensors.guards import BufferNeeds
from convfuzz.tensors.parts import SOME_OF
from convfuzz.tensors.stretches import stretches

LAYERS = [
    "conv2d_n3_c6_o8_i70x37_k3x5_s2x1_p1:2x0:3_d1x2_b_f32_grad@normal.3",
    "conv2d_n2_c4_o6_g2_i33x20_k3_p2_d3_f32_grad@normal.1",
    "convt2d_n3_c6_o4_g2_i19x11_k3x4_s3x2_p1x0_op1x0_b_f32_grad@integers.1",
    "conv1d_c3_o5_i900_k7_s3_p3_pmreflect_b_f32_grad@normal.2",
    "conv1d_n-_c3_o5_i900_k7_s3_d2_p3_pmcircular_b_f32_grad@normal.2",
    "conv3d_n2_c2_o3_i9x12x7_k2_s2_p1_d2_b_f64_grad@normal.2",
    "conv2d_n2_c4_o4_g4_i30_k3_p-1:2_b_c64_grad@normal.5",
    "conv2d_n2_c4_o4_i30_k3_p1_i32@normal.5",
    "convt1d_n2_c4_o4_i50_k2_s5_p2_d4_bf16_grad@normal.5",
    "convt3d_n1_c2_o2_i7_k3_s2_p1_op1_f16_grad@special.5",
    "conv2d_n2_c4_o4_i30_k3_s5_p1_f32_grad@special.6",
]
LARGE = "conv2d_n3_c3_o5_i90x75_k3_p1_b_f32"
Array = npt.NDArray[Any]


@pytest.fixture
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every layer judged on a sample of its elements, a small one."""
    monkeypatch.setattr(sampled_judge, "MOST_BYTES", 0)
    monkeypatch.setattr(tiles, "MOST_ELEMENTS", 2**12)
    monkeypatch.setattr(stretched, "_MOST_BYTES", 0)


@pytest.mark.parametrize("line", LAYERS)
def test_a_tile_has_the_sums_of_the_whole(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tile of every pass has bit for bit the sums, the counts of taps and the open elements that the whole layer has there, once."""
    monkeypatch.setattr(tiles, "MOST_ELEMENTS", 2000)
    case = Case.parse(line)
    tensors, integers = make_tensors(case), case.recipe.has_integers
    for in_pass in case.passes:
        whole = LayerSums(case.config, tensors, integers=integers).of(in_pass)
        expected, seen = whole.expected, np.zeros(case.shape_of(in_pass), int)
        with np.errstate(all="ignore"):
            for tile in tiles.tiles(case.config, tensors, in_pass, 5):
                sums = LayerSums(tile.config, tile.tensors, integers=integers).of(in_pass)
                seen[tile.place] += 1
                np.testing.assert_array_equal(sums.expected.y, expected.y[tile.place])
                for ours, theirs in ((sums.expected.S, expected.S), (sums.expected.Q, expected.Q), (sums.expected.y_lo, expected.y_lo)):
                    if ours is not None and theirs is not None:
                        np.testing.assert_array_equal(ours, theirs[tile.place])
                if in_pass != "grad_bias":
                    np.testing.assert_array_equal(sums.expected.n, expected.n[tile.place])
                if not is_integer(case.config.dtype):
                    ours, theirs = (np.zeros(of.expected.y.shape, bool) if of.may_be_nan is None else of.may_be_nan for of in (sums, whole))
                    np.testing.assert_array_equal(ours, theirs[tile.place])
        assert seen.max() == 1
        assert seen.any()


@pytest.mark.parametrize("shape", [(16, 1000, 777), (1, 513), (300, 70, 65, 90), (2, 3, 5)])
def test_what_a_sample_has(shape: tuple[int, ...]) -> None:
    """A sample has the corners, every border, every residue modulo 2 … 64 of every index, and both sides of the last edge of every tile."""
    boxes = sampled_boxes(shape, 64, np.random.default_rng(1))
    sites = {tuple(start for start, _ in box) for box in boxes} | {tuple(stop - 1 for _, stop in box) for box in boxes}
    assert {(0,) * len(shape), tuple(size - 1 for size in shape)} <= sites
    for axis, size in enumerate(shape):
        there = {index for box in boxes for index in range(*box[axis])}
        edges = {edge for tile in TILES for edge in (tile, size // tile * tile) if 0 < edge < size}
        wanted = {0, size - 1, *edges, *(edge - 1 for edge in edges)}
        assert wanted <= there
        for modulus in range(2, 65):
            assert {index % modulus for index in there} == set(range(min(modulus, size)))


def test_boxes_are_disjoint() -> None:
    """No site is in two boxes, so that none is counted twice."""
    seen = np.zeros((5, 40, 33), int)
    for box in sampled_boxes(seen.shape, 30, np.random.default_rng(3)):
        seen[tuple(slice(*of) for of in box)] += 1
    assert seen.max() == 1


def rounded(case: Case, tensors: Tensors) -> dict[str, Array]:
    """Return what is right, rounded to the dtype."""
    x, w, b, dy = tensors.x, tensors.w, tensors.b, tensors.dy
    outputs = {"forward": reference(case.config, x, w, b).y}
    if dy is not None:
        outputs |= {name: found.y for name, found in gradients(case.config, x, w, dy).items() if name in case.passes}
    return {name: y.astype(case.config.dtype) for name, y in outputs.items()}


class Kernel:
    """A backend that returns what is right, changed."""

    name, versions = "kernel", {}

    def __init__(self, change: Callable[[dict[str, Array]], object] = lambda _: None, *, numerics: convfuzz.Numerics | None = None) -> None:
        self._change, self._numerics = change, numerics or convfuzz.Numerics()

    def supports(self, case: Case) -> Support:
        """Every case."""
        del case
        return Support.YES

    def numerics(self, case: Case) -> convfuzz.Numerics:
        """As given."""
        del case
        return self._numerics

    def run(self, case: Case, tensors: Tensors) -> dict[str, Array]:
        """Compute and change."""
        outputs = rounded(case, tensors)
        self._change(outputs)
        return outputs


def ended(kernel: Kernel, line: str) -> BackendEnded:
    """Return what becomes of a kernel on one case."""
    case = Case.parse(line)
    (result,) = fold_check(case, Checker([kernel]).events(case)).results
    return result


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize("line", [f"{LARGE}@normal.1", f"{LARGE}@integers.1", f"{LARGE}_grad@normal.1", "conv1d_n2_c3_o5_i900_k5_s2_i32"])
def test_right_results_agree(line: str) -> None:
    """A sample of right results agrees, and says of how many elements it is; events keep that."""
    result = ended(Kernel(), line)
    assert result.verdict == "agree", result.reason
    case = Case.parse(line)
    found = result.discrepancies["forward"]
    assert found.out_of == np.prod(case.config.output_shape)
    assert 2000 < found.elements < found.out_of
    assert found.judged_of == f"{found.elements:,} of {found.out_of:,} elements were judged"
    assert decode(encode(result), BackendEnded) == result


def _last(outputs: dict[str, Array]) -> None:
    outputs["forward"][-1, -1, -1, -1] += 1


def _last_row_of_tiles(outputs: dict[str, Array]) -> None:
    outputs["forward"][..., 90 // 16 * 16, :] = 0


def _nan(outputs: dict[str, Array]) -> None:
    outputs["forward"][1, 3, :, 64] = np.nan


def _input_gradient(outputs: dict[str, Array]) -> None:
    outputs["grad_input"][-1, :, -1, -1] *= 1.5


def _weight_gradient(outputs: dict[str, Array]) -> None:
    outputs["grad_weight"][-1, -1, 0, 2] = 0


def _bias_gradient(outputs: dict[str, Array]) -> None:
    outputs["grad_bias"][2] += 1e-2 * abs(outputs["grad_bias"][2])


MISTAKES: dict[Callable[[dict[str, Array]], object], tuple[str, str, str]] = {
    _last: ("wrong", "forward", "1 of "),
    _last_row_of_tiles: ("wrong", "forward", " elements are off, worst "),
    _nan: ("non-finite", "forward", " elements: at [1, 3, "),
    _input_gradient: ("wrong", "grad_input", " elements are off, worst "),
    _weight_gradient: ("wrong", "grad_weight", " elements are off, worst "),
    _bias_gradient: ("wrong", "grad_bias", "1 of 5 elements are off"),
}


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_at_an_edge_is_found(mistake: Callable[[dict[str, Array]], object]) -> None:
    """A mistake in the last element, at the edge of a tile or in one channel of any pass is found in a sample, with its place."""
    verdict, in_pass, said = MISTAKES[mistake]
    result = ended(Kernel(mistake), f"{LARGE}_grad@normal.1")
    assert (result.verdict, result.in_pass) == (verdict, in_pass), result.reason
    assert said in result.reason
    assert f" of {result.discrepancies[in_pass].elements} elements" in result.reason
    if mistake is _last:
        assert result.discrepancies["forward"].index == (2, 4, 89, 74)


@pytest.mark.usefixtures("small_is_large")
def test_a_wrong_integer_is_told_with_its_place() -> None:
    """Of integers the element furthest off is named where it is in the whole output."""

    def change(outputs: dict[str, Array]) -> None:
        outputs["forward"][-1, -1, -1] += 7

    result = ended(Kernel(change), "conv1d_n2_c3_o5_i900_k5_s2_i32@normal.3")
    expected = int(rounded(case := Case.parse("conv1d_n2_c3_o5_i900_k5_s2_i32@normal.3"), make_tensors(case))["forward"][-1, -1, -1])
    assert f"at [1, 4, 447] expected {expected}, got {expected + 7}" in result.reason


@pytest.mark.usefixtures("small_is_large")
def test_one_arithmetic_explains_all_tiles() -> None:
    """Results that are stored in bfloat16 are told to be so, of all tiles together; a transform that sees whole maps is not accused."""

    def change(outputs: dict[str, Array]) -> None:
        bits = outputs["forward"].astype(np.float32).view(np.uint32)
        outputs["forward"] = ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)

    result = ended(Kernel(change), f"{LARGE}@normal.1")
    assert (result.verdict, result.model) == ("imprecise", "bfloat16 results")

    def blurred(outputs: dict[str, Array]) -> None:
        y = outputs["forward"]
        outputs["forward"] = (y + 3e-6 * np.random.default_rng(1).standard_normal(y.shape)).astype(np.float32)

    assert ended(Kernel(blurred), f"{LARGE}@normal.1").model == "Winograd or FFT"
    assert ended(Kernel(blurred, numerics=convfuzz.Numerics(algorithm="transform")), f"{LARGE}@normal.1").verdict == "agree"


@pytest.mark.usefixtures("small_is_large")
def test_a_large_operand_that_is_changed_is_drawn_anew() -> None:
    """A kernel that changes its input is told so by a checksum, and the next one gets what was drawn."""

    class Changes(Kernel):
        name = "changes"

        def run(self, case: Case, tensors: Tensors) -> dict[str, Array]:
            tensors.x.flags.writeable = True
            tensors.x[-1, -1, -1, -1] += 1
            return rounded(case, tensors)

    case = Case.parse(f"{LARGE}@normal.1")
    result = fold_check(case, Checker([Changes(), Kernel()]).events(case))
    assert [one.verdict for one in result.results] == ["corrupted-input", "agree"]


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize("layout", ["", "_nc", "_ex", "_cl"])
def test_guarded_operands_of_a_large_layer_are_there_once(layout: str) -> None:
    """They are moved to where the guards are, and are back for the judge and the next kernel, whatever was done to them meanwhile."""

    class GuardedKernel(Kernel):
        buffer_needs = BufferNeeds()

        def __init__(self, name: str, change: float = 0.0) -> None:
            super().__init__()
            self.name, self._by = name, np.float32(change)

        def run(self, case: Case, tensors: Tensors) -> dict[str, Array]:
            outputs = rounded(case, tensors)
            if self._by:
                tensors.x[..., -1] += self._by
            return outputs

    case = Case.parse(f"{LARGE}{layout}_grad@normal.1")
    backends = [GuardedKernel("first"), GuardedKernel("changing", 1.0), GuardedKernel("second"), Kernel()]
    result = fold_check(case, Checker(backends, repeat_one_in=1).events(case))
    assert [one.verdict for one in result.results] == ["agree", "corrupted-input", "agree", "agree"]


@pytest.mark.usefixtures("small_is_large")
def test_a_large_operand_that_is_returned_is_judged_as_it_was() -> None:
    """A layer whose weights are the identity may return its input itself, whose memory is given back after the call."""

    class Identity(Kernel):
        buffer_needs = BufferNeeds()

        def run(self, _: Case, tensors: Tensors) -> dict[str, Array]:
            return {"forward": tensors.x}

    case = Case.parse("conv2d_c1_o1_i90x75_k1_f32@w0=1_x0=3_x4000=-2_x6749=0.5")
    (result,) = fold_check(case, Checker([Identity()]).events(case)).results
    assert result.verdict == "agree", result.reason


@pytest.mark.usefixtures("small_is_large")
def test_outputs_are_compared_on_the_sample() -> None:
    """Two outputs of a large layer are compared where both were judged, and two runs of one too."""

    class Other(Kernel):
        name = "other"

    class Changing(Kernel):
        name = "changing"
        calls = 0

        def run(self, case: Case, tensors: Tensors) -> dict[str, Array]:
            outputs = rounded(case, tensors)
            y = outputs["forward"]
            y[-1, -1, -1, -1] = np.nextafter(y[-1, -1, -1, -1], np.float32(-np.inf if self.calls else np.inf))
            self.calls += 1
            return outputs

    case = Case.parse(f"{LARGE}@normal.1")
    other = Other(lambda outputs: np.multiply(outputs["forward"], np.float32(1 + 2**-23), out=outputs["forward"]))
    result = fold_check(case, Checker([Kernel(), other, Changing()], repeat_one_in=1).events(case))
    assert [one.verdict for one in result.results] == ["agree", "agree", "nondeterministic"]
    assert result.pairs[0][:2] == ("kernel", "other")
    assert 0 < result.pairs[0][2] < 1e-4


@pytest.mark.parametrize("regime", sorted(SOME_OF["x"]))
def test_a_large_operand_is_the_same_in_stretches(regime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs and gradients that are drawn a stretch at a time have the bytes that they have as a whole, in every layout, and again."""
    layers = ["conv2d_n2_c3_o4_i11x9_k3_b_f32", "convt1d_n-_c5_o4_i301_k3_bf16"]
    layers += ["conv3d_n2_c5_o4_i6x6x4_k3_b_f16_nc", "conv2d_n2_c3_o4_i9_k3_f64_cl"]
    layers += ["conv2d_n3_c4_g2_o6_i19x11_k3_b_f16_grad", "conv1d_n-_c4_g4_o8_i301_k3_bf16_grad", "convt2d_n2_c2_o3_i9_k2_s2_f32_cl_grad"]
    for line in layers:
        case = Case.parse(f"{line}@{regime}.9")
        whole = make_tensors(case)
        with monkeypatch.context() as patch:
            patch.setattr(generator, "_MOST_AT_ONCE", 64)
            parts = make_tensors(case)
            parts.x[...] = 0
            redraw(case, parts)
        for name, array in whole.named().items():
            other = parts.named()[name]
            assert (array.tobytes(), array.strides, array.dtype) == (other.tobytes(), other.strides, other.dtype)


@pytest.mark.parametrize("shape", [(), (5,), (3, 4, 5), (2, 0, 3), (7, 1, 9)])
def test_stretches_are_an_array_in_its_order(shape: tuple[int, ...]) -> None:
    """Stretches put one after the other are the array, and none has more elements than it may."""
    array = np.arange(int(np.prod(shape))).reshape(shape)
    parts = [array[place].reshape(-1) for place in stretches(shape, 6)]
    assert all(part.size <= 6 for part in parts)
    np.testing.assert_array_equal(np.concatenate(parts), array.reshape(-1))
