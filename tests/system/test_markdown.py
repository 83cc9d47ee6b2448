"""Text from outside in Markdown: it stays text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convfuzz.system.markdown import cell, code, fenced, text, with_code


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("torch.nn.functional.conv_transpose2d: wrong", "torch.nn.functional.conv_transpose2d: wrong"),
        ("at [0, 1]", "at \\[0, 1\\]"),
        ("_emphasis_ and *more*", "\\_emphasis\\_ and \\*more\\*"),
        ("see #12 of @someone", "see #<!-- -->12 of @<!-- -->someone"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("http://example.com www.example.com", "http\\://example.com www\\.example.com"),
        ("[x](y)", "\\[x\\]\\(y)"),
        ("# heading", "\\# heading"),
        ("- item", "\\- item"),
        ("1. item", "1\\. item"),
        ("2.5 is a number", "2.5 is a number"),
        ("a | b ~~c~~ $x$ `y`", "a \\| b \\~\\~c\\~\\~ \\$x\\$ \\`y\\`"),
        (":tada: and a::b", "\\:tada: and a::b"),
        ("two\nlines\x1b[31m", "two lines\\\\x1b\\[31m"),
    ],
)
def test_text(said: str, written: str) -> None:
    """What would be markup, HTML, a link or a mention is escaped; names of functions read as they are."""
    assert text(said) == written


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("`a_*b*` of #1 is `<c>`.", "`a_*b*` of #<!-- -->1 is `<c>`."),
        ("a ` alone, _so_", "a \\` alone, \\_so\\_"),
        ("see `x`\n[y](z)", "see `x` \\[y\\]\\(z)"),
        ("``", "\\`\\`"),
    ],
)
def test_code_within_a_sentence_stays_code(said: str, written: str) -> None:
    """What stands between two backticks is a code span, and all else is escaped as text is."""
    assert with_code(said) == written


@given(said=st.text() | st.text("`|@#[]()<>_* \n\\a"))
def test_code_span_ends_with_its_own_delimiter(said: str) -> None:
    """A span has one line, and no run of backticks in it is as long as those around it."""
    span = code(said)
    ticks = span[: len(span) - len(span.lstrip("`"))]
    assert span.endswith(ticks)
    assert "\n" not in span
    assert ticks not in span[len(ticks) : -len(ticks)].strip(" ")
    assert "|" not in cell(said).replace("\\|", "")


@given(block=st.text("`~ab\n"))
def test_code_block_ends_with_its_own_fence(block: str) -> None:
    """No line of a block is a fence as long as the one around it, and the block is what it was."""
    first, *inside, last = fenced(block, "python").split("\n")
    assert first == f"{last}python"
    assert set(last) == {"`"}
    assert not any(line.startswith(last) for line in inside)
    assert "\n".join(inside) == block
