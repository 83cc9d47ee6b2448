"""Text from frameworks, kernels and files, made safe to show: characters that steer a terminal or hide are shown as escapes."""

from __future__ import annotations

import unicodedata

_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of control and format characters, surrogates, and separators of lines and paragraphs."""


def one_line(text: str) -> str:
    r"""Return ``text`` with control characters, line breaks among them, as their escapes, such as ``\x1b``.

    The same goes for characters that change the direction of the text, and for half characters that no encoding holds.
    """
    if text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in _UNSEEN else c for c in text)


def lines(text: str, indent: int = 0) -> str:
    """Return ``text`` line by line as :func:`one_line`, all but the first indented, so that none of them looks like a line of convfuzz."""
    return ("\n" + " " * indent).join(map(one_line, text.split("\n")))


def first_line(text: str) -> str:
    """Return the first line that is not empty, as :func:`one_line`."""
    return one_line((text.strip().splitlines() or [""])[0])
