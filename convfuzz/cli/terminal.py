"""Text from frameworks, kernels and files in a terminal: what would steer the terminal is shown instead of obeyed."""

from __future__ import annotations


def one_line(text: str) -> str:
    r"""Return ``text`` with every character that is not printable, line breaks among them, as its escape, such as ``\x1b``."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def lines(text: str, indent: int = 0) -> str:
    """Return ``text`` line by line as :func:`one_line`, all but the first indented, so that none of them looks like one of ours."""
    return ("\n" + " " * indent).join(map(one_line, text.split("\n")))
