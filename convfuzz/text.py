"""The one-line text form of a configuration, as plain fields: ``conv2d_n2_c8_o16_i17x19_k3_f32``.

The line is an identity: it is printed in reports, taken by the command line and pasted into issues, so it is safe in
a shell without quoting and printing what was parsed gives the canonical line back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from convfuzz.errors import CaseSyntaxError

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
LAYOUT_TOKENS = {"cl": "channels_last", "nc": "non_contiguous"}
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
_DTYPE_NAMES = {name: token for token, name in DTYPE_TOKENS.items()}
_LAYOUT_NAMES = {name: token for token, name in LAYOUT_TOKENS.items()}

_HEAD = re.compile(r"(convt?)([123])d")
_INT = r"-?\d{1,64}"
_EXPECTED = (
    "n<batch> or n-, c<in>, o<out>, g<groups>, i<size>, k<size>, s<stride>, p<padding>, psame, pvalid, d<dilation>, "
    "op<output padding>, pm<reflect|replicate|circular>, b, "
    f"a dtype ({' '.join(DTYPE_TOKENS)}), cl, nc or grad"
)


def parse_fields(line: str) -> tuple[dict[str, Any], bool]:
    """Parse the part of a case before ``@`` into the fields of a configuration, and whether ``grad`` was given.

    Raises:
        CaseSyntaxError: a token is unknown, repeated, malformed or missing.
    """
    head, *tokens = line.split("_")
    match = _HEAD.fullmatch(head)
    if match is None:
        raise CaseSyntaxError(f"token {head!r} of case {line!r}: expected conv1d, conv2d, conv3d or convt1d, convt2d, convt3d first")
    dims = int(match[2])
    fields: dict[str, Any] = {"op": "conv" if match[1] == "conv" else "conv_transpose", "dims": dims}
    grad = False
    for token in tokens:
        name, value = _parse_token(token, dims, fields, line)
        if name == "grad":
            if grad:
                raise CaseSyntaxError(f"token {token!r} of case {line!r}: given twice")
            grad = True
            continue
        if name in fields:
            raise CaseSyntaxError(f"token {token!r} of case {line!r}: {name} is given twice")
        fields[name] = value
    for name, example in (("in_channels", "c8"), ("out_channels", "o16"), ("input_size", "i32"), ("kernel_size", "k3")):
        if name not in fields:
            raise CaseSyntaxError(f"case {line!r} has no {name}: expected a token such as {example}")
    return fields, grad


def format_fields(fields: Mapping[str, Any], *, grad: bool = False) -> str:
    """Print the fields of a configuration as its canonical line; defaults are left out."""
    f = fields
    tokens = [f"{'conv' if f['op'] == 'conv' else 'convt'}{f['dims']}d"]
    if f["batch"] != 1:
        tokens.append("n-" if f["batch"] is None else f"n{f['batch']}")
    tokens += [f"c{f['in_channels']}", f"o{f['out_channels']}"]
    if f["groups"] != 1:
        tokens.append(f"g{f['groups']}")
    tokens += ["i" + _join(f["input_size"]), "k" + _join(f["kernel_size"])]
    for letter, name, default in (("s", "stride", 1), ("p", "padding", (0, 0)), ("d", "dilation", 1), ("op", "output_padding", 0)):
        value = f[name]
        if isinstance(value, str):
            tokens.append(f"p{value}")
        elif any(v != default for v in value):
            tokens.append(letter + _join(value))
    if f["padding_mode"] != "zeros":
        tokens.append(f"pm{f['padding_mode']}")
    if f["bias"]:
        tokens.append("b")
    tokens.append(_DTYPE_NAMES[f["dtype"]])
    if f["layout"] != "contiguous":
        tokens.append(_LAYOUT_NAMES[f["layout"]])
    if grad:
        tokens.append("grad")
    return "_".join(tokens)


def _parse_token(token: str, dims: int, seen: Mapping[str, Any], line: str) -> tuple[str, Any]:
    # c64, i8, i32 and i64 are dtypes only once the channels and the input size, which come first, have been read.
    if token in DTYPE_TOKENS and not (token[0] == "c" and "in_channels" not in seen) and not (token[0] == "i" and "input_size" not in seen):
        return "dtype", DTYPE_TOKENS[token]
    if token in LAYOUT_TOKENS:
        return "layout", LAYOUT_TOKENS[token]
    fixed: dict[str, tuple[str, Any]] = {
        "b": ("bias", True),
        "grad": ("grad", True),
        "n-": ("batch", None),
        "psame": ("padding", "same"),
        "pvalid": ("padding", "valid"),
    }
    if token in fixed:
        return fixed[token]
    if token.startswith("pm"):
        if token[2:] not in PADDING_MODES:
            raise CaseSyntaxError(f"token {token!r} of case {line!r}: expected pm followed by {', '.join(PADDING_MODES)}")
        return "padding_mode", token[2:]
    for prefix, name, parse in _VALUES:
        if token.startswith(prefix):
            try:
                return name, parse(token[len(prefix) :], dims)
            except ValueError as error:
                raise CaseSyntaxError(f"token {token!r} of case {line!r}: {error}") from None
    raise CaseSyntaxError(f"token {token!r} of case {line!r} is unknown: expected {_EXPECTED}")


def _one(text: str, dims: int) -> int:
    del dims
    if not re.fullmatch(_INT, text, re.ASCII):
        raise ValueError("expected one whole number")
    return int(text)


def _per_axis(text: str, dims: int) -> tuple[int, ...]:
    return tuple(_one(part, dims) for part in _axes(text, dims, "whole numbers joined by 'x', such as 3x5"))


def _sides(text: str, dims: int) -> tuple[tuple[int, int], ...]:
    pads = []
    for part in _axes(text, dims, "whole numbers or lo:hi pairs joined by 'x', such as 1:2x0:0"):
        lo, colon, hi = part.partition(":")
        pads.append((_one(lo, dims), _one(hi if colon else lo, dims)))
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


def _join(values: tuple[Any, ...]) -> str:
    texts = [str(v) if isinstance(v, int) else str(v[0]) if v[0] == v[1] else f"{v[0]}:{v[1]}" for v in values]
    return texts[0] if len(set(texts)) == 1 else "x".join(texts)
