"""Where the values lie in memory."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings

from convfuzz.backends.arrays import to_numpy, to_torch
from convfuzz.case import Case
from convfuzz.case.config import DTYPES, LAYOUTS, OPS, ConvConfig
from convfuzz.case.dtypes import numpy_dtype
from convfuzz.case.line import DTYPE_TOKENS, LAYOUT_TOKENS
from convfuzz.tensors.generator import make_tensors
from convfuzz.tensors.layouts import Placement, placement, placements
from convfuzz.tensors.poison import unwritten

from .drawn import whole_layers

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_layout = pytest.mark.parametrize("layout", LAYOUTS)
SHORT = {name: token for token, name in DTYPE_TOKENS.items()}
SHAPES = [(2, 3, 4, 5), (1, 3, 1, 2), (3, 1, 2), (4,), (1,), (0, 3, 2), (2, 0), (3, 2, 0), (2, 2, 2, 2, 2)]


def in_elements(array: npt.NDArray[Any]) -> tuple[int, ...]:
    """Return the strides counted in elements."""
    return tuple(stride // array.itemsize for stride in array.strides)


def buffer_of(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the memory that a placed array lies in, in its dtype."""
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    return base.view(array.dtype)


def every_placement(shape: tuple[int, ...], layout: str) -> list[tuple[Placement, int]]:
    """Return the placements of a shape for each choice of the channel axis and the expanded one, with the latter."""
    axes = range(-1, len(shape))
    return [
        (placement(layout, shape, channels=channels, expanded=expanded), expanded) for channels, expanded in itertools.product(axes, axes)
    ]


# -- placements of any shape ------------------------------------------------------------------------------------------


@every_dtype
@every_layout
def test_values_are_placed_and_the_rest_of_the_memory_is_marked(layout: str, dtype: str) -> None:
    """A placed array holds the values, along a stride of 0 the first ones; every other element of its memory says so."""
    kind = numpy_dtype(dtype)
    for placed, _ in itertools.chain.from_iterable(every_placement(shape, layout) for shape in SHAPES):
        shape = placed.shape
        values = (np.arange(np.prod(shape)).reshape(shape) % 100).astype(kind)
        array = placed.place(values)
        expected = values[tuple(slice(1) if stride == 0 else slice(None) for stride in placed.strides)]
        np.testing.assert_array_equal(array, np.broadcast_to(expected, shape))
        assert (array.shape, array.dtype, in_elements(array)) == (shape, kind, placed.strides)
        assert array.flags.writeable
        memory = buffer_of(array)
        assert memory.size == placed.size
        gaps = np.ones(memory.size, dtype=bool)
        gaps[placed.offset + np.tensordot(np.array(placed.strides), np.indices(shape), axes=1)] = False
        marked = memory[gaps]
        assert np.isnan(marked.astype(np.complex128)).all() if kind.kind not in "iu" else (marked == np.iinfo(kind).max).all()


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if 0 not in shape], ids=str)
def test_strides_are_those_of_the_numpy_array_that_the_layout_describes(shape: tuple[int, ...]) -> None:
    """Contiguous, offset, transposed and every-second-element views have the strides of NumPy's own such views."""
    rows = np.empty((*shape[:-1], 2 * shape[-1] + 1))
    for layout, like, offset in (
        ("contiguous", np.empty(shape), 0),
        ("offset", np.empty(shape), 1),  # an odd element, so that no vector of it is aligned
        ("transposed", np.empty(shape, order="F"), 0),
        ("non_contiguous", rows[..., 1::2], 1),
    ):
        for placed, _ in every_placement(shape, layout):
            assert (placed.strides, placed.offset) == (in_elements(like), offset)
            assert placed.size == {"offset": like.size + 1, "non_contiguous": rows.size}.get(layout, like.size)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if 0 not in shape], ids=str)
def test_strides_that_are_never_used_are_loose(shape: tuple[int, ...]) -> None:
    """Loose strides lead out of the memory along axes of size 1, and are the contiguous ones along every other."""
    for placed, _ in every_placement(shape, "loose_strides"):
        for extent, stride, usual in zip(shape, placed.strides, in_elements(np.empty(shape)), strict=True):
            assert stride > placed.size if extent == 1 else stride == usual
        assert (placed.size, placed.offset) == (math.prod(shape), 0)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if 0 not in shape], ids=str)
def test_an_expanded_axis_has_stride_zero(shape: tuple[int, ...]) -> None:
    """The expanded axis has stride 0 where it has more than one slice; who takes the array for contiguous still reads its own memory."""
    for placed, axis in every_placement(shape, "expanded"):
        stored = tuple(1 if a == axis else extent for a, extent in enumerate(shape))
        expected = list(in_elements(np.empty(stored)))
        if axis >= 0 and shape[axis] > 1:
            expected[axis] = 0
        assert (list(placed.strides), placed.size) == (expected, math.prod(shape))


def test_channels_last_is_dense_with_the_channels_fastest() -> None:
    """Channels last is a dense array whose channel axis has stride one and whose other axes keep their order."""
    for shape in (shape for shape in SHAPES if 0 not in shape):
        for channels in range(len(shape)):
            placed = placement("channels_last", shape, channels=channels, expanded=-1)
            others = [extent for axis, extent in enumerate(shape) if axis != channels]
            assert placed.strides == in_elements(np.moveaxis(np.empty((*others, shape[channels])), -1, channels))
            assert (placed.size, placed.offset) == (math.prod(shape), 0)
        assert placement("channels_last", shape, channels=-1, expanded=0).strides == in_elements(np.empty(shape))


# -- placements of a case's tensors -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=250)
@given(config=whole_layers())
def test_every_operand_of_a_layer_lies_as_its_layout_says(config: ConvConfig) -> None:
    """Input, output gradient and bias follow the layout, the weight its own; each is what the placements say, in the case's shape."""
    tensors, placed = make_tensors(Case(config, grad=True)), placements(config)
    shapes = {"x": config.input_shape, "w": config.weight_shape, "b": (config.out_channels,), "dy": config.output_shape}
    for name, array in tensors.named().items():
        assert array.shape == placed[name].shape == shapes[name]
        assert in_elements(array) == placed[name].strides
        assert placed[name].place(array).tobytes() == array.tobytes()
    own = placements(config.replace(layout=config.weight_layout or config.layout, weight_layout=None))["w"]
    assert placed["w"] == own
    beside = placements(config.replace(weight_layout=None))
    assert (placed["x"], placed["b"]) == (beside["x"], beside["b"])


@pytest.mark.parametrize(("dims", "size"), [(1, (5,)), (2, (5, 7)), (3, (4, 5, 7))])
@pytest.mark.parametrize("batch", [None, 1, 2])
def test_expanded_repeats_what_a_layer_may_repeat(dims: int, size: tuple[int, ...], batch: int | None) -> None:
    """Expanded: one sample serves the whole batch, or one channel all channels where there is one sample; one kernel serves all outputs.

    The output's gradient repeats a channel, beside a weight that repeats nothing.
    """
    for op in OPS:
        config = ConvConfig(
            op=op,  # type: ignore[arg-type]
            dims=dims,
            batch=batch,
            in_channels=4,
            out_channels=6,
            groups=2,
            input_size=size,
            kernel_size=(2,) * dims,
            layout="expanded",
            bias=True,
        )
        tensors = make_tensors(Case(config, grad=True))
        beside_plain = make_tensors(Case(config.replace(weight_layout="contiguous"), grad=True))
        images = 0 if batch in (None, 2) else 1
        kernels = 0 if op == "conv" else 1
        assert tensors.dy is not None
        assert 0 not in tensors.dy.strides
        for array, axis in ((tensors.x, images), (beside_plain.dy, int(batch is not None)), (tensors.w, kernels)):
            assert array is not None
            assert [a for a, stride in enumerate(array.strides) if stride == 0] == [axis]
            first = array[tuple(slice(1) if a == axis else slice(None) for a in range(array.ndim))]
            np.testing.assert_array_equal(array, np.broadcast_to(first, array.shape))
            assert np.unique(first).size > 1
        assert tensors.b is not None
        assert in_elements(tensors.b) == (1,)


def test_channels_last_of_each_operand() -> None:
    """Channels last: images by their channel axis, which is the first without a batch, and weights by their second axis, in both ops."""
    tensors = make_tensors(Case.parse("conv2d_n2_c3_o4_i5x7_k3x2_b_f32_cl_grad"))
    assert in_elements(tensors.x) == (5 * 7 * 3, 1, 7 * 3, 3)
    assert in_elements(tensors.w) == (3 * 2 * 3, 1, 2 * 3, 3)
    assert tensors.dy is not None
    assert in_elements(tensors.dy) == (3 * 6 * 4, 1, 6 * 4, 4)
    tensors = make_tensors(Case.parse("convt2d_n-_c4_o6_g2_i5x7_k3x2_f32_cl"))
    assert tensors.x.shape == (4, 5, 7)
    assert in_elements(tensors.x) == (1, 7 * 4, 4)
    assert tensors.w.shape == (4, 3, 3, 2)
    assert in_elements(tensors.w) == (3 * 2 * 3, 1, 2 * 3, 3)


@every_dtype
@pytest.mark.parametrize("layout", LAYOUT_TOKENS)
def test_torch_keeps_the_strides(layout: str, dtype: str) -> None:
    """PyTorch takes every operand in every layout and dtype on the same memory, strides and values kept."""
    pytest.importorskip("torch", reason="PyTorch's tensors have strides")
    for line in (f"conv2d_n2_c3_o4_i5x7_k3x2_b_{SHORT[dtype]}_{layout}_grad", f"conv3d_c1_o1_i3x1x2_k1_b_{SHORT[dtype]}_{layout}_grad"):
        for array in make_tensors(Case.parse(line)).named().values():
            tensor = to_torch(array)
            assert tuple(tensor.stride()) == in_elements(array)
            assert tensor.data_ptr() == array.ctypes.data
            assert to_numpy(tensor).tobytes() == array.tobytes()


@every_dtype
def test_unwritten(dtype: str) -> None:
    """What was never written is NaN, or the largest integer."""
    memory = unwritten((2, 3), numpy_dtype(dtype))
    assert memory.shape == (2, 3)
    assert np.isnan(memory.astype(np.complex128)).all() if dtype[0] != "i" else (memory == np.iinfo(dtype).max).all()
