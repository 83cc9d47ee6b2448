"""A layer as somebody else's arrays describe it: its configuration, and its tensors with their axes in our order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from convfuzz.backends.arrays import NotAnArrayError, to_numpy
from convfuzz.case.arguments import one_of, whole_number
from convfuzz.case.config import DTYPES, ConvConfig
from convfuzz.case.dtypes import dtype_name
from convfuzz.errors import InvalidConfig
from convfuzz.tensors.generator import Tensors
from convfuzz.testing.operand_hints import other_axes, other_dtype, widened

Array = npt.NDArray[Any]
Sizes = tuple[int, ...]
T = TypeVar("T")

DATA_FORMATS = ("channels_first", "channels_last")

_DATA, _WEIGHT, _VECTOR = "data", "weight", "vector"
_KINDS = {
    "x": _DATA, "dy": _DATA, "forward": _DATA, "grad_input": _DATA,
    "w": _WEIGHT, "grad_weight": _WEIGHT,
    "b": _VECTOR, "grad_bias": _VECTOR,
}  # fmt: skip
"""What the axes of an operand or of a pass's result are."""


def as_array(name: str, value: object) -> Array:
    """Return ``value``, which the caller knows as ``name``, as a NumPy array.

    Raises:
        TypeError: it is nothing array-like, or some of its values are hidden.
    """
    try:
        array = to_numpy(value)
    except NotAnArrayError as error:
        what = (
            "None"
            if value is None
            else error.what.removesuffix(", not of numbers")
            if " of " in error.what
            else f"of type {type(value).__name__}"
        )
        if value is not None and error.remedy:
            raise TypeError(f"{name} is {error.what}: {error.remedy}") from None
        raise TypeError(f"{name} is {what}, not an array of numbers") from None
    if array.dtype.kind in "SUMm" or array.dtype.names:
        raise TypeError(f"{name} is an array of dtype {array.dtype}, not of numbers")
    hidden = int(np.count_nonzero(np.ma.getmaskarray(value))) if isinstance(value, np.ma.MaskedArray) else 0
    if hidden:
        raise TypeError(f"{name} is an array of which {hidden} elements are masked: say what they are, as {name}.filled(0) does")
    return array


@dataclass(frozen=True, eq=False)
class ForeignLayer:
    """One layer, with the order of axes in which its owner has them."""

    config: ConvConfig
    tensors: Tensors
    channels_last: bool

    @classmethod
    def of(cls, operands: Mapping[str, object], *, data_format: str, **parameters: Any) -> Self:
        """Describe the layer of the ``operands`` x, w and perhaps b and dy; ``parameters`` are those of :class:`ConvConfig`.

        Raises:
            InvalidConfig: it is no convolution, or an operand's shape or dtype is not the layer's.
            TypeError: an operand is no array.
        """
        one_of("data_format", data_format, DATA_FORMATS)
        given = {name: as_array(name, value) for name, value in operands.items()}
        last = data_format == "channels_last"
        dims = _dims(given["x"].shape, given["w"].shape, last=last)
        arrays = {name: _channels_first(array, _KINDS[name], dims) if last else array for name, array in given.items()}
        layer = cls(_config(arrays, dims, parameters), Tensors(arrays["x"], arrays["w"], arrays.get("b"), arrays.get("dy")), last)
        layer._require_agreement(given)
        return layer

    def ours(self, name: str, array: Array) -> Array:
        """Return a result of the pass ``name`` with its axes in our order, and as it is where it has not that many."""
        kind, dims = _KINDS[name], self.config.dims
        ndim = {_DATA: len(self.config.input_shape), _WEIGHT: dims + 2, _VECTOR: 1}[kind]
        return _channels_first(array, kind, dims) if self.channels_last and array.ndim == ndim else array

    def theirs(self, name: str, places: tuple[T, ...]) -> tuple[T, ...]:
        """Return what there is for each axis of an operand or a pass's result, a shape or an index, in the owner's order."""
        if not self.channels_last or _KINDS[name] == _VECTOR:
            return places
        dims = self.config.dims
        if _KINDS[name] == _WEIGHT:
            return (*places[2:], places[1], places[0])
        return (*places[: -dims - 1], *places[-dims:], places[-dims - 1])

    def _require_agreement(self, given: Mapping[str, Array]) -> None:
        config = self.config
        for name, array in given.items():
            if dtype_name(array.dtype) != config.dtype:
                hint = other_dtype(name, array.dtype, given)
                raise InvalidConfig(
                    f"{name} is {dtype_name(array.dtype)} and x is {config.dtype}: an operand has the dtype of x{hint and f'; {hint}'}"
                )
        hint = "" if given["w"].shape == self.theirs("w", config.weight_shape) else other_axes(given, config, last=self.channels_last)
        if config.invalid_reason:
            raise InvalidConfig(f"{config.invalid_reason}{hint and f'; {hint}'}")
        axes = "out, in / groups" if config.op == "conv" else "in, out / groups"
        weight = f"(*kernel, {', '.join(reversed(axes.split(', ')))})" if self.channels_last else f"({axes}, *kernel)"
        for name, shape, rule in (
            ("w", config.weight_shape, f"{weight} for the {config.in_channels} channels of x and groups={config.groups}"),
            ("b", (config.out_channels,), "one number for each output channel"),
            ("dy", config.output_shape, "as the output has"),
        ):
            expected = self.theirs(name, shape)
            if name in given and given[name].shape != expected:
                hint = hint if name == "w" else ""
                raise InvalidConfig(f"{name} has shape {given[name].shape}, expected {expected}: {rule}{hint and f'; {hint}'}")


def _dims(x: Sizes, w: Sizes, *, last: bool) -> int:
    dims = len(w) - 2
    if dims not in (1, 2, 3):
        raise InvalidConfig(f"w has shape {w}: a weight has one, two or three spatial axes and two of channels")
    if len(x) - dims not in (1, 2):
        axes = "*spatial, C" if last else "C, *spatial"
        raise InvalidConfig(f"x has shape {x}, and w of shape {w} makes the layer {dims}-D: expected (N, {axes}) or unbatched ({axes})")
    return dims


def _config(arrays: Mapping[str, Array], dims: int, parameters: dict[str, Any]) -> ConvConfig:
    *batch, channels = arrays["x"].shape[:-dims]
    rows, columns, *kernel = arrays["w"].shape
    dtype, groups = dtype_name(arrays["x"].dtype), parameters["groups"]
    if dtype not in DTYPES:
        hint = widened(arrays["x"].dtype)
        raise InvalidConfig(f"x is {dtype}: expected one of {', '.join(DTYPES)}{hint and f'; {hint}'}")
    return ConvConfig(
        dims=dims,
        batch=batch[0] if batch else None,
        in_channels=channels,
        out_channels=rows if parameters["op"] == "conv" else columns * (whole_number(groups) or 1),
        input_size=arrays["x"].shape[-dims:],
        kernel_size=tuple(kernel),
        dtype=dtype,
        **parameters,
    )


def _channels_first(array: Array, kind: str, dims: int) -> Array:
    if kind == _WEIGHT:
        return np.moveaxis(array, (-1, -2), (0, 1))
    return np.moveaxis(array, -1, -1 - dims) if kind == _DATA and array.ndim > dims else array
