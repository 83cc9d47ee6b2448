"""A domain: the configurations that a kernel computes, as far as its author says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

from convfuzz.case.arguments import several, some_of, whole_number
from convfuzz.case.config import DTYPES, LAYOUTS, OPS, ConvConfig
from convfuzz.case.line import PADDING_MODES, join_axes
from convfuzz.errors import InvalidConfig, closest

Supports = Callable[[ConvConfig], str | bool | None]
PerAxis = int | tuple[int, ...]
Sides = int | tuple[int, int]
Padding = Sides | Literal["same", "valid", "half", "causal"]
GroupKind = int | Literal["none", "depthwise"]

_WORDS: dict[str, tuple[object, ...]] = {
    "ops": OPS, "dims": (1, 2, 3), "dtypes": DTYPES, "layouts": LAYOUTS, "padding_modes": PADDING_MODES, "bias": (False, True),
}  # fmt: skip
"""The options that choose among a fixed list of values."""
_NAMED: dict[str, tuple[str, ...]] = {"groups": ("none", "depthwise"), "paddings": ("same", "valid", "half", "causal")}
_LEAST = {"kernel_sizes": 1, "strides": 1, "dilations": 1, "groups": 1, "batches": 0}
_DECLINED = "declined by the kernel's declaration"


@dataclass(frozen=True, kw_only=True, eq=False)
class Domain:
    """What a kernel computes; ``None`` leaves a parameter open, and ``supports`` narrows what the other options leave.

    Attributes:
        ops, dims, dtypes, layouts, padding_modes, bias: the values that it computes.
        batches: batch sizes; ``None`` among them is an unbatched input.
        channel_multiple: what the numbers of input and of output channels are multiples of.
        groups: ``"none"``, ``"depthwise"`` (as many groups as input channels), or numbers of groups.
        kernel_sizes, strides, dilations: a number stands for all axes, a tuple for as many axes as it has.
        paddings: a number for all sides, ``(lo, hi)`` for all axes, ``"same"`` or ``"valid"`` as the parameter says it, or in
            terms of the dilated kernel's extent e: ``"half"`` is e // 2 on both sides, ``"causal"`` e − 1 on the low side.
        supports: given a configuration, ``True`` or ``None`` to accept, ``False`` or a reason to decline.
        examples: configurations that are accepted, from which a search starts.
        takes_invalid: whether invalid configurations belong to it too, to be rejected.
        most_questions: how many configurations a search asks ``supports`` about at most; ``None`` is as many as it takes.

    Raises:
        InvalidConfig: an option is none of its allowed values.
    """

    ops: tuple[str, ...] | None = None
    dims: tuple[int, ...] | None = None
    dtypes: tuple[str, ...] | None = None
    layouts: tuple[str, ...] | None = None
    batches: tuple[int | None, ...] | None = None
    channel_multiple: int = 1
    groups: tuple[GroupKind, ...] | None = None
    kernel_sizes: tuple[PerAxis, ...] | None = None
    strides: tuple[PerAxis, ...] | None = None
    dilations: tuple[PerAxis, ...] | None = None
    paddings: tuple[Padding, ...] | None = None
    padding_modes: tuple[str, ...] | None = None
    bias: tuple[bool, ...] | None = None
    supports: Supports | None = None
    examples: tuple[ConvConfig, ...] = ()
    takes_invalid: bool = False
    most_questions: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in (*_WORDS, *_NAMED, *_LEAST) and value is not None:
                object.__setattr__(self, field.name, _checked(field.name, value))
        if not _is_number(self.channel_multiple, least=1):
            raise InvalidConfig(f"channel_multiple={self.channel_multiple!r} is not a whole number of at least 1")
        if self.supports is not None and not callable(self.supports):
            raise InvalidConfig(f"supports={self.supports!r} is not a function of the configuration")

    def declines(self, config: ConvConfig) -> str:
        """Say why ``config`` is outside; empty where it is inside. What ``supports`` raises is the caller's to catch.

        Raises:
            InvalidConfig: ``supports`` gives no answer; a number, say, would decline every case in silence.
        """
        if not config.is_valid and not self.takes_invalid:
            return "invalid configuration (rejects_invalid is not declared)"
        reason = self.undeclared(config)
        if reason or self.supports is None:
            return reason
        return answered(self.supports(config))

    def accepts(self, config: ConvConfig) -> bool:
        """Whether ``config`` is inside; where ``supports`` raises, so that it is run, which shows what is wrong with it."""
        try:
            return not self.declines(config)
        except Exception:  # noqa: BLE001 - the author's code
            return True

    def undeclared(self, config: ConvConfig) -> str:
        """Say which option other than ``supports`` excludes ``config``; empty where none does."""
        for values, value, what in (
            (self.ops, config.op, f"operation {config.op}"),
            (self.dtypes, config.dtype, f"dtype {config.dtype}"),
            (self.dims, config.dims, f"{config.dims} spatial dimensions"),
            (self.layouts, config.layout, f"layout {config.layout}"),
            (self.padding_modes, config.padding_mode, f"padding mode {config.padding_mode}"),
            (self.bias, config.bias, "a bias" if config.bias else "no bias"),
            (self.batches, config.batch, "an unbatched input" if config.batch is None else f"batch {config.batch}"),
        ):
            if values is not None and value not in values:
                return what
        if self.layouts is not None and config.weight_layout not in (None, *self.layouts):
            return f"weight layout {config.weight_layout}"
        if config.in_channels % self.channel_multiple or config.out_channels % self.channel_multiple:
            return f"channels that are no multiples of {self.channel_multiple}"
        if self.groups is not None and not any(_is_grouped(config, kind) for kind in self.groups):
            return f"{config.groups} groups of {config.in_channels} channels"
        return self._undeclared_window(config)

    def _undeclared_window(self, config: ConvConfig) -> str:
        for allowed, values, what in (
            (self.kernel_sizes, config.kernel_size, "kernel size"),
            (self.strides, config.stride, "stride"),
            (self.dilations, config.dilation, "dilation"),
        ):
            if allowed is not None and values not in [on_axes(one, config.dims) for one in allowed]:
                return f"{what} {join_axes(values)}"
        if self.paddings is not None and config.padding not in [padding_of(one, config) for one in self.paddings]:
            return f"padding {config.padding if isinstance(config.padding, str) else join_axes(config.padding)}"
        return ""


def on_axes(value: PerAxis, dims: int) -> tuple[int, ...]:
    """Return a declared value as a configuration has it; a tuple is for as many axes as it has only."""
    return (value,) * dims if isinstance(value, int) else value


def padding_of(declared: Padding, config: ConvConfig) -> tuple[tuple[int, int], ...] | Literal["same", "valid"]:
    """Return a declared padding as ``config``, with its kernel and dilation, has it."""
    if declared == "half":
        return tuple((extent // 2, extent // 2) for extent in config.effective_kernel)
    if declared == "causal":
        return tuple((extent - 1, 0) for extent in config.effective_kernel)
    if declared in ("same", "valid"):
        return declared
    sides = (declared, declared) if isinstance(declared, int) else declared
    return (sides,) * config.dims  # type: ignore[return-value]


def _is_grouped(config: ConvConfig, kind: GroupKind) -> bool:
    if kind == "depthwise":
        return config.groups == config.in_channels
    return config.groups == (1 if kind == "none" else kind)


def answered(answer: object) -> str:
    """Return the answer of ``supports`` as a reason to decline; empty where it accepts.

    Raises:
        InvalidConfig: it is no answer.
    """
    if "bool" in type(answer).__name__:  # NumPy's too
        return "" if answer else _DECLINED
    if answer is not None and not isinstance(answer, str):
        raise InvalidConfig(f"supports returned {answer!r}: expected True or None to accept, False or a reason to decline")
    return "" if answer is None else answer or _DECLINED


def _checked(name: str, values: object) -> tuple[Any, ...]:
    """Return an option's values as a tuple of plain ones.

    Raises:
        InvalidConfig: they are no collection, there are none, or one is not allowed.
    """
    if name in _WORDS:
        return some_of(name, values, _WORDS[name])
    named = _NAMED.get(name, ())
    expected = ", ".join(map(repr, named)) + f"{' or ' if named else ''}whole numbers"
    given = several(values)
    if given is None:
        raise InvalidConfig(f"{name}={values!r} is not a tuple of {expected}")
    if not given:
        raise InvalidConfig(f"{name}={values!r} is empty: expected some of {expected}")
    plain = tuple(_plain(value) for value in given)
    for value in plain:
        if value not in named and not _is_size(name, value):
            raise InvalidConfig(f"{name}={values!r}: {value!r} is not one of {expected}{closest(value, named)}")
    return plain


def _plain(value: object) -> Any:
    """Return numbers of any library, and several of them, as plain ones."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    number = whole_number(value)
    return value if number is None else number


def _is_size(name: str, value: object) -> bool:
    if name == "paddings":
        sides = value if isinstance(value, tuple) and len(value) == 2 else (value,)
        return all(_is_number(side) for side in sides)
    if name == "batches" and value is None:
        return True
    least = _LEAST[name]
    if name in ("kernel_sizes", "strides", "dilations") and isinstance(value, tuple):
        return 1 <= len(value) <= 3 and all(_is_number(one, least=least) for one in value)
    return _is_number(value, least=least)


def _is_number(value: object, least: int | None = None) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and (least is None or value >= least)
