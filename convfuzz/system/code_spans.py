"""Sentences with code between backticks, as in Markdown: cut into their spans, or without the backticks where code looks like text."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SPAN = re.compile("`([^`]+)`")


def spans(said: str) -> Iterator[tuple[str, bool]]:
    """Yield the pieces of a sentence, and of each whether it is code; a backtick without another one is text."""
    for number, piece in enumerate(_SPAN.split(said)):
        if piece:
            yield piece, number % 2 == 1


def without_backticks(said: str) -> str:
    """Return the sentence for where there is no markup, such as a terminal."""
    return "".join(piece for piece, _ in spans(said))
