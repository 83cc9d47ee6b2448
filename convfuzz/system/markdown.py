"""Writes text from elsewhere as Markdown without accidental markup, HTML, mentions or links."""

from __future__ import annotations

import re

from convfuzz.system.code_spans import spans
from convfuzz.system.safe_text import one_line

_SPECIAL = re.compile(
    r"[\\`*\[\]|~$]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # within a word it is not emphasis
    r"|:(?=//)|:(?=[\w+-]+:)"  # an address, or an emoji
    r"|(?<=\bwww)\.|(?<=\])\("
    r"|^[-+=#]|^\d+(?=[.)](?:\s|$))"  # a list, a heading
)
_MENTION = re.compile(r"@|#(?=\d)")


def text(said: str) -> str:
    """Escape text for a line or a table cell: no markup, no HTML, no line break, no mention of a person or an issue.

    A backslash does not stop a mention, since GitHub looks for them in the rendered text. An empty comment does.
    """
    flat = one_line(" ".join(said.split())).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MENTION.sub(r"\g<0><!-- -->", _SPECIAL.sub(_escaped, flat))


def code(said: str) -> str:
    """Return text as a code span, in which GitHub and GitLab make no links; it stands between more backticks than it contains."""
    flat = one_line(" ".join(said.split())) or " "
    ticks = "`" * (1 + _longest_run(flat))
    space = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{ticks}{space}{flat}{space}{ticks}"


def with_code(said: str) -> str:
    """Escape a sentence as :func:`text` does, but for the code between its backticks, which stays code."""
    written = []
    for piece, is_code in spans(" ".join(said.split())):
        before, after = " " * piece.startswith(" "), " " * piece.endswith(" ")
        written.append(code(piece) if is_code else f"{before}{text(piece)}{after}")
    return "".join(written)


def cell(said: str) -> str:
    """Return text as a code span for a table cell, with its bars escaped: they would end the cell."""
    return code(said).replace("|", "\\|")


def fenced(block: str, language: str = "") -> str:
    """Return lines, unchanged, as a code block that nothing in them can end."""
    fence = "`" * max(3, 1 + _longest_run(block))
    return f"{fence}{language}\n{block}\n{fence}"


def _escaped(found: re.Match[str]) -> str:
    return f"{found[0]}\\" if found[0].isdigit() else f"\\{found[0]}"


def _longest_run(said: str) -> int:
    return max(map(len, re.findall("`+", said)), default=0)
