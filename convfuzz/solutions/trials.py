"""What is tried: which parameters an instance gets and what it is called with, drawn from a seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from convfuzz.case.dtypes import FLOATS
from convfuzz.solutions.problem import Inputs, Problem, State, arrays_of, is_float
from convfuzz.tensors.counters import nonzero_integers, normal, uniform, words
from convfuzz.tensors.generator import Array

_MOST_INTEGER = 8
_LEAST_EMPTIED = 4
"""Of an axis that is longer than this, sparse inputs have nothing but zeros at one index."""
_LEAST_SPREAD = 1 / 8
_WIDE = 8.0
_AT_ONCE, _MANY = 2**22, 2**25
_SPARSE = ("sparse", "emptied")
"""Of these the second has a member of the batch without anything in it."""
_SPECIAL = (np.nan, np.inf)
"""One of each: what does not depend on them has to be as it would be without."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One call: why, and with what, which is made when it is due. A solution may refuse an ``optional`` one, not answer it wrongly."""

    name: str
    make: Callable[[], Inputs]
    layout: str = "contiguous"
    optional: bool = False
    integers: bool = False
    same_as: str = ""
    """The trial of which this one repeats the inputs."""


@dataclass(frozen=True, eq=False)
class Instance:
    """One construction, with its parameters, and the trials that are made of it in this order."""

    name: str
    seed: int
    state: State
    trials: list[Trial] = field(default_factory=list)
    needs_state: bool = False
    """Whether the parameters are not those that the constructor makes, so that a solution has to take them over by name."""


def drawn(array: Array, regime: str, seed: int) -> Array:
    """Return numbers of a regime in the shape and dtype of an array."""
    shape, made = array.shape, np.empty(array.shape, array.dtype)
    flat = made.reshape(-1)
    for first in range(0, array.size, _AT_ONCE):  # so that large ones never are there in float64
        count = min(_AT_ONCE, array.size - first)
        flat[first : first + count] = _some_of(regime, array.dtype.name, seed, first, count).astype(array.dtype)
    if regime in _SPARSE:
        for axis in range(1, len(shape)):  # a channel, a row and a column of nothing but zeros
            if shape[axis] > _LEAST_EMPTIED:
                made[(slice(None),) * axis + (seed % shape[axis],)] = 0.0
        if regime == "emptied" and len(shape) > 1 and shape[0] > 1:
            made[-1] = 0.0
    elif regime == "special":
        # All in one member of the batch, so that others show whether members are kept apart.
        of_one = array.size // shape[0] if len(shape) > 1 and array.size else array.size
        places = (words(seed, "kept", len(_SPECIAL)) % np.uint64(max(of_one, 1))).astype(np.int64)
        member = seed % shape[0] * of_one if len(shape) > 1 and array.size else 0
        flat[member + places[: array.size]] = np.array(_SPECIAL[: array.size]).astype(array.dtype)
    return made


def _some_of(regime: str, dtype: str, seed: int, first: int, count: int) -> Array:
    """Return so many numbers of a regime in a row."""
    form = FLOATS.get(dtype, FLOATS["float32"])
    if regime == "integers":
        return nonzero_integers(seed, "x", (count,), _MOST_INTEGER, first)
    if regime == "positive":
        return uniform(seed, "x", (count,), first)
    values = normal(seed, "x", (count,), first)
    if regime == "cancellation":
        return 1.0 + values * 2.0**-6
    if regime in _SPARSE:
        return np.where(words(seed, "kept", count, first) % np.uint64(5) == 0, values, 0.0)
    if regime == "wide":  # beyond the bends of activations, and on either side of them
        return values * _WIDE
    if regime in ("huge", "tiny"):
        return values * 2.0 ** ((form.emax if regime == "huge" else form.emin) // 5)
    return values


def drawn_state(state: State, kind: str, seed: int) -> State:
    """Return parameters that no constructor makes: ``drawn`` around it, ``integers`` or ``signs`` as kernels, ``no offsets``.

    Without an offset small inputs give small results. Elsewhere nothing of what a normalisation or a scale has stays at its default,
    which would hide a solution that leaves it out.
    """
    made = {}
    for name, array in state.items():
        own = seed ^ zlib.crc32(name.encode())
        if not is_float(array):
            made[name] = array
        elif kind == "no offsets":
            made[name] = np.zeros_like(array) if name.endswith(("bias", "running_mean")) else array
        elif name.endswith("running_var"):
            made[name] = (0.5 + uniform(own, "w", array.shape)).astype(array.dtype)
        elif kind == "integers" and array.ndim >= 3:
            made[name] = nonzero_integers(own, "w", array.shape, _MOST_INTEGER).astype(array.dtype)
        elif kind == "integers":
            made[name] = nonzero_integers(own, "b", array.shape, _MOST_INTEGER).astype(array.dtype)
        elif kind == "signs" and array.ndim >= 3:
            signs = np.where(words(own, "kept", array.size).reshape(array.shape) & np.uint64(1), 1.0, -1.0)
            made[name] = (signs * (1.0 + normal(own, "w", array.shape) * 2.0**-6)).astype(array.dtype)
        else:
            centre = float(array.mean()) if array.size else 0.0
            spread = max(
                float(array.std()) if array.size else 0.0, _LEAST_SPREAD * abs(centre), _LEAST_SPREAD if array.ndim < 3 else 2.0**-10
            )
            made[name] = (centre + spread * normal(own, "w", array.shape)).astype(array.dtype)
    return made


def plan(problem: Problem, seed: int) -> tuple[list[Instance], list[Instance]]:
    """Return what every solution has to answer, and what it may refuse: other sizes and memory layouts. The order is drawn."""
    draw = np.random.default_rng([seed, 1])
    seeds = iter(int(one) for one in draw.integers(2**31, size=64))
    own = [next(seeds) for _ in range(3)]

    def of_seed(name: str, seed: int, **how: Any) -> Trial:
        return Trial(name, partial(problem.inputs, seed), **how)

    def of_regime(regime: str, *, integers: bool = False) -> Trial:
        number = next(seeds)
        return Trial(f"inputs {regime}", lambda: _in_regime(problem.inputs(own[0]), regime, number), integers=integers)

    first_seed, second_seed = next(seeds), next(seeds)
    made = problem.state(first_seed)
    again = problem.state(second_seed)
    as_made = Instance("as constructed", first_seed, made)
    as_made.trials.extend(of_seed(f"own inputs {i}", one) for i, one in enumerate(own, start=1))
    as_made.trials.append(of_seed("own inputs 1 again", own[0], same_as="own inputs 1"))
    other = next(seeds)
    as_made.trials.append(Trial("own inputs 1 with another middle", lambda: _with_another_middle(problem.inputs(own[0]), other)))
    as_made.trials.extend(of_regime(regime) for regime in ("emptied", "wide", "huge", "special"))
    with_drawn = Instance("drawn parameters", second_seed, drawn_state(again, "drawn", next(seeds)), needs_state=True)
    with_drawn.trials.extend([of_seed("own inputs 4", next(seeds)), of_regime("normal"), of_regime("positive")])
    of_integers = Instance("integers", next(seeds), drawn_state(made, "integers", next(seeds)), needs_state=True)
    of_integers.trials.append(of_regime("integers", integers=True))
    # Whose sum, mean, norm and extremes are the same, so that who knows an input by these takes it for the other one.
    whole = of_integers.trials[0].make
    of_integers.trials.append(Trial("inputs integers mirrored", lambda: _mirrored(whole()), integers=True))
    of_signs = Instance("signs", next(seeds), drawn_state(made, "signs", next(seeds)), needs_state=True)
    of_signs.trials.extend(of_regime("cancellation") for _ in range(2))
    without_offsets = Instance("no offsets", next(seeds), drawn_state(made, "no offsets", next(seeds)), needs_state=True)
    without_offsets.trials.extend(of_regime(regime) for regime in ("tiny", "sparse"))
    required = [as_made, without_offsets, with_drawn, of_integers, of_signs]

    others = Instance("other layouts and sizes", next(seeds), drawn_state(made, "drawn", next(seeds)), needs_state=True)
    base = next(seeds)
    others.trials.append(of_seed("base", base))
    others.trials.extend(of_seed(f"{layout} inputs", next(seeds), layout=layout, optional=True) for layout in LAYOUTS)
    others.trials.extend(_other_sizes(partial(problem.inputs, base), next(seeds)))
    for instance in (*required, others):
        draw.shuffle(instance.trials)
    _keep_apart(as_made.trials)
    draw.shuffle(required)
    return required, [others]


LAYOUTS = ("non_contiguous", "channels_last", "offset")


def _keep_apart(trials: list[Trial]) -> None:
    """Have something else between an input and its repetition, and the repetition last."""
    again = next(trial for trial in trials if trial.same_as)
    trials.remove(again)
    first = next(i for i, trial in enumerate(trials) if trial.name == again.same_as)
    if first == len(trials) - 1:
        trials.insert(0, trials.pop())
    trials.append(again)


def _in_regime(inputs: Inputs, regime: str, seed: int) -> Inputs:
    return [drawn(one, regime, seed + i) if isinstance(one, np.ndarray) and is_float(one) else one for i, one in enumerate(inputs)]


def _mirrored(inputs: Inputs) -> Inputs:
    return [one[..., ::-1].copy() if isinstance(one, np.ndarray) and one.ndim and is_float(one) else one for one in inputs]


def _with_another_middle(inputs: Inputs, seed: int) -> Inputs:
    """Return the inputs with the middle half of their elements drawn anew: who looks at the ends takes them for the same."""

    def changed(array: Array, number: int) -> Array:
        flat, size = array.copy().reshape(-1), array.size
        middle = slice(size // 4, size - size // 4)
        flat[middle] = drawn(array, "positive", seed + number).reshape(-1)[middle]
        return flat.reshape(array.shape)

    return [changed(one, i) if isinstance(one, np.ndarray) and is_float(one) else one for i, one in enumerate(inputs)]


def _other_sizes(base: Callable[[], Inputs], seed: int) -> Iterator[Trial]:
    """Yield batches of other sizes, members on their own, and other spatial sizes: where all inputs share the batch, or there is one."""
    arrays = arrays_of(base())
    batch = arrays[0].shape[0] if arrays and arrays[0].ndim > 1 else 0
    if not batch or any(one.ndim < 2 or one.shape[0] != batch for one in arrays):
        return
    for member in sorted({0, batch - 1}):
        alone = partial(_each, base, lambda v, m=member: v[m : m + 1].copy())
        yield Trial(f"member {member} alone", alone, optional=True)
    # Whose last member is no other one's, as that of a kernel that takes two at a time may be. Of a large input there is not twice as much.
    again = batch if sum(one.size for one in arrays) <= _MANY else batch % 2
    more = partial(_each, base, lambda v: np.concatenate([v, drawn(v[:again], "normal", seed), drawn(v[:1], "normal", seed + 1)]))
    yield Trial(f"batch {batch + again + 1}", more, optional=True)
    if len(arrays) != 1 or arrays[0].ndim < 3:
        return
    shape = arrays[0].shape
    for change in (1, -2):
        sizes = tuple(max(size + change * (1 + axis % 2), 1) for axis, size in enumerate(shape[2:]))
        if sizes != shape[2:]:
            other = np.empty((*shape[:2], *sizes), arrays[0].dtype)
            make = partial(_each, base, lambda _, other=other: drawn(other, "normal", seed))
            yield Trial(f"spatial size {'×'.join(map(str, sizes))}", make, optional=True)


def _each(base: Callable[[], Inputs], change: Callable[..., Array]) -> Inputs:
    return [change(one) if isinstance(one, np.ndarray) else one for one in base()]
