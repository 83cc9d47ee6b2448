"""Trees from the sizes of their subtrees, their text and their names."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from convfuzz.revealing.order import _bias
from convfuzz.revealing.summation_tree import ContradictionError, Node, build, chain, joined, leaf, text, without
from convfuzz.revealing.tree_names import name_of


def sequence(*terms: int) -> Node:
    """Return the tree that adds terms one after the other."""
    node = leaf(terms[0])
    for term in terms[1:]:
        node = joined([node, leaf(term)])
    return node


def random_tree(terms: int, draws: np.random.Generator) -> Node:
    """Return a random tree, some of whose nodes add several terms at once."""
    nodes = [leaf(i) for i in draws.permutation(terms).tolist()]
    while len(nodes) > 1:
        count = min(int(draws.choice([2, 2, 2, 3, 5])), len(nodes))
        taken = [nodes.pop(int(draws.integers(len(nodes)))) for _ in range(count)]
        nodes.append(joined(taken))
    return nodes[0]


def sizes_in(tree: Node) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Return, for each two terms, how many terms the smallest sum has that holds both."""
    sizes = np.ones((tree.size, tree.size), np.int64)
    for node in reversed(tree.nodes()):
        for one, other in itertools.permutations(node.children, 2):
            sizes[np.ix_(one.leaves(), other.leaves())] = node.size
    return sizes


def sets_in(tree: Node) -> set[frozenset[int]]:
    """Return the terms of every partial sum, which say what a tree is."""
    return {frozenset(node.leaves()) for node in tree.nodes()}


@pytest.mark.parametrize("seed", range(12))
def test_a_tree_is_built_from_its_sizes(seed: int) -> None:
    """A random tree, with sums of several terms at once in it, is built again from what masked sums measure."""
    draws = np.random.default_rng(seed)
    tree = random_tree(int(draws.integers(2, 40)), draws)
    sizes = sizes_in(tree)
    assert sets_in(build(tree.size, lambda i, others: sizes[i, others], seed=seed)) == sets_in(tree)


def test_sizes_of_no_tree_are_refused() -> None:
    """Sizes that contradict each other make no tree."""
    sizes = sizes_in(sequence(0, 1, 2, 3))
    sizes[0, 1] = sizes[1, 0] = 4
    with pytest.raises(ContradictionError):
        build(4, lambda i, others: sizes[i, others])


def test_long_sums_need_no_recursion() -> None:
    """A sum of 20,000 terms, one after the other, is built, walked and written."""
    n = 20_000

    def sizes_of(i: int, others: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.maximum(np.maximum(i, others) + 1, 2)

    tree = build(n, sizes_of)
    assert text(tree) == f"0…{n - 1}"
    assert without(tree, n - 1)[1].size == n - 1


@pytest.mark.parametrize(
    ("tree", "written"),
    [
        (sequence(0, 1, 2, 3), "0…3"),
        (sequence(5, 7, 9, 0), "5…9 by 2 + 0"),
        (joined([sequence(0, 1, 2), sequence(3, 4, 5)]), "(0…2) + (3…5)"),
        (joined([joined([leaf(0), leaf(1), leaf(2)]), leaf(3)]), "{0, 1, 2} + 3"),
        (sequence(0, 6, 1, 2, 3), "b + 0…3"),
        (sequence(0, 1, 2, 6), "0…2 + b"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_tree_is_one_line(tree: Node, written: str) -> None:
    """Runs are shortened, parts are in brackets, sums at once in braces, and the bias is b."""
    assert text(tree, bias=6) == written


def test_a_chain_is_told_from_what_is_none() -> None:
    """The order of a chain is its terms from the first to the last; a sum of two chains has none."""
    assert chain(sequence(3, 1, 2)) == [1, 3, 2]
    assert chain(joined([sequence(0, 1), sequence(2, 3)])) is None


def test_fused_sums_are_named_by_their_width() -> None:
    """Four terms at once to the sum so far are blocks of four."""
    node = joined([leaf(i) for i in range(4)])
    for first in range(4, 16, 4):
        node = joined([node, *(leaf(i) for i in range(first, first + 4))])
    name = name_of(node, np.arange(16)[:, None], ("channel",))
    assert (name.order, name.block, name.innermost) == ("blocked", 4, "channel")


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (joined([sequence(*range(12)), leaf(12)]), "last"),
        (joined([joined([leaf(12), sequence(*range(6))]), sequence(*range(6, 12))]), "first"),
        (sequence(0, 12, *range(1, 12)), "first"),
        (sequence(*range(6), 12, *range(6, 12)), "between"),
        (joined([joined([*(leaf(i) for i in range(4)), leaf(12)]), *(leaf(i) for i in range(4, 12))]), "first"),
    ],
    ids=["last", "block", "term", "between", "fused"],
)
def test_the_bias_is_placed(tree: Node, expected: str) -> None:
    """The bias is first where sums begin with it, be it with a term or a block, last behind everything, and else between."""
    taps, sibling = without(tree, 12)
    assert _bias(tree, sibling, taps, name_of(taps, np.arange(12)[:, None], ("channel",))) == expected


def test_a_flipped_kernel_is_named() -> None:
    """A loop over the kernel from its end is found as such, and so is a block for each of its taps."""
    coordinates = np.array([(c, k) for c in range(8) for k in range(3)])
    parts = [[c * 3 + k for c in range(8)] for k in (2, 1, 0)]
    flipped = sequence(*parts[0], *parts[1], *parts[2])
    assert name_of(flipped, coordinates, ("channel", "column")).words == "one after the other, column backwards ▸ channel"
    name = name_of(joined([joined([sequence(*parts[2]), sequence(*parts[1])]), sequence(*parts[0])]), coordinates, ("channel", "column"))
    assert (name.order, name.block, name.innermost) == ("blocked", 8, "channel")
    assert "split into 3 parts" in name.also
    assert "lanes" in name.also


def test_channels_in_blocks_are_named() -> None:
    """A loop over blocks of channels, then the kernel, then the channels of a block is found as such."""
    coordinates = np.array([(c, k) for c in range(32) for k in range(3)])
    order = [c * 3 + k for block in range(2) for k in range(3) for c in range(16 * block, 16 * block + 16)]
    name = name_of(sequence(*order), coordinates, ("channel", "column"))
    assert (name.order, name.innermost) == ("sequential", "channel")
    assert name.words == "one after the other, channel in blocks of 16 ▸ column ▸ channel of 16"
