"""Hypothesis strategies for convolutions: configurations, data, cases, and the named search spaces of campaigns.

All are constructive: nothing is drawn and thrown away, and in every choice the simplest comes first, so that failing
examples shrink to small ones. Write ``@given(case=convfuzz.strategies.cases())`` in a test.
"""

from __future__ import annotations

from convfuzz.strategies.case_strategies import batches, cases
from convfuzz.strategies.config_strategies import configs
from convfuzz.strategies.corpus_file import KnownBug, known_bugs
from convfuzz.strategies.recipe_strategies import recipes
from convfuzz.strategies.spaces import boundary, corpus, default, invalid, networks, nightly, smoke

__all__ = [
    "KnownBug",
    "batches",
    "boundary",
    "cases",
    "configs",
    "corpus",
    "default",
    "invalid",
    "known_bugs",
    "networks",
    "nightly",
    "recipes",
    "smoke",
]
