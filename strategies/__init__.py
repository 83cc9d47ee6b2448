"""Hypothesis strategies for convolutions: configurations, data, cases, and the named search spaces of campaigns.

All are constructive: nothing is drawn and thrown away, and in every choice the simplest comes first, so that failing
examples shrink to small ones. Write ``@given(case=convfuzz.strategies.cases())`` in a test.
"""

from __future__ import annotations

from .bugs import KnownBug, known_bugs
from .casework import batches, cases
from .configurations import configs
from .regimes import recipes
from .spaces import boundary, corpus, default, invalid, nightly, smoke

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
    "nightly",
    "recipes",
    "smoke",
]
