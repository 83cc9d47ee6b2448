"""A summation tree in a few lines: what repeats is said once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from convfuzz.record.tree_picture import Branch, How
from convfuzz.revealing.summation_tree import Node, chain, text

_MOST_LEVELS, _MOST_BRANCHES = 14, 100
_SHOWN_FIRST = 3


@dataclass(frozen=True)
class _Sum:
    """A sum as it is shown: how its parts are added, and these."""

    how: How
    parts: tuple[Node, ...]


def outline(root: Node, bias: int = -1) -> tuple[Branch, ...]:
    """Return the outline of a tree, in which of neighbours of one form the first is shown; term ``bias`` is b.

    A tree with no such repetition is cut off where it becomes too deep or too long to read.
    """
    order = chain(root)
    if order is not None and len(order) > 1:
        return _run_of_all(order, bias)
    forms = _forms(root)
    found: list[Branch] = []
    waiting: list[tuple[Node | Branch, int]] = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        if isinstance(node, Branch):
            found.append(node)
            continue
        taken = _taken_apart(node)
        if taken is None or depth == _MOST_LEVELS or len(found) + len(waiting) > _MOST_BRANCHES:
            label = text(node, bias) if taken is None else "in an order of their own"
            found.append(Branch(depth, "run", label, node.size))
            continue
        found.append(Branch(depth, taken.how, "", node.size))
        waiting.extend(reversed(_shown(taken.parts, depth + 1, forms)))
    return tuple(found)


def _run_of_all(order: list[int], bias: int) -> tuple[Branch, ...]:
    """Return the outline of a tree that is a single run: its first terms and its last ones."""
    if order[1] == bias:  # the order of the first two is not to be seen
        order = [order[1], order[0], *order[2:]]
    terms = [Branch(1, "run", "b" if term == bias else str(term), 1) for term in order]
    left = len(order) - 2 * _SHOWN_FIRST
    if left > 1:
        terms[_SHOWN_FIRST:-_SHOWN_FIRST] = [Branch(1, "alike", f"… {left:,} more, in turn", 1)]
    return (Branch(0, "in turn", "", len(order)), *terms)


def _taken_apart(node: Node) -> _Sum | None:
    """Return the parts of a sum, or ``None`` where it is a run of terms: each added to the sum of those before it."""
    if chain(node) is not None:
        return None
    if len(node.children) > 2:
        return None if all(child.is_leaf for child in node.children) else _Sum("at once", node.children)
    others: list[Node] = []
    while len(node.children) == 2 and chain(node) is None:
        runs = [child for child in node.children if chain(child) is not None]
        if len(runs) != 1:
            break
        others.append(runs[0])
        node = next(child for child in node.children if child is not runs[0])
    if not others:
        return _Sum("pair", node.children)
    is_pair_of_runs = len(node.children) == 2 and chain(node) is None and all(chain(child) is not None for child in node.children)
    first = node.children if is_pair_of_runs else (node,)
    return _Sum("in turn", (*first, *reversed(others)))


def _shown(parts: Sequence[Node], depth: int, forms: dict[int, Hashable]) -> list[tuple[Node | Branch, int]]:
    """Return the parts to show, and in place of those that are like the ones before them how many there are."""
    shown: list[tuple[Node | Branch, int]] = []
    at = 0
    while at < len(parts):
        end = at
        while end + 1 < len(parts) and forms[id(parts[end + 1])] == forms[id(parts[at])]:
            end += 1
        alike = end - at + 1
        is_run = chain(parts[at]) is not None
        first = _SHOWN_FIRST if is_run else 1
        if alike > first + is_run:
            left = alike - first - is_run
            shown += [(part, depth) for part in parts[at : at + first]]
            terms = left * parts[at].size
            said = "another such sum" if left == 1 else f"… {left:,} more such sums"
            shown.append((Branch(depth, "alike", said, terms), depth))
            shown += [(part, depth) for part in parts[end + 1 - is_run : end + 1]]
        else:
            shown += [(part, depth) for part in parts[at : end + 1]]
        at = end + 1
    return shown


def _forms(root: Node) -> dict[int, Hashable]:
    """Return, for each node, a number that nodes of one form share, whatever terms they have."""
    numbers: dict[Hashable, int] = {}
    forms: dict[int, Hashable] = {}
    for node in root.nodes():
        form = tuple(sorted(forms[id(child)] for child in node.children))  # type: ignore[type-var]
        forms[id(node)] = numbers.setdefault(form, len(numbers))
    return forms
