"""What must not change an output element, and whether it does, bit for bit: the batch, its place, the layout, threads, a second run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from convfuzz.backends import Backend
from convfuzz.backends.protocol import Threaded
from convfuzz.case import Case, DataRecipe
from convfuzz.case.config import ConvConfig
from convfuzz.errors import InvalidConfig
from convfuzz.revealing.sheet import Notes, Violation
from convfuzz.tensors.generator import Array, Tensors, make_tensors
from convfuzz.tensors.layouts import placements

KINDS = ("runs", "members", "layout", "alignment", "threads", "position", "batch", "size", "channels")
"""What is varied, in the order in which it is tried: first what needs no other shape, which a compiler would have to compile."""

MEANINGS = {
    "batch": "the number of samples in the batch",
    "position": "a sample's place in the batch",
    "members": "what the other samples are",
    "size": "how far the input goes on beyond what an element reads",
    "channels": "the other output channels, their weights and their number",
    "layout": "the memory layout of input and weight",
    "alignment": "where in memory the operands begin",
    "threads": "the number of threads",
    "runs": "a second run",
}
_SEEDS = range(2)
_SMALLER = ("out_channels", "in_channels", "input_size", "kernel_size")
_MOST_REDUCTIONS = 24
_MOST_CHANNELS = 33
_LINE = 64
"""The bytes of a cache line, and of the widest vectors."""


@dataclass(frozen=True)
class _Trial:
    """Two results that have to be the same: of the case, and of the case with something changed."""

    what: str
    config: ConvConfig
    one: Array
    other: Array


def measure_invariance(
    backend: Backend, config: ConvConfig, notes: Notes, *, seconds: float = 5.0
) -> tuple[dict[str, bool | None], dict[str, Violation]]:
    """Return, for each of :data:`KINDS`, whether results stay the same, and of each that do not the smallest case that shows it.

    ``None`` where it cannot be varied, since the backend declines the other case or has no number of threads to set, and where a second
    run of the same case changes results already. No new trial begins
    after so many ``seconds``, which a compiler of every new shape needs; the notes say what was left out.
    """
    invariant: dict[str, bool | None] = {}
    violations: dict[str, Violation] = {}
    until = time.perf_counter() + seconds
    for kind in KINDS:
        if "runs" in violations:  # and whatever else changes may have changed by itself
            invariant[kind] = None
            notes.saw(MEANINGS[kind], "not asked, since a second run changes results")
            continue
        found, tried, all_of_them = _first(backend, config, kind, until)
        invariant[kind] = None if not tried else found is None
        if found is not None:
            violations[kind] = _smallest(backend, config, kind, found, until)
            notes.saw(MEANINGS[kind], f"changes results: {violations[kind].what}")
        else:
            notes.saw(MEANINGS[kind], f"{tried} trials, all equal bit for bit" if tried else "cannot be varied here")
            if not all_of_them:
                notes.inferred.append(f"{MEANINGS[kind]}: not all trials were made, for want of time")
    return invariant, violations


def _first(backend: Backend, config: ConvConfig, kind: str, until: float) -> tuple[_Trial | None, int, bool]:
    """Return the first trial that fails, how many were made, and whether these are all there are."""
    tried = 0
    for seed in _SEEDS:
        for trial in _TRIALS[kind](_Runs(backend, seed), config):
            tried += 1
            if not _same(trial.one, trial.other):
                return trial, tried, True
            if time.perf_counter() > until:
                return None, tried, False
    return None, tried, True


def _smallest(backend: Backend, config: ConvConfig, kind: str, trial: _Trial, until: float) -> Violation:
    """Make the configuration smaller as long as the violation stays."""
    left = _MOST_REDUCTIONS
    for name in _SMALLER:
        while left > 0 and time.perf_counter() < until and (smaller := _less(config, name)) is not None:
            left -= 1
            found, *_ = _first(backend, smaller, kind, until)
            if found is None:
                break
            config, trial = smaller, found
    with np.errstate(invalid="ignore"):
        apart = float(np.nanmax(np.abs(trial.one.astype(np.float64) - trial.other.astype(np.float64)), initial=0.0))
    return Violation(str(Case(trial.config)), trial.what, apart)


def _less(config: ConvConfig, name: str) -> ConvConfig | None:
    value = getattr(config, name)
    half = tuple(max(v // 2, 1) for v in value) if isinstance(value, tuple) else value // 2
    if half == value or (isinstance(half, int) and half < config.groups):
        return None
    try:
        smaller = config.replace(**{name: half})
    except InvalidConfig:
        return None
    return smaller if smaller.is_valid else None


def _same(one: Array, other: Array) -> bool:
    return one.shape == other.shape and one.tobytes() == other.tobytes()


class _Runs:
    """Runs configurations of one backend on drawn numbers, and leaves out what it declines or fails on."""

    def __init__(self, backend: Backend, seed: int) -> None:
        self.backend, self.seed = backend, seed

    def tensors(self, config: ConvConfig) -> Tensors:
        return make_tensors(Case(config, DataRecipe("normal", self.seed)))

    def run(self, config: ConvConfig, tensors: Tensors, backend: Backend | None = None) -> Array | None:
        case, chosen = Case(config), backend or self.backend
        if not config.is_valid or not chosen.supports(case):
            return None
        try:
            with np.errstate(all="ignore"):
                return np.array(chosen.run(case, tensors)["forward"])
        except Exception:  # noqa: BLE001 - what a kernel fails on it does not compute, which `convfuzz check` tells
            return None


def _samples(tensors: Tensors, config: ConvConfig, chosen: list[int]) -> tuple[ConvConfig, Tensors]:
    """Return the layer on some samples of its batch, in the case's layout."""
    changed = config.replace(batch=len(chosen))
    x = placements(changed)["x"].place(np.ascontiguousarray(tensors.x)[chosen])
    return changed, Tensors(x, tensors.w, tensors.b)


def _pool(runs: _Runs, config: ConvConfig, batch: int) -> tuple[ConvConfig, Tensors] | None:
    """Return the layer with a batch of different samples."""
    if config.batch is None:
        return None
    many = config.replace(batch=batch)
    return many, runs.tensors(many)


def _batch(runs: _Runs, config: ConvConfig) -> Iterator[_Trial]:
    pool = _pool(runs, config, 33)
    if pool is None:
        return
    many, tensors = pool
    alone: list[Array] = []
    for size in (2, 3, 4, 8, 16, 17, 33):
        for sample in range(len(alone), size):
            y = runs.run(*_samples(tensors, many, [sample]))
            if y is None:
                return
            alone.append(y[0])
        changed, part = _samples(tensors, many, list(range(size)))
        together = runs.run(changed, part)
        if together is not None:
            yield _Trial(f"{size} samples together, against each alone", changed, np.stack(alone), together)


def _position(runs: _Runs, config: ConvConfig) -> Iterator[_Trial]:
    for size in (2, 3, 4, 8, 17):
        pool = _pool(runs, config, size)
        if pool is None:
            return
        many, tensors = pool
        y = runs.run(many, tensors)
        for shift in sorted({1, size // 2, size - 1}):
            order = np.roll(np.arange(size), shift).tolist()
            moved = runs.run(*_samples(tensors, many, order))
            if y is not None and moved is not None:
                yield _Trial(f"{size} samples, moved by {shift}", many, y[order], moved)


def _members(runs: _Runs, config: ConvConfig) -> Iterator[_Trial]:
    for size in (2, 4):
        pool = _pool(runs, config, size)
        if pool is None:
            return
        many, tensors = pool
        y = runs.run(many, tensors)
        for how, others in (("changed", 100.0 * tensors.x[1:] + 1.0), ("zero", np.zeros_like(tensors.x[1:]))):
            x = tensors.x.copy()
            x[1:] = others
            changed = runs.run(many, Tensors(placements(many)["x"].place(x), tensors.w, tensors.b))
            if y is not None and changed is not None:
                yield _Trial(f"the first of {size} samples, the others {how}", many, y[0], changed[0])


def _size(runs: _Runs, config: ConvConfig) -> Iterator[_Trial]:
    """Let the input go on at its high ends; what reads none of the new part, nor of the padding that it moves, has to stay."""
    if config.op != "conv" or config.padding_mode != "zeros" or isinstance(config.padding, str):
        return
    for more in (1, 2, 8, 31):
        larger = config.replace(input_size=tuple(size + more for size in config.input_size))
        tensors = runs.tensors(larger)
        lead = (slice(None),) * (len(larger.input_shape) - config.dims)
        part = placements(config)["x"].place(np.ascontiguousarray(tensors.x[(*lead, *(slice(0, size) for size in config.input_size))]))
        y, grown = runs.run(config, Tensors(part, tensors.w, tensors.b)), runs.run(larger, tensors)
        kept = []
        for size, (low, _), stride, extent in zip(config.input_size, config.pads, config.stride, config.effective_kernel, strict=True):
            kept.append(slice(0, max((size + low - extent) // stride + 1, 0)))
        if y is not None and grown is not None:
            yield _Trial(f"the input {more} larger along every axis", larger, y[(*lead, *kept)], grown[(*lead, *kept)])


def _channels(runs: _Runs, config: ConvConfig) -> Iterator[_Trial]:
    tensors = runs.tensors(config)
    axis = 0 if config.batch is None else 1
    y = runs.run(config, tensors)
    for factor in (0.0, 100.0):
        w = tensors.w.copy()
        others = (slice(1, None),) if config.op == "conv" else (slice(None), slice(1, None))
        w[others] = factor * w[others] + (1.0 if factor else 0.0)
        changed = runs.run(config, Tensors(tensors.x, placements(config)["w"].place(w), tensors.b))
        if y is not None and changed is not None and config.out_channels > 1 and w[others].size:
            yield _Trial("the first channel, the weights of the others changed", config, y.take(0, axis), changed.take(0, axis))
    yield from _channel_counts(runs, config)


def _channel_counts(runs: _Runs, config: ConvConfig) -> Iterator[_Trial]:
    """Compute the first kernel among fewer and more others; with groups, whose channels go along, the number stays."""
    if config.groups != 1:
        return
    many = config.replace(out_channels=max(config.out_channels, _MOST_CHANNELS))
    tensors = runs.tensors(many)
    axis = 0 if config.batch is None else 1

    def first_of(count: int) -> tuple[ConvConfig, Array | None]:
        changed = many.replace(out_channels=count)
        w = np.ascontiguousarray(tensors.w[:count] if config.op == "conv" else tensors.w[:, :count])
        b = None if tensors.b is None else np.ascontiguousarray(tensors.b[:count])
        y = runs.run(changed, Tensors(tensors.x, placements(changed)["w"].place(w), b))
        return changed, None if y is None else y.take(0, axis)

    _, y = first_of(config.out_channels)
    for count in sorted({1, 2, 8, 17, _MOST_CHANNELS} - {config.out_channels}):
        changed, other = first_of(count)
        if y is not None and other is not None:
            yield _Trial(f"the first channel, of {count} instead of {config.out_channels}", changed, y, other)


def _laid_out(layouts: tuple[str, ...]) -> Callable[[_Runs, ConvConfig], Iterator[_Trial]]:
    def trials(runs: _Runs, config: ConvConfig) -> Iterator[_Trial]:
        plain = config.replace(layout="contiguous")
        tensors = runs.tensors(plain)
        y = runs.run(plain, tensors)
        for layout in layouts:
            changed = _with_layout(config, layout)
            if changed is None:
                continue
            placed = placements(changed)
            b = None if tensors.b is None else placed["b"].place(tensors.b)
            other = runs.run(changed, Tensors(placed["x"].place(tensors.x), placed["w"].place(tensors.w), b))
            if y is not None and other is not None:
                yield _Trial(f"layout {layout} against contiguous", changed, y, other)

    return trials


def _alignment(runs: _Runs, config: ConvConfig) -> Iterator[_Trial]:
    """Begin the operands one number further, as the layout does that a case can name, then at every place of a cache line."""
    yield from _laid_out(("offset",))(runs, config)
    plain = config.replace(layout="contiguous")
    tensors = runs.tensors(plain)

    def at(place: int) -> Array | None:
        return runs.run(plain, Tensors(*(None if a is None else _beginning_at(place, a) for a in (tensors.x, tensors.w, tensors.b))))  # type: ignore[arg-type]

    y = at(0)
    for place in (tensors.x.itemsize, 8, 16, 32):
        other = at(place)
        if y is not None and other is not None:
            yield _Trial(f"operands {place} bytes behind a multiple of {_LINE}", plain, y, other)


def _beginning_at(place: int, array: Array) -> Array:
    """Return a copy, contiguous, whose first byte is that far behind a multiple of a cache line."""
    room = np.empty(array.nbytes + 2 * _LINE, np.uint8)
    first = -room.__array_interface__["data"][0] % _LINE + place
    copy: Array = room[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _with_layout(config: ConvConfig, layout: str) -> ConvConfig | None:
    try:
        return config.replace(layout=layout)
    except InvalidConfig:
        return None


def _threads(runs: _Runs, config: ConvConfig) -> Iterator[_Trial]:
    if not isinstance(runs.backend, Threaded):
        return
    tensors = runs.tensors(config)
    one = runs.run(config, tensors, runs.backend.with_threads(1))
    for count in (2, 3, 4, 8):
        other = runs.run(config, tensors, runs.backend.with_threads(count))
        if one is not None and other is not None:
            yield _Trial(f"{count} threads against one", config, one, other)


def _again(runs: _Runs, config: ConvConfig) -> Iterator[_Trial]:
    tensors = runs.tensors(config)
    first = runs.run(config, tensors)
    for _ in range(4):
        again = runs.run(config, tensors)
        if first is not None and again is not None:
            yield _Trial("the same call again", config, first, again)


_TRIALS: dict[str, Callable[[_Runs, ConvConfig], Iterator[_Trial]]] = {
    "batch": _batch,
    "position": _position,
    "members": _members,
    "size": _size,
    "channels": _channels,
    "layout": _laid_out(("channels_last", "transposed", "non_contiguous")),
    "alignment": _alignment,
    "threads": _threads,
    "runs": _again,
}
