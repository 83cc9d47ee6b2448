"""The corpus: public bug reports of convolutions as case lines, in ``corpus.toml`` beside this module."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from convfuzz.case import Case


@dataclass(frozen=True)
class KnownBug:
    """One public report: its title, its thread where one is known, and the cases that it is about.

    ``backend`` is what it was reported for, by the name that it has, or would have, here. A report that no case can express
    has neither, and the ``reason`` why not.
    """

    title: str
    link: str = ""
    backend: str = ""
    cases: tuple[Case, ...] = ()
    reason: str = ""


@cache
def known_bugs() -> tuple[KnownBug, ...]:
    """Return the reports of the corpus, those included that no case can express."""
    bugs = tomllib.loads(files(__package__).joinpath("corpus.toml").read_text(encoding="utf-8"))["bug"]
    return tuple(KnownBug(**bug | {"cases": tuple(map(Case.parse, bug.get("cases", ())))}) for bug in bugs)


@cache
def corpus_cases() -> tuple[Case, ...]:
    """Return the cases of the corpus in its order, each once."""
    return tuple(dict.fromkeys(case for bug in known_bugs() for case in bug.cases))
