"""A condition on the numbers of a configuration, such as ``output_size[-1] == 1``: where a feature would say more than is meant."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Self

from convfuzz.case.config import ConvConfig
from convfuzz.errors import InvalidConfig, closest

_PER_AXIS = ("input_size", "kernel_size", "stride", "dilation", "output_padding", "output_size", "effective_kernel", "pads")
_NUMBERS = ("batch", "in_channels", "out_channels", "groups")
_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_FACTOR = re.compile(r"([a-z_]+)(?:\[(any|-?\d)\])?")
_FORM = re.compile(r"(?P<product>[^ ]+) (?P<comparison>==|!=|<=|>=|<|>) (?P<number>-?\d{1,20})")


@dataclass(frozen=True)
class Condition:
    """A product of numbers of a configuration, compared with a number.

    ``in_channels == 1`` is about a number, ``stride[-1] > 1`` about one axis, ``pads[any] > 0`` about some axis (of ``pads``, some side),
    and in ``batch*output_size*kernel_size >= 1000000`` each factor stands for all its axes, multiplied. An input without a batch axis
    counts as one sample; an axis that a configuration has not meets no condition.
    """

    text: str
    factors: tuple[tuple[str, str], ...]
    compare: Callable[[int, int], bool]
    number: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a condition.

        Raises:
            InvalidConfig: it has another form, or names nothing that a configuration has.
        """
        form = _FORM.fullmatch(text)
        parts = [_FACTOR.fullmatch(factor) for factor in form["product"].split("*")] if form else []
        if form is None or None in parts:
            raise InvalidConfig(f"condition {text!r} is not like 'output_size[-1] == 1', 'pads[any] > 0' or 'batch*kernel_size >= 4096'")
        factors = tuple((part[1], part[2] or "") for part in parts if part)
        for name, index in factors:
            allowed = _PER_AXIS if index else (*_NUMBERS, *_PER_AXIS)
            if name not in allowed:
                raise InvalidConfig(f"condition {text!r}: {name!r} is none of {', '.join(allowed)}{closest(name, allowed)}")
            if (index == "any" and len(factors) > 1) or (name == "pads" and index != "any"):
                raise InvalidConfig(f"condition {text!r}: {name}[any] stands alone, and pads have no other form")
        return cls(text, factors, _COMPARISONS[form["comparison"]], int(form["number"]))

    def is_met_by(self, config: ConvConfig) -> bool:
        """Whether ``config`` meets it."""
        name, index = self.factors[0]
        if index == "any":
            return any(self.compare(value, self.number) for value in _flat(getattr(config, name)))
        values = [_value(config, name, index) for name, index in self.factors]
        return None not in values and self.compare(prod(value for value in values if value is not None), self.number)


def _value(config: ConvConfig, name: str, index: str) -> int | None:
    value = getattr(config, name)
    if not isinstance(value, tuple):
        return 1 if value is None else int(value)
    if not index:
        return prod(value)
    return value[int(index)] if -len(value) <= int(index) < len(value) else None


def _flat(values: Iterable[int | tuple[int, int]]) -> Iterable[int]:
    for value in values:
        yield from value if isinstance(value, tuple) else (value,)
