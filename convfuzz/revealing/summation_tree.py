"""The tree in which the terms of a sum are added, and how it is built from masked sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Sizes = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int64]
SizesOf = Callable[[int, Indices], Sizes]


class ContradictionError(Exception):
    """Two measurements that no tree explains together."""


@dataclass(frozen=True, eq=False, repr=False)
class Node:
    """A partial sum: one term where ``leaf`` is its index, else the sum of two children, or of more that are added at once.

    ``size`` counts the terms below, of which ``first`` is the least. Trees are deep, a sequential sum of n terms n levels:
    nothing here recurses.
    """

    size: int
    first: int
    leaf: int = -1
    children: tuple[Node, ...] = ()

    @property
    def is_leaf(self) -> bool:
        """Whether this is a single term."""
        return self.leaf >= 0

    def leaves(self) -> list[int]:
        """Return the indices of the terms below, children in their order."""
        found, waiting = [], [self]
        while waiting:
            node = waiting.pop()
            if node.is_leaf:
                found.append(node.leaf)
            waiting.extend(reversed(node.children))
        return found

    def nodes(self) -> list[Node]:
        """Return every node, children before their parents."""
        found, waiting = [], [self]
        while waiting:
            node = waiting.pop()
            found.append(node)
            waiting.extend(node.children)
        return found[::-1]


def leaf(index: int) -> Node:
    """Return the tree of one term."""
    return Node(1, index, index)


def joined(children: Sequence[Node]) -> Node:
    """Return the sum of several partial sums."""
    return Node(sum(child.size for child in children), min(child.first for child in children), -1, tuple(children))


def build(terms: int, sizes_of: SizesOf, *, seed: int = 0) -> Node:
    """Build the tree of ``terms`` terms from the sizes of its subtrees.

    ``sizes_of(i, others)`` measures, for each j of ``others``, how many terms the smallest partial sum has that holds both i and j.
    Those sizes, ascending, are the partial sums on the way from i to the root; the terms that share one of them are the
    other children there, which are built in the same way. With a random i a sequential sum takes about 2n measurements and a
    balanced one n·log n (Xie et al., "Revealing Floating-Point Accumulation Orders in Software/Hardware Implementations",
    2025, algorithms 3 and 4, the second for fused sums of several terms).

    Raises:
        ContradictionError: the sizes are not those of a tree.
    """
    draws = np.random.default_rng(seed)
    finished: list[Node] = []
    # A stack machine instead of recursion: each entry makes a subtree, or joins the last ones that were made.
    work: list[tuple[str, Any]] = [("build", np.arange(terms))]
    while work:
        what, given = work.pop()
        if what == "join":
            count, size = given
            children, finished[-count:] = finished[-count:], []
            node = joined(_in_order(children))
            if node.size != size:
                raise ContradictionError(f"a partial sum of {size} terms seems to have {count} parts of {node.size} terms together")
            finished.append(node)
            continue
        if len(given) == 1:
            finished.append(leaf(int(given[0])))
            continue
        pivot = int(draws.choice(given))
        others = given[given != pivot]
        sizes = sizes_of(pivot, others)
        if sizes.max() != len(given):
            raise ContradictionError(f"{len(given)} terms seem to make a partial sum of {sizes.max()}")
        steps: list[tuple[str, Any]] = [("build", np.array([pivot]))]
        for size in np.unique(sizes):
            parts = _parts(others[sizes == size], int(size), sizes_of)
            steps += [("build", part) for part in parts]
            steps.append(("join", (len(parts) + 1, int(size))))
        work.extend(reversed(steps))
    (root,) = finished
    return root


def _parts(terms: Indices, size: int, sizes_of: SizesOf) -> list[Indices]:
    """Return the children that ``terms`` are of a partial sum of ``size``: one, or several where all are added at once."""
    parts = []
    while len(terms):
        first, rest = int(terms[0]), terms[1:]
        within = sizes_of(first, rest) if len(rest) else np.zeros(0, np.int64)
        if (within > size).any():
            raise ContradictionError(f"terms of a partial sum of {size} seem to meet in one of {within.max()}")
        parts.append(np.concatenate([[first], rest[within < size]]).astype(np.int64))
        terms = rest[within >= size]
    return parts


def _in_order(children: Sequence[Node]) -> list[Node]:
    """Sort children by their first term; the sum that is carried on stays in front of single terms."""
    return sorted(children, key=lambda child: (child.is_leaf and any(not other.is_leaf for other in children), child.first))


def without(root: Node, index: int) -> tuple[Node, Node]:
    """Return the tree with one term taken out, and what that term was added to."""
    made: dict[int, Node | None] = {}
    sibling = root
    for node in root.nodes():
        if node.is_leaf:
            made[id(node)] = None if node.leaf == index else node
            continue
        left = [kept for child in node.children if (kept := made[id(child)]) is not None]
        if any(child.leaf == index for child in node.children):
            sibling = joined(left) if len(left) > 1 else left[0]
        same = len(left) == len(node.children) and all(a is b for a, b in zip(left, node.children, strict=True))
        made[id(node)] = node if same else joined(left) if len(left) > 1 else left[0] if left else None
    kept_root = made[id(root)]
    assert kept_root is not None, "a tree of more than one term"
    return kept_root, sibling


def chain(root: Node) -> list[int] | None:
    """Return the terms in the order in which a sum adds them one after the other, or ``None`` if it does not."""
    order: list[int] = []
    node = root
    while not node.is_leaf:
        inner = [child for child in node.children if not child.is_leaf]
        if len(node.children) != 2 or len(inner) > 1:
            return None
        single = [child.leaf for child in node.children if child.is_leaf]
        if inner:
            order.append(single[0])
            node = inner[0]
        else:
            return [*sorted(single), *reversed(order)]
    return [node.leaf]


def text(root: Node, bias: int = -1) -> str:
    """Return the tree as one line: (a + b + c) adds from the left, {a, b, c} at once, and 0…8 by 4 is 0 + 4 + 8; term ``bias`` is b."""
    made: dict[int, str] = {}
    waiting, tops = [root], []
    while waiting:
        node = waiting.pop()
        tops.append(node)
        if chain(node) is None:
            waiting.extend(node.children)
    for node in reversed(tops):
        order = chain(node)
        if order is not None:
            made[id(node)] = _run(order, bias)
        elif len(node.children) > 2:
            made[id(node)] = "{" + ", ".join(made[id(child)] for child in node.children) + "}"
        else:
            made[id(node)] = " + ".join(_grouped(made[id(child)], child, first=at == 0) for at, child in enumerate(node.children))
    return made[id(root)]


def _grouped(said: str, node: Node, *, first: bool) -> str:
    is_plain = node.is_leaf or len(node.children) > 2
    return said if is_plain or (first and chain(node) is None) else f"({said})"


def _run(order: list[int], bias: int) -> str:
    """Write a chain; of its first two terms, whose order is not to be seen, the bias goes first."""
    if len(order) > 1 and order[1] == bias:
        order = [order[1], order[0], *order[2:]]
    parts, at = [], 0
    while at < len(order):
        end = at
        step = order[at + 1] - order[at] if at + 1 < len(order) else 0
        while end + 1 < len(order) and order[end + 1] - order[end] == step and bias not in (order[end], order[end + 1]):
            end += 1
        if end - at >= 2:
            parts.append(f"{order[at]}…{order[end]}" + (f" by {step}" if abs(step) != 1 else ""))
            at = end + 1
        else:
            parts.append("b" if order[at] == bias else str(order[at]))
            at += 1
    return " + ".join(parts)
