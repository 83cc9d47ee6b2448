"""The one-line text form of a configuration, as plain fields: ``conv2d_n2_c8_o16_i17x19_k3_f32``.

The line is an identity: it is printed in reports, taken by the command line and pasted into issues, so it is safe in
a shell without quoting and printing what was parsed gives the canonical line back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from convfuzz.errors import CaseSyntaxError, closest

DTYPE_TOKENS = {
    "f64": "float64",
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "c64": "complex64",
    "c128": "complex128",
    "i8": "int8",
    "i32": "int32",
    "i64": "int64",
}
LAYOUT_TOKENS = {
    "cl": "channels_last",
    "nc": "non_contiguous",
    "tr": "transposed",
    "ex": "expanded",
    "of": "offset",
    "ls": "loose_strides",
}
WEIGHT_LAYOUT_TOKENS = {"wco": "contiguous"} | {f"w{token}": name for token, name in LAYOUT_TOKENS.items()}
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
PADDING_MODE_PREFIX, FLAW_PREFIX = "pm", "bad-"
FLAWS = {
    "input-channels": "the input has one channel more than the weight takes",
    "input-rank": "the input has one leading axis too many",
    "input-flat": "the input has one axis only",
    "weight-rank": "the weight lacks its last axis",
    "weight-scalar": "the weight is a single number",
    "weight-dtype": "the weight has another dtype than the input",
    "bias-dtype": "the bias has another dtype than the input",
    "bias-size": "the bias has one element too many",
    "bias-rank": "the bias has two axes",
    "stride-length": "stride has one value too many",
    "padding-length": "padding has one value too many",
    "dilation-length": "dilation has one value too many",
    "output-length": "output_padding, or the size of the output that a framework takes instead, has a wrong number of values",
}
"""What can be wrong with a call beside the numbers of a configuration: its operands, or the lengths of its arguments."""

_WORDS: dict[str, tuple[str, Any]] = (
    {token: ("dtype", name) for token, name in DTYPE_TOKENS.items()}
    | {token: ("layout", name) for token, name in LAYOUT_TOKENS.items()}
    | {token: ("weight_layout", name) for token, name in WEIGHT_LAYOUT_TOKENS.items()}
    | {f"{PADDING_MODE_PREFIX}{mode}": ("padding_mode", mode) for mode in PADDING_MODES}
    | {f"{FLAW_PREFIX}{flaw}": ("flaw", flaw) for flaw in FLAWS}
    | {"b": ("bias", True), "grad": ("grad", True), "n-": ("batch", None), "psame": ("padding", "same"), "pvalid": ("padding", "valid")}
)
"""The tokens that stand for one value of one field."""
_TOKENS = {word: token for token, word in _WORDS.items() if token != f"{PADDING_MODE_PREFIX}zeros"}

_HEAD = re.compile(r"(convt?)([123])d")
_INT = re.compile(r"-?\d{1,64}", re.ASCII)
_LONGEST = 200
_EXPECTED = (
    "n<batch> or n-, c<in>, o<out>, g<groups>, i<size>, k<size>, s<stride>, p<padding>, psame, pvalid, d<dilation>, "
    "op<output padding>, pm<reflect|replicate|circular>, b, "
    f"a dtype ({' '.join(DTYPE_TOKENS)}), a layout ({' '.join(LAYOUT_TOKENS)}), the weight's own layout "
    f"({' '.join(WEIGHT_LAYOUT_TOKENS)}), bad-<flaw> or grad"
)


def parse_fields(line: str) -> tuple[dict[str, Any], bool]:
    """Parse the part of a case before ``@`` into the fields of a configuration, and whether ``grad`` was given.

    Raises:
        CaseSyntaxError: a token is unknown, repeated, malformed or missing.
    """
    head, *tokens = line.split("_")
    match = _HEAD.fullmatch(head)
    if match is None:
        raise CaseSyntaxError(
            f"token {shown(head)} of case {shown(line)}: expected conv1d, conv2d, conv3d or convt1d, convt2d, convt3d first"
        )
    dims = int(match[2])
    fields: dict[str, Any] = {"op": "conv" if match[1] == "conv" else "conv_transpose", "dims": dims}
    grad = False
    for token in tokens:
        name, value = _parse_token(token, dims, fields, line)
        if name == "grad":
            if grad:
                raise CaseSyntaxError(f"token {shown(token)} of case {shown(line)}: given twice")
            grad = True
            continue
        if name in fields:
            raise CaseSyntaxError(f"token {shown(token)} of case {shown(line)}: {name} is given twice")
        fields[name] = value
    for name, example in (("in_channels", "c8"), ("out_channels", "o16"), ("input_size", "i32"), ("kernel_size", "k3")):
        if name not in fields:
            raise CaseSyntaxError(f"case {shown(line)} has no {name}: expected a token such as {example}")
    return fields, grad


def shown(text: str) -> str:
    """Return what a message shows of a text from outside: as it is, or its beginning and how long it is."""
    return repr(text) if len(text) <= _LONGEST else f"{text[: _LONGEST - 40]!r}… ({len(text):,} characters)"


def format_fields(fields: Mapping[str, Any], *, grad: bool = False) -> str:
    """Print the fields of a configuration as its canonical line; defaults are left out."""
    f = fields
    tokens = [f"{'conv' if f['op'] == 'conv' else 'convt'}{f['dims']}d"]
    if f["batch"] != 1:
        tokens.append("n-" if f["batch"] is None else f"n{f['batch']}")
    tokens += [f"c{f['in_channels']}", f"o{f['out_channels']}"]
    if f["groups"] != 1:
        tokens.append(f"g{f['groups']}")
    tokens += ["i" + join_axes(f["input_size"]), "k" + join_axes(f["kernel_size"])]
    for letter, name, default in (("s", "stride", 1), ("p", "padding", (0, 0)), ("d", "dilation", 1), ("op", "output_padding", 0)):
        value = f[name]
        if isinstance(value, str):
            tokens.append(f"p{value}")
        elif any(v != default for v in value):
            tokens.append(letter + join_axes(value))
    words = {name: f[name] for name in ("padding_mode", "bias", "dtype", "layout", "weight_layout", "flaw")} | {"grad": grad}
    tokens += [_TOKENS[word] for word in words.items() if word in _TOKENS]
    return "_".join(tokens)


def _parse_token(token: str, dims: int, seen: Mapping[str, Any], line: str) -> tuple[str, Any]:
    # c64, i8, i32 and i64 are dtypes only once the channels and the input size, which come first, have been read.
    field = {"c": "in_channels", "i": "input_size"}.get(token[:1])
    number = token in DTYPE_TOKENS and field is not None and field not in seen
    if token in _WORDS and not number:
        return _WORDS[token]
    for prefix, expected in ((PADDING_MODE_PREFIX, PADDING_MODES), (FLAW_PREFIX, FLAWS)):
        if token.startswith(prefix):
            raise CaseSyntaxError(f"token {shown(token)} of case {shown(line)}: expected {prefix} followed by one of {', '.join(expected)}")
    try:
        parsed = _parse_value(token, dims)
    except ValueError as error:
        raise CaseSyntaxError(f"token {shown(token)} of case {shown(line)}: {error}") from None
    if parsed is None:
        raise CaseSyntaxError(f"token {shown(token)} of case {shown(line)} is unknown{closest(token, _WORDS)}: expected {_EXPECTED}")
    return parsed


@lru_cache(maxsize=4096)
def _parse_value(token: str, dims: int) -> tuple[str, Any] | None:
    """Read a token with a value, ``None`` where no parameter begins like that; a journal has few tokens, many times each.

    Raises:
        ValueError: the value is none that the parameter can have.
    """
    for prefix, name, parse in _VALUES:
        if token.startswith(prefix):
            return name, parse(token[len(prefix) :], dims)
    return None


def _one(text: str, dims: int) -> int:
    del dims
    if not _INT.fullmatch(text):
        raise ValueError("expected one whole number" + "; lo:hi is for padding alone" * (":" in text))
    return int(text)


def _per_axis(text: str, dims: int) -> tuple[int, ...]:
    return tuple(_one(part, dims) for part in _axes(text, dims, "whole numbers joined by 'x', such as 3x5"))


def _sides(text: str, dims: int) -> tuple[tuple[int, int], ...]:
    pads = []
    for part in _axes(text, dims, "whole numbers or lo:hi pairs joined by 'x', such as 1:2x0:0"):
        lo, colon, hi = part.partition(":")
        sides = (lo, hi if colon else lo)
        if not all(map(_INT.fullmatch, sides)):
            raise ValueError("expected one whole number for both sides or two as lo:hi, such as 1 or 1:2; or psame, or pvalid")
        pads.append((int(sides[0]), int(sides[1])))
    return tuple(pads)


def _axes(text: str, dims: int, expected: str) -> list[str]:
    parts = text.split("x")
    if len(parts) not in (1, dims):
        raise ValueError(f"{len(parts)} values for {dims} spatial dimension{'s'[: dims > 1]}; expected {expected}")
    return parts * dims if len(parts) == 1 else parts


_VALUES: tuple[tuple[str, str, Callable[[str, int], Any]], ...] = (
    ("op", "output_padding", _per_axis),
    ("n", "batch", _one),
    ("c", "in_channels", _one),
    ("o", "out_channels", _one),
    ("g", "groups", _one),
    ("i", "input_size", _per_axis),
    ("k", "kernel_size", _per_axis),
    ("s", "stride", _per_axis),
    ("p", "padding", _sides),
    ("d", "dilation", _per_axis),
)


def join_axes(values: tuple[Any, ...]) -> str:
    """Print one value per axis as a line has them: ``2x1``, ``1:2x0``, or a single one where all are equal."""
    texts = [str(v) if isinstance(v, int) else str(v[0]) if v[0] == v[1] else f"{v[0]}:{v[1]}" for v in values]
    return texts[0] if len(set(texts)) == 1 else "x".join(texts)
