"""The configurations that a kernel computes: what its author declares, and a search for what the author's predicate accepts.

The search is of this project alone and of the case model only: no tensor is made and no kernel is called.
"""

from __future__ import annotations

from convfuzz.case.domain.declared import Domain
from convfuzz.case.domain.search import Explored, explore

__all__ = ["Domain", "Explored", "explore"]
