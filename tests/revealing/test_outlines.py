"""A tree in a few lines, and its picture: what repeats is said once, whatever the number of terms."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from convfuzz.record.tree_picture import Branch, svg
from convfuzz.revealing.outline import outline
from convfuzz.revealing.summation_tree import Node, joined, leaf

from .kernels import Add, blocked, lanes, pairwise, ragged, sequential, split


def tree(order: object, terms: int) -> Node:
    """Return the tree of one of the kernels' orders."""
    add: Add = lambda one, other: joined([one, other])  # type: ignore[list-item, arg-type, return-value] # noqa: E731
    return order([leaf(i) for i in range(terms)], add)  # type: ignore[operator, no-any-return]


def said(branches: tuple[Branch, ...]) -> list[str]:
    """Return an outline as indented lines."""
    return [f"{'  ' * branch.depth}{branch.label or branch.how}" for branch in branches]


def test_a_long_run_shows_its_ends() -> None:
    """A sum of one term after the other shows the first terms and the last ones, the bias by its letter."""
    assert said(outline(tree(sequential, 145), 144)) == [
        "in turn", "  0", "  1", "  2", "  … 139 more, in turn", "  142", "  143", "  b",
    ]  # fmt: skip


def test_blocks_that_are_alike_are_counted() -> None:
    """Of many blocks the first three and the last are shown, and how many there are between."""
    assert said(outline(tree(blocked(8), 4608))) == [
        "in turn", "  0…7", "  8…15", "  16…23", "  … 572 more such sums", "  4600…4607",
    ]  # fmt: skip


@pytest.mark.parametrize(("order", "terms"), [(pairwise, 512), (pairwise, 4608), (split(64), 512), (split(32), 4608), (lanes(16), 4608)])
def test_a_balanced_tree_is_shown_along_one_branch(order: object, terms: int) -> None:
    """Halves of one form are shown once, so that a tree of thousands of terms has as many lines as levels, and a few."""
    shown = outline(tree(order, terms))
    assert len(shown) <= 45
    assert shown[0].terms == terms
    assert any(branch.how == "alike" for branch in shown)


@pytest.mark.parametrize(("order", "terms"), [(sequential, 145), (pairwise, 512), (blocked(9), 144), (ragged, 60), (ragged, 2000)])
def test_what_is_shown_and_left_out_are_all_terms(order: object, terms: int) -> None:
    """The terms of the lines that are not taken apart, those left out among them, add up to all; a tree of no form is cut off."""
    shown = outline(tree(order, terms))
    parts = [one for one, after in zip(shown, (*shown[1:], None), strict=True) if after is None or after.depth <= one.depth]
    counted = sum(part.terms for part in parts)
    left = [int(part.label.split()[1]) - 1 for part in parts if part.how == "alike" and part.terms == 1]  # of a run, by its label
    assert counted + sum(left) == terms
    assert len(shown) <= 130


@pytest.mark.parametrize("order", [sequential, pairwise, blocked(8), ragged])
def test_the_picture_has_a_mark_for_every_addition(order: object) -> None:
    """The picture is well-formed, has a line of text for each part, the result, and a mark where parts meet."""
    shown = outline(tree(order, 144))
    drawn = ET.fromstring(svg(shown, title="a sum", standalone=True))  # noqa: S314 - our own picture
    parts = sum(after is None or after.depth <= one.depth for one, after in zip(shown, (*shown[1:], None), strict=True))
    tags = [one.tag.rpartition("}")[2] for one in drawn.iter()]
    assert (tags.count("text"), tags.count("circle")) == (parts + 1, parts - 1)


def test_terms_that_are_added_at_once_meet_in_one_mark() -> None:
    """A fused sum of several parts has one square instead of additions in turn."""
    groups = [joined([leaf(4 * i), leaf(4 * i + 1)]) for i in range(3)]
    drawn = svg(outline(joined(groups)), title="at once")
    assert (drawn.count("<rect"), drawn.count("<circle")) == (1, 0)


@pytest.mark.parametrize(
    "outlined",
    [
        (),
        (Branch(1, "run", "0", 1),),
        (Branch(0, "run", "0", 1), Branch(2, "run", "1", 1)),
        (Branch(0, "run", "0", 1), Branch(0, "run", "1", 1)),
        (Branch(-1, "run", "0", 1),),
        tuple(Branch(depth, "pair", "", 1) for depth in range(5000)),
    ],
    ids=["nothing", "no root", "a level left out", "two roots", "below zero", "far too deep"],
)
def test_what_is_no_outline_has_no_picture(outlined: tuple[Branch, ...]) -> None:
    """An outline from elsewhere that makes no tree, or a far too long one, is not drawn."""
    assert svg(outlined, title="no tree") == ""


def test_words_from_elsewhere_are_words() -> None:
    """Markup in a label or a title is text in the picture."""
    evil = "</text><script>alert(1)</script>\"'"
    drawn = svg((Branch(0, "pair", "", 2), Branch(1, "run", evil, 1), Branch(1, "run", "1", 1)), title=evil)
    assert "<script>" not in drawn
    assert ET.fromstring(drawn).attrib["aria-label"] == evil  # noqa: S314 - our own picture
