"""A cause: the findings that one bug has made, as ``run.json`` lists it."""

from __future__ import annotations

import msgspec


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """The findings of one cause, by fingerprint: the ``lead`` is the gravest and simplest of the ``members``, which it is one of.

    ``cause`` names it. ``known`` is a link to where it is known upstream, or empty.
    """

    cause: str
    lead: str
    members: list[str]
    known: str = ""
