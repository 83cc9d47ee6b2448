"""Makes text from frameworks, kernels and files safe to print: control and invisible characters become visible escapes."""

from __future__ import annotations

import re
import unicodedata

_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of control and format characters, surrogates, and separators of lines and paragraphs."""


_LONGEST_WORD = 400


def one_line(text: str) -> str:
    r"""Return ``text`` with control characters, line breaks among them, as their escapes, such as ``\x1b``.

    So are characters that change the direction of the text, and half characters, which no encoding has.
    """
    if text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in _UNSEEN else c for c in text)


def lines(text: str, indent: int = 0) -> str:
    """Return ``text`` line by line as :func:`one_line`, all but the first indented, so that none looks like a line of convfuzz."""
    return ("\n" + " " * indent).join(map(one_line, text.split("\n")))


def first_line(text: str) -> str:
    """Return the first line that is not empty, as :func:`one_line`."""
    return one_line((text.strip().splitlines() or [""])[0])


def readable(message: str) -> str:
    """Return a message as :func:`lines`, in which no word is so long that it hides the rest: its beginning and its length stand for it."""
    cut = re.sub(rf"\S{{{_LONGEST_WORD},}}", lambda word: f"{word[0][:100]}… ({len(word[0]):,} characters)", message)
    return lines(cut, indent=2)
