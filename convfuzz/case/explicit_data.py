"""Explicit data: the elements of a case's tensors that are not zero, one token each, such as ``x12=1``.

A tensor's elements count in C order from 0, whatever its layout in memory. Numbers are decimal, and each is rounded once
to the case's dtype; a float prints as the shortest number that reads back as the same float64.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from convfuzz.case.arguments import whole_number
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import FLOATS, INTEGER_BITS, FloatFormat, component_format, is_complex, is_integer
from convfuzz.case.line import shown
from convfuzz.errors import CaseSyntaxError, InvalidConfig

TENSORS = ("x", "w", "b", "dy")
"""Input, weight, bias, and the gradient of the output."""
ZEROS = "zeros"
"""What is written where no element is named."""
MOST_ENTRIES = 4096

Number = int | float | complex

_REAL = r"[+-]?(?:\d{1,40}(?:\.\d{0,40})?(?:e[+-]?\d{1,3})?|inf|nan)"
_ENTRY = re.compile(rf"(x|w|b|dy)(\d{{1,19}})=({_REAL})(?:((?=[+-]){_REAL})j)?", re.ASCII)
_DOUBLE = FLOATS["float64"]
_BEYOND = f"no dtype goes beyond {_DOUBLE.max:.6g}; infinity is written inf"
_EXPECTED = "a tensor (x, w, b or dy), a flat index, '=' and a number, such as x12=1, w3=-0.5, b0=nan or dy5=1+2j"


class Entry(NamedTuple):
    """One element: its tensor's name, its flat index, and its value."""

    tensor: str
    position: int
    value: Number

    def __str__(self) -> str:
        return f"{self.tensor}{self.position}={self.number}"

    @property
    def number(self) -> str:
        """The value as it is written."""
        if not isinstance(self.value, complex):
            return _written(self.value)
        imaginary = _written(self.value.imag)
        return f"{_written(self.value.real)}{'' if imaginary[0] == '-' else '+'}{imaginary}j"

    @property
    def parts(self) -> tuple[int | float, ...]:
        """The value, or its real and imaginary part."""
        return (self.value.real, self.value.imag) if isinstance(self.value, complex) else (self.value,)


def _written(number: float) -> str:
    if isinstance(number, float) and number.is_integer() and 0 < abs(number) < 2.0**53:
        return str(int(number))
    return "0" if _is_zero(number) else str(number).replace("e+", "e")


def canonical(entries: Iterable[tuple[str, int, Number]]) -> tuple[Entry, ...]:
    """Return entries in order and in the one form that equal ones have; zeros, of which a negative zero is none, are left out.

    Raises:
        InvalidConfig: a tensor is unknown, an index or a value is no number, an element is given twice, or there are more
            than :data:`MOST_ENTRIES`.
    """
    found: dict[tuple[int, int], Entry] = {}
    for tensor, index, value in entries:
        if tensor not in TENSORS:
            raise InvalidConfig(f"{tensor!r} is not one of the tensors {', '.join(TENSORS)}")
        position = whole_number(index)
        if position is None or position < 0:
            raise InvalidConfig(f"index {index!r} of {tensor} is not a whole number from 0 on")
        entry = Entry(tensor, position, _plain(_as_number(f"{tensor}{position}", value)))
        place = (TENSORS.index(tensor), position)
        if place in found:
            raise InvalidConfig(f"{entry}: {tensor}{position} is given twice")
        found[place] = entry
    if len(found) > MOST_ENTRIES:
        raise InvalidConfig(f"{len(found)} elements are given; a case names {MOST_ENTRIES} at most")
    return tuple(found[place] for place in sorted(found) if not _is_zero(found[place].value))


def _as_number(place: str, value: Any) -> Number:
    """Return a value of any library as Python's number.

    Raises:
        InvalidConfig: it is none, or a whole number beyond every dtype.
    """
    number = whole_number(value)
    if number is None and not isinstance(value, float | complex) and getattr(value, "shape", None) == ():
        value = value.item()  # a NumPy scalar, or an array or tensor without axes
    if number is None and (isinstance(value, bool) or not isinstance(value, float | complex)):
        raise InvalidConfig(f"value {value!r} of {place} is not a number")
    if number is not None and abs(number) > _DOUBLE.max:
        raise InvalidConfig(f"value {shown(str(number))} of {place}: {_BEYOND}")
    return number if number is not None else complex(value) if isinstance(value, complex) else float(value)


def _plain(value: Number) -> Number:
    """Return the one form that equal values have: a whole number as ``int`` below 2^53, one NaN, complex only where it has to be."""
    if isinstance(value, complex):
        return complex(value.real + 0.0, value.imag + 0.0) if value.imag else _plain(value.real + 0.0)
    if isinstance(value, int):
        return float(value) if 2**53 <= abs(value) < 2**1023 and int(float(value)) == value else value
    if math.isnan(value):
        return math.nan
    return int(value) if value.is_integer() and abs(value) < 2.0**53 and not _is_negative_zero(value) else value


def _is_zero(value: Number) -> bool:
    return value == 0 and not _is_negative_zero(value)


def _is_negative_zero(value: Number) -> bool:
    return isinstance(value, float) and value == 0.0 and math.copysign(1.0, value) < 0


def parse_entries(text: str) -> tuple[Entry, ...]:
    """Read what :data:`ZEROS` or tokens joined by ``_`` name.

    Raises:
        CaseSyntaxError: a token has another form or is given twice, or there are too many.
    """
    if text == ZEROS:
        return ()
    if text.count("_") >= MOST_ENTRIES:
        raise CaseSyntaxError(f"data recipe names {text.count('_') + 1} elements; a case names {MOST_ENTRIES} at most")
    try:
        return canonical(map(_parse_entry, text.split("_")))
    except CaseSyntaxError:
        raise
    except InvalidConfig as error:
        raise CaseSyntaxError(f"data recipe {shown(text)}: {error}") from None


def format_entries(entries: Iterable[Entry]) -> str:
    """Print entries as they are parsed."""
    return "_".join(map(str, entries)) or ZEROS


def _parse_entry(token: str) -> Entry:
    match = _ENTRY.fullmatch(token)
    if match is None:
        raise CaseSyntaxError(f"token {shown(token)} of the data: expected {_EXPECTED}")
    tensor, index, real, imaginary = match.groups()
    try:
        value = _number(real)
        return Entry(tensor, int(index), value if imaginary is None else complex(value, _number(imaginary)))
    except InvalidConfig as error:
        raise CaseSyntaxError(f"token {shown(token)} of the data: {error}") from None


def _number(text: str) -> int | float:
    """Return the number that a text is: the nearest float64, or every digit of a whole one that is written with more.

    Raises:
        InvalidConfig: the nearest float64 is infinite or zero, and the text is not.
    """
    number = float(text)
    if text.lstrip("+-") in ("inf", "nan"):
        return number
    exact = Decimal(text)
    if math.isinf(number):
        raise InvalidConfig(f"{text}: {_BEYOND}")
    if number == 0.0 and exact:
        raise InvalidConfig(f"{text}: every dtype rounds it to 0; the smallest number of any is {_DOUBLE.smallest_subnormal:.6g}")
    if not number or exact != exact.to_integral_value():
        return number
    is_float = not text.lstrip("+-").isdigit() and exact in (Decimal(number), Decimal(repr(number)))
    return number if is_float else int(exact)


# -- of a configuration -----------------------------------------------------------------------------------------------


def tensor_shapes(config: ConvConfig, *, grad: bool) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor that a case has."""
    shapes = {"x": config.input_shape, "w": config.weight_shape}
    if config.bias:
        shapes["b"] = (config.out_channels,)
    if grad and config.is_valid:
        shapes["dy"] = config.output_shape
    return {name: tuple(max(size, 0) for size in shape) for name, shape in shapes.items()}


def check_entries(entries: Iterable[Entry], config: ConvConfig, *, grad: bool) -> None:
    """Hold entries against the tensors of a case.

    Raises:
        InvalidConfig: a tensor does not exist, an index is beyond its end, or the dtype does not hold a value.
    """
    shapes = tensor_shapes(config, grad=grad)
    for entry in entries:
        tensor, index, _ = entry
        if tensor not in shapes:
            missing = "there is no bias" if tensor == "b" else "dy, the gradient of the output, belongs to a valid case with 'grad'"
            raise InvalidConfig(f"{entry}: {missing}")
        if index >= math.prod(shapes[tensor]):
            raise InvalidConfig(f"{entry}: {tensor} has {math.prod(shapes[tensor])} elements, of shape {shapes[tensor]}")
        reason = _misfit(entry, config.dtype)
        if reason:
            raise InvalidConfig(f"{entry}: {reason}")


def _misfit(entry: Entry, dtype: str) -> str:
    """Say why a dtype does not hold a value; empty where it does."""
    value = entry.value
    if is_integer(dtype):
        limit = 2 ** (INTEGER_BITS[dtype] - 1)
        if not isinstance(value, int) and not (isinstance(value, float) and value.is_integer()):
            return f"{dtype} holds whole numbers only"
        return "" if -limit <= value < limit else f"{dtype} holds {-limit} … {limit - 1}"
    if isinstance(value, complex) and not is_complex(dtype):
        return f"{dtype} is not complex"
    form = component_format(dtype)
    for part in entry.parts:
        if not math.isfinite(part):
            if is_complex(dtype):
                return f"where a complex product of Inf is NaN is left to the implementation, so {dtype} data are finite"
        elif _rounds_beyond(part, form):
            return f"{dtype} ends at {form.max:g}; infinity is written inf"
        elif 0 < abs(part) <= form.smallest_subnormal / 2:
            return f"{dtype} rounds it to 0; its smallest number is {form.smallest_subnormal:g}"
    return ""


def _rounds_beyond(value: float, form: FloatFormat) -> bool:
    """Whether the nearest number of a format is infinite: from half a unit in the last place beyond the largest on."""
    end = form.max + 2.0 ** (form.emax - form.precision)
    return abs(value) >= end if math.isfinite(end) else abs(value) > form.max


def assignments(entries: Iterable[Entry], config: ConvConfig, *, grad: bool) -> list[str]:
    """Return entries with their coordinates, such as ``x[0, 0, 2, 3] = 1``."""
    shapes = tensor_shapes(config, grad=grad)
    return [f"{e.tensor}[{', '.join(map(str, _coordinates(e.position, shapes[e.tensor])))}] = {e.number}" for e in entries]


def refit(entries: Iterable[Entry], old: ConvConfig, new: ConvConfig, *, grad: bool) -> Iterator[Entry]:
    """Yield the entries of a case with ``old`` where they come to lie in one with ``new`` and with or without ``grad``.

    Each keeps its coordinates, as far as the new shape reaches; what collides, has no place or is nothing that the dtype
    holds is left out.
    """
    before, after = tensor_shapes(old, grad=True), tensor_shapes(new, grad=grad)
    taken = set()
    for entry in entries:
        tensor, position, value = entry
        shape = after.get(tensor, (0,))
        if not all(shape) or _misfit(entry, new.dtype):
            continue
        dims = (0, 0) if tensor == "b" else (old.dims, new.dims)
        place = _flat(_moved(_coordinates(position, before[tensor]), len(shape), *dims), shape)
        if (tensor, place) not in taken:
            taken.add((tensor, place))
            yield Entry(tensor, place, value)


def _coordinates(index: int, shape: tuple[int, ...]) -> list[int]:
    coordinates = []
    for size in reversed(shape):
        index, coordinate = divmod(index, size)
        coordinates.append(coordinate)
    return coordinates[::-1]


def _moved(coordinates: list[int], rank: int, dims: int, new_dims: int) -> list[int]:
    leading, spatial = coordinates[: len(coordinates) - dims], coordinates[len(coordinates) - dims :]
    missing = [0] * rank  # more than enough of them
    return (missing + leading)[len(leading) + new_dims :] + (spatial + missing)[:new_dims]


def _flat(coordinates: list[int], shape: tuple[int, ...]) -> int:
    flat = 0
    for coordinate, size in zip(coordinates, shape, strict=True):
        flat = flat * size + min(coordinate, size - 1)
    return flat
