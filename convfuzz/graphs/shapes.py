"""Rules of operations that only move elements: nothing is rounded, and a value takes its bound along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convfuzz.errors import NotCovered
from convfuzz.graphs.bounded import Array, Bounded, Place
from convfuzz.graphs.conditions import Mask, as_numbers

Rule = Callable[..., Any]


def _as_shaped(at: Place, x: Bounded, *_: object, **__: object) -> Bounded:
    """Return the elements in the shape that the result has."""
    return x.moved(lambda v: v.reshape(at.shape))


def _same(at: Place, x: Bounded, *_: object, **__: object) -> Bounded:
    del at
    return x


def _to(at: Place, x: Bounded | Mask, *_: object, **__: object) -> Bounded:
    """Return the elements in another format: a rounding, or nothing."""
    if isinstance(x, Mask):
        return as_numbers(at, x)
    rounded = at.stored.round(x.value)
    return x if np.array_equal(rounded, x.value, equal_nan=True) and not x.error.any() else at.rounded(x.value, x.error)


def _dropout(at: Place, x: Bounded, p: float, train: bool) -> Bounded:  # noqa: FBT001 - ATen's
    del at, p
    if train:
        raise NotCovered("dropout in training")
    return x


def _permute(at: Place, x: Bounded, dims: Sequence[int]) -> Bounded:
    del at
    return x.moved(lambda v: np.transpose(v, [axis % v.ndim for axis in dims]))


def _transpose(at: Place, x: Bounded, dim0: int, dim1: int) -> Bounded:
    del at
    return x.moved(lambda v: np.swapaxes(v, dim0, dim1))


def _t(at: Place, x: Bounded) -> Bounded:
    del at
    return x.moved(np.transpose)


def _expand(at: Place, x: Bounded, *_: object, **__: object) -> Bounded:
    return x.moved(lambda v: np.broadcast_to(v, at.shape))


def _cat(at: Place, tensors: Sequence[Bounded], dim: int = 0) -> Bounded:
    del at
    return Bounded(np.concatenate([x.value for x in tensors], axis=dim), np.concatenate([x.error for x in tensors], axis=dim))


def _stack(at: Place, tensors: Sequence[Bounded], dim: int = 0) -> Bounded:
    del at
    return Bounded(np.stack([x.value for x in tensors], axis=dim), np.stack([x.error for x in tensors], axis=dim))


def _slice(at: Place, x: Bounded, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Bounded:
    del at

    def cut(v: Array) -> Array:
        return v[(slice(None),) * (dim % v.ndim) + (slice(start, end, step),)]

    return x.moved(cut)


def _select(at: Place, x: Bounded, dim: int, index: int) -> Bounded:
    del at
    return x.moved(lambda v: np.take(v, index, axis=dim))


def _flip(at: Place, x: Bounded, dims: Sequence[int]) -> Bounded:
    del at
    return x.moved(lambda v: np.flip(v, tuple(dims)))


def _repeat(at: Place, x: Bounded, repeats: Sequence[int]) -> Bounded:
    del at
    return x.moved(lambda v: np.tile(v, tuple(repeats)))


def _chunk(at: Place, x: Bounded, chunks: int, dim: int = 0) -> list[Bounded]:
    return _split(at, x, -(-x.value.shape[dim] // chunks), dim)


def _split(at: Place, x: Bounded, split_size: int | Sequence[int], dim: int = 0) -> list[Bounded]:
    size = x.value.shape[dim]
    if isinstance(split_size, int):
        starts = list(range(0, size, max(split_size, 1)))
        return [_slice(at, x, dim, start, start + split_size) for start in starts]
    ends = np.cumsum(split_size)
    return [_slice(at, x, dim, int(end) - length, int(end)) for length, end in zip(split_size, ends, strict=True)]


def _pad(at: Place, x: Bounded, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Bounded:
    del at
    ndim = x.value.ndim
    sides = [(0, 0)] * (ndim - len(pad) // 2) + [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)][::-1]
    # Negative padding crops.
    kept = tuple(slice(max(-low, 0), size - max(-high, 0)) for (low, high), size in zip(sides, x.value.shape, strict=True))
    widths = [(max(low, 0), max(high, 0)) for low, high in sides]
    if mode == "constant":
        filler = 0.0 if value is None else float(value)
        return Bounded(np.pad(x.value[kept], widths, constant_values=filler), np.pad(x.error[kept], widths))
    how = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}.get(mode)
    if how is None:
        raise NotCovered(f"pad with mode={mode}")
    return x.moved(lambda v: np.pad(v[kept], widths, mode=how))  # type: ignore[call-overload] # one of three words


def _pixel_shuffle(at: Place, x: Bounded, factor: int) -> Bounded:
    def change(v: Array) -> Array:
        *lead, channels, height, width = v.shape
        parts = v.reshape(*lead, channels // factor**2, factor, factor, height, width)
        return np.moveaxis(parts, (-4, -3), (-3, -1)).reshape(at.shape)

    return x.moved(change)


def _pixel_unshuffle(at: Place, x: Bounded, factor: int) -> Bounded:
    def change(v: Array) -> Array:
        *lead, height, width = v.shape
        return np.moveaxis(v.reshape(*lead, height // factor, factor, width // factor, factor), (-3, -1), (-4, -3)).reshape(at.shape)

    return x.moved(change)


def _channel_shuffle(at: Place, x: Bounded, groups: int) -> Bounded:
    return x.moved(lambda v: v.reshape(v.shape[0], groups, -1, *v.shape[2:]).swapaxes(1, 2).reshape(at.shape))


def _roll(at: Place, x: Bounded, shifts: int | Sequence[int], dims: int | Sequence[int] = ()) -> Bounded:
    del at
    along = [dims] if isinstance(dims, int) else list(dims)
    by = [shifts] if isinstance(shifts, int) else list(shifts)
    return x.moved(lambda v: np.roll(v, by, along) if along else np.roll(v.reshape(-1), by[0]).reshape(v.shape))


def _movedim(at: Place, x: Bounded, source: int | Sequence[int], destination: int | Sequence[int]) -> Bounded:
    del at
    return x.moved(lambda v: np.moveaxis(v, source, destination))


def _repeat_interleave(at: Place, x: Bounded, repeats: int, dim: int | None = None, **_: object) -> Bounded:
    del at
    return x.moved(lambda v: np.repeat(v, repeats, axis=dim))


def _unbind(at: Place, x: Bounded, dim: int = 0) -> list[Bounded]:
    return [_select(at, x, dim, index) for index in range(x.value.shape[dim])]


def _broadcast_tensors(at: Place, tensors: Sequence[Bounded]) -> list[Bounded]:
    del at
    shape = np.broadcast_shapes(*(x.value.shape for x in tensors))
    return [x.moved(lambda v: np.broadcast_to(v, shape)) for x in tensors]


def _narrow(at: Place, x: Bounded, dim: int, start: int, length: int) -> Bounded:
    return _slice(at, x, dim, start, start + length)


def _arange(at: Place, *given: float, **_: object) -> Bounded:
    start, step = (given[0] if len(given) > 1 else 0.0), (given[2] if len(given) > 2 else 1.0)
    return Bounded.exact(at.stored.round(start + step * np.arange(at.shape[0], dtype=np.float64)))


def _filled(at: Place, value: float) -> Bounded:
    return Bounded.exact(np.full(at.shape, float(at.stored.round(np.asarray(float(value))))))


def _zeros(at: Place, *_: object, **__: object) -> Bounded:
    return _filled(at, 0.0)


def _ones(at: Place, *_: object, **__: object) -> Bounded:
    return _filled(at, 1.0)


def _full(at: Place, _size: object, fill_value: float, **__: object) -> Bounded:
    return _filled(at, fill_value)


def _triangle(of: Callable[..., Array]) -> Rule:
    def rule(at: Place, x: Bounded, diagonal: int = 0) -> Bounded:
        del at
        return x.moved(lambda v: of(v, diagonal))

    return rule


VIEWS: dict[str, Rule] = {
    **dict.fromkeys(("view", "view_as", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "ravel", "_unsafe_view"), _as_shaped),
    **dict.fromkeys(("contiguous", "detach", "alias", "lift_fresh"), _same),
    "permute": _permute,
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), _transpose),
    "mT": lambda at, x: _transpose(at, x, -1, -2),
    **dict.fromkeys(("t", "numpy_T"), _t),
    "expand": _expand,
    "expand_as": _expand,
    "slice": _slice,
    "select": _select,
    "chunk": _chunk,
    "split": _split,
    "split_with_sizes": _split,
    **dict.fromkeys(("movedim", "moveaxis"), _movedim),
    "narrow": _narrow,
    "unbind": _unbind,
    "broadcast_tensors": _broadcast_tensors,
}
"""Rules whose result may share memory with the operand."""

RULES: dict[str, Rule] = VIEWS | {
    **dict.fromkeys(("clone", "lift_fresh_copy"), _same),
    **dict.fromkeys(("to", "_to_copy", "type_as"), _to),
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "channel_shuffle": _channel_shuffle,
    "roll": _roll,
    "repeat_interleave.self_int": _repeat_interleave,
    "arange": _arange,
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"), _dropout),
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    "tril": _triangle(np.tril),
    "triu": _triangle(np.triu),
    "stack": _stack,
    "flip": _flip,
    "repeat": _repeat,
    "pad": _pad,
    "constant_pad_nd": lambda at, x, pad, value=0.0: _pad(at, x, pad, "constant", value),
    "zeros": _zeros,
    "zeros_like": _zeros,
    "ones": _ones,
    "ones_like": _ones,
    "full": _full,
    "full_like": _full,
}
