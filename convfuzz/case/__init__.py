"""One convolution as one line: its configuration, its data and its passes. It is all that strategies import."""

from __future__ import annotations

from convfuzz.case.case import PASSES, Case, Pass
from convfuzz.case.recipe import EXPLICIT, REGIMES, DataRecipe, regimes_of

__all__ = ["EXPLICIT", "PASSES", "REGIMES", "Case", "DataRecipe", "Pass", "regimes_of"]
