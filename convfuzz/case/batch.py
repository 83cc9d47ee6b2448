"""Batches: what a search space draws at a time, one configuration with several data recipes."""

from __future__ import annotations

from convfuzz.case.case import Case


class Exchangeable(tuple[Case, ...]):
    """A batch whose operands may be those of any other such batch of its search space: their dtype, layouts and data recipes.

    A campaign puts what was drawn together anew, which costs far less than drawing more. A batch that is a plain tuple runs as it is.
    """

    __slots__ = ()
