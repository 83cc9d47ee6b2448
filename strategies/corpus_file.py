"""The corpus: public bug reports of convolutions as case lines, in ``corpus.toml`` beside this module."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig


@dataclass(frozen=True)
class KnownBug:
    """One public report: its title, its thread where one is known, and the cases that it is about.

    ``backend`` is what it was reported for, by the name that it has, or would have, here. A report that no case can express
    has neither, and the ``reason`` why not. ``shapes`` are small layers of the report, or near it, that search spaces draw
    among others; one with gradients is one whose gradient was wrong.
    """

    title: str
    link: str = ""
    backend: str = ""
    cases: tuple[Case, ...] = ()
    reason: str = ""
    shapes: tuple[Case, ...] = ()


@cache
def known_bugs() -> tuple[KnownBug, ...]:
    """Return the reports of the corpus, those included that no case can express."""
    bugs = tomllib.loads(files(__package__).joinpath("corpus.toml").read_text(encoding="utf-8"))["bug"]
    return tuple(KnownBug(**bug | {name: tuple(map(Case.parse, bug.get(name, ()))) for name in ("cases", "shapes")}) for bug in bugs)


@cache
def corpus_cases() -> tuple[Case, ...]:
    """Return the cases of the corpus in its order, each once."""
    return tuple(dict.fromkeys(case for bug in known_bugs() for case in bug.cases))


@cache
def past_shapes() -> tuple[ConvConfig, ...]:
    """Return the shapes of past bugs, the cheapest first, so that failing examples shrink to cheap ones."""
    return tuple(case.config for case in sorted(_shapes(), key=_cost))


@cache
def shapes_of_past_bugs() -> frozenset[ConvConfig]:
    """Return the same to look them up."""
    return frozenset(past_shapes())


@cache
def shapes_of_wrong_gradients() -> frozenset[ConvConfig]:
    """Return the shapes whose gradient was wrong."""
    return frozenset(case.config for case in _shapes() if case.grad)


def _shapes() -> list[Case]:
    return [case for bug in known_bugs() for case in bug.shapes]


def _cost(case: Case) -> tuple[int, str, int]:
    """Order shapes by their operations, whatever their place in the file; of equally many, convolutions come before transposed ones."""
    return case.config.flops, case.config.op, -case.config.nbytes
