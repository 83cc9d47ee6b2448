"""The arithmetic of a campaign's backends, measured when all else is done, in a part of the time that the run has taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from convfuzz.record.arithmetic import Arithmetic, SheetCache
from convfuzz.record.summary import REFERENCE

MOST_SECONDS = 10.0
"""What a backend may take at most."""
LEAST_SECONDS = 3.0
"""In less than this nothing is begun."""
_NO_TIME = "no time was left: a longer run, or convfuzz reveal, has more"


def measured(
    backends: Sequence[str],
    versions: Mapping[str, Mapping[str, str]],
    reveal: Callable[[str, float], Arithmetic],
    known: Mapping[str, Arithmetic],
    seconds: float,
    cache: SheetCache | None = None,
) -> list[Arithmetic]:
    """Return the arithmetic of each backend, what an earlier run has measured of the same versions first, then within ``seconds``.

    Variants are left out: they call what they are variants of. So is everything where the time is too short to begin.

    Args:
        backends: their names.
        versions: the libraries of each, with their versions.
        reveal: measures a backend within a number of seconds.
        known: what is known already, by backend.
        seconds: what all of them together may take.
        cache: what earlier runs have left.
    """
    if seconds < LEAST_SECONDS:
        return list(known.values())
    names = [name for name in backends if "+" not in name.rpartition("::")[2] and name != REFERENCE]
    kept, found = cache or SheetCache(), dict(known)
    for name in names:
        if name not in found and (one := kept.get(name, versions.get(name, {}))) is not None:
            found[name] = one
    # Users' kernels first: nothing keeps their sheets, and it is they whose authors read this.
    waiting = sorted((name for name in names if name not in found), key=lambda name: "::" not in name)
    for name, one in _asked(waiting, reveal, time.monotonic() + seconds):
        found[name] = one
        kept.put(one, versions.get(name, {}), datetime.now(UTC).date().isoformat())
    return [found[name] for name in names]


def _asked(names: Sequence[str], reveal: Callable[[str, float], Arithmetic], until: float) -> Iterator[tuple[str, Arithmetic]]:
    for name in names:
        left = until - time.monotonic()
        if left < LEAST_SECONDS:
            yield name, Arithmetic(backend=name, unmeasured=_NO_TIME)
        else:
            yield name, reveal(name, min(left, MOST_SECONDS))
