"""The tensors of a case: drawn by its regime or spelled out, rounded once to its dtype, and laid out in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from convfuzz.case import EXPLICIT, Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import FLOATS, is_complex, is_integer, numpy_dtype
from convfuzz.case.explicit_data import check_entries, tensor_shapes
from convfuzz.errors import Unsupported
from convfuzz.tensors.guards import GuardedMemory
from convfuzz.tensors.layouts import Placement, placements
from convfuzz.tensors.parts import SOME_OF
from convfuzz.tensors.regimes import VALUES, WHOLE_VALUES, Values
from convfuzz.tensors.stretches import let_go, stretches

Array = npt.NDArray[Any]

_MOST_AT_ONCE = 2**22
"""A larger input is drawn so many elements at a time."""
_IMAGINARY = 2**63
"""What sets the seed of imaginary parts apart from every seed that a recipe can have."""


@dataclass(frozen=True, slots=True)
class Tensors:
    """``x`` of the case's input shape, ``w`` of its weight shape and ``b`` of shape (out,) or ``None``, in its dtype and layout.

    ``dy``, the gradient of the output, has the output's shape; ``None`` where only the forward pass runs. ``memory`` is where they
    lie if they are guarded, so that an output that a backend is to fill can lie there too.
    """

    x: Array
    w: Array
    b: Array | None
    dy: Array | None = None
    memory: GuardedMemory | None = None

    def views(self) -> Tensors:
        """Return views of the same memory; changing a view's shape in place does not change the original's."""
        b, dy = (None if array is None else array.view() for array in (self.b, self.dy))
        return Tensors(self.x.view(), self.w.view(), b, dy, self.memory)

    def guarded(self, memory: GuardedMemory, *, moved: bool = False) -> Tensors:
        """Return copies in ``memory``, with the same strides and alignment; ``moved`` ones are all there is until they are given back."""
        place = memory.move if moved else memory.copy
        copies = {name: place(name, array) for name, array in self.named().items()}
        return Tensors(copies["x"], copies["w"], copies.get("b"), copies.get("dy"), memory)

    def let_go(self) -> None:
        """Give their memory back to the system, until :func:`redraw` fills them again where they lie."""
        for array in self.named().values():
            let_go(array)

    def named(self) -> dict[str, Array]:
        """Return the tensors that exist, by name."""
        every = {"x": self.x, "w": self.w, "b": self.b, "dy": self.dy}
        return {name: array for name, array in every.items() if array is not None}


def make_tensors(case: Case) -> Tensors:
    """Fill the tensors of ``case``.

    Raises:
        Unsupported: the regime has no values of the dtype.
        InvalidConfig: explicit data do not fit the case.
    """
    config = case.config
    placed = _placed(config)
    large = [name for name in SOME_OF if _is_drawn_in_stretches(case, name, placed[name])]
    made = {name: placed[name].empty(numpy_dtype(config.dtype)) for name in large}
    for name, array in made.items():
        _fill_in_stretches(case, name, array)
    for name, drawn in _draw_others(case, large).items():
        other = _OTHER_DTYPE.get(config.flaw or "") == name
        made[name] = placed[name].place(round_once(drawn, _another(config.dtype) if other else config.dtype))
    if config.flaw in _FLAWED:
        name, change = _FLAWED[config.flaw]
        made[name] = np.array(change(made[name], config), order="C")
    return Tensors(made["x"], made["w"], made.get("b"), made.get("dy"))


def redraw(case: Case, tensors: Tensors) -> None:
    """Fill the tensors of a case once more, where they lie."""
    placed, arrays = _placed(case.config), tensors.named()
    for array in arrays.values():
        array.flags.writeable = True
    if case.config.flaw:
        for name, array in make_tensors(case).named().items():
            arrays[name][...] = array
        return
    large = [name for name in SOME_OF if name in arrays and _is_drawn_in_stretches(case, name, placed[name])]
    for name in large:
        _fill_in_stretches(case, name, arrays[name])
    for name, drawn in _draw_others(case, large).items():
        once = tuple(slice(1) if stride == 0 else slice(None) for stride in arrays[name].strides)
        arrays[name][once] = round_once(drawn[once], case.config.dtype)


@lru_cache(maxsize=16)
def _placed(config: ConvConfig) -> dict[str, Placement]:
    """Return the placement of every operand; several cases of one configuration follow one another."""
    return placements(config)


def draw_values(case: Case) -> dict[str, Array]:
    """Draw the elements of every tensor of ``case`` before they are rounded to its dtype and laid out.

    They are float64; complex128 for a complex dtype and 64-bit integers for an integer one.
    """
    config, recipe = case.config, case.recipe
    if recipe.regime == EXPLICIT:
        return _explicit(case)
    table = WHOLE_VALUES if is_integer(config.dtype) else VALUES
    if recipe.regime not in table:
        raise Unsupported(f"regime {recipe.regime} has no values of dtype {config.dtype}")
    if recipe.regime == "special" and is_complex(config.dtype):
        raise Unsupported(f"regime special of dtype {config.dtype}: where a complex product of Inf is NaN is left to the implementation")
    has_gradients = case.grad and config.is_valid
    drawn_for = config if has_gradients else cast("ConvConfig", _WithoutOutput(config))
    values = table[recipe.regime](drawn_for, recipe.seed)
    if is_complex(config.dtype):
        imaginary = table[recipe.regime](drawn_for, recipe.seed + _IMAGINARY)
        values = {name: real + 1j * imaginary[name] for name, real in values.items()}
    if not has_gradients:
        values.pop("dy")
    if not config.bias:
        values.pop("b")
    return values


def nonzero(array: Array) -> npt.NDArray[np.bool_]:
    """Mark the elements that are not zero; a negative zero counts as an element that is not."""
    there: npt.NDArray[np.bool_] = array != 0
    return there if array.dtype.kind in "iuc" else there | np.signbit(array)


def _explicit(case: Case) -> Values:
    config = case.config
    # The forward pass of a case with gradients has no dy to fill.
    entries = [entry for entry in case.recipe.entries if case.grad or entry.tensor != "dy"]
    check_entries(entries, config, grad=case.grad)
    wide = np.int64 if is_integer(config.dtype) else np.complex128 if is_complex(config.dtype) else np.float64
    values: Values = {name: np.zeros(shape, wide) for name, shape in tensor_shapes(config, grad=case.grad).items()}
    for tensor, index, value in entries:
        values[tensor].reshape(-1)[index] = value
    return values


def _is_drawn_in_stretches(case: Case, name: str, place: Placement) -> bool:
    """Whether an operand is so large that it is not drawn in float64 as a whole."""
    config = case.config
    if math.prod(place.shape) <= _MOST_AT_ONCE or not config.is_valid or config.dtype not in FLOATS or (name == "dy" and not case.grad):
        return False
    return case.recipe.regime in SOME_OF[name] and 0 not in place.strides


def _fill_in_stretches(case: Case, name: str, array: Array) -> None:
    """Fill a large operand a stretch at a time, each of which is drawn, rounded and laid out."""
    config, recipe, first = case.config, case.recipe, 0
    draw = SOME_OF[name][recipe.regime]
    for at in stretches(array.shape, _MOST_AT_ONCE):
        part = array[at]
        part[...] = round_once(draw(config, recipe.seed, first, part.size), config.dtype).reshape(part.shape)
        first += part.size


def _draw_others(case: Case, large: Collection[str]) -> Values:
    """Draw the operands that are not ``large``."""
    config = case.config
    if "x" in large:
        config = cast("ConvConfig", _WithoutInput(config))
    if "dy" in large:
        config = cast("ConvConfig", _WithoutOutput(config))
    return {name: drawn for name, drawn in draw_values(replace(case, config=config)).items() if name not in large}


class _WithoutInput:
    """A configuration whose input has no element, since it is drawn apart."""

    def __init__(self, config: ConvConfig) -> None:
        self._config = config
        self.input_shape = (0,)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._config, name)


class _WithoutOutput:
    """A configuration whose output has no element, so that no time is spent on a gradient that is not wanted."""

    output_shape = (0,)

    def __init__(self, config: ConvConfig) -> None:
        self._config = config

    def __getattr__(self, name: str) -> Any:
        return getattr(self._config, name)


def round_once(values: Array, dtype: str) -> Array:
    """Convert to a dtype of a case, to nearest even; ml_dtypes' own cast from float64 would round twice."""
    if dtype == "bfloat16":
        return _as_bfloat16(values)
    with np.errstate(over="ignore", under="ignore"):
        return values.astype(numpy_dtype(dtype))


def _as_bfloat16(values: Array) -> Array:
    """Round to bfloat16 in compiled code, which leaves NaN and Inf to those that know how they are written."""
    from convfuzz.tensors.loops import round_to_bfloat16  # noqa: PLC0415 - Numba loads with the first tensor

    rounded = np.empty(values.shape, np.uint16)
    if round_to_bfloat16(np.ascontiguousarray(values, np.float64).reshape(-1).view(np.uint64), rounded.reshape(-1)):
        return rounded.view(numpy_dtype("bfloat16"))
    with np.errstate(over="ignore", under="ignore"):
        return FLOATS["bfloat16"].round(values).astype(numpy_dtype("bfloat16"))


def _another(dtype: str) -> str:
    """Return a dtype that an operand may have by mistake: of the same kind if there is another one."""
    return {"float64": "float32", "complex64": "complex128", "complex128": "complex64"}.get(dtype, "float64")


def _one_more(values: Array, axis: int) -> Array:
    """Lengthen an axis by one: repeat its last slice, or add a zero if there is none."""
    more = [(0, int(a == axis)) for a in range(values.ndim)]
    return np.pad(values, more, mode="edge" if values.size else "constant")


_FLAWED: dict[str, tuple[str, Callable[[Array, ConvConfig], Array]]] = {
    "input-channels": ("x", lambda x, config: _one_more(x, x.ndim - config.dims - 1)),
    "input-rank": ("x", lambda x, _: x[None]),
    "input-flat": ("x", lambda x, _: x.reshape(-1)),
    "weight-scalar": ("w", lambda w, _: w.reshape(-1)[0] if w.size else w.reshape(-1)),
    "weight-rank": ("w", lambda w, _: w[..., 0] if w.shape[-1] else w.reshape(w.shape[:-1])),
    "bias-size": ("b", lambda b, _: _one_more(b, 0)),
    "bias-rank": ("b", lambda b, _: b[None]),
}
_OTHER_DTYPE = {"weight-dtype": "w", "bias-dtype": "b"}
