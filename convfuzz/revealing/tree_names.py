"""The name of a summation tree: sequential, reversed, pairwise, blocked, lanes, split, or unknown; and which axis is innermost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from convfuzz.revealing.summation_tree import Node, chain

Order = npt.NDArray[np.int64]

CHANNEL_BLOCKS = (4, 8, 16, 32, 64)
"""The channels that kernels lay side by side in memory, as in NCHWc layouts."""


@dataclass(frozen=True)
class Name:
    """What a tree is called, with the k of its name as ``block``; ``innermost`` is the axis that varies fastest, where one does.

    ``words`` say it in a sentence; ``also`` is another name of the very same tree, where it has two.
    """

    order: str = "unknown"
    block: int | None = None
    innermost: str | None = None
    words: str = "an order that has no name here"
    also: str = ""


@dataclass(frozen=True)
class _Nest:
    """Loops over the taps: the place of each tap in them, the axes from the outermost on, and how many steps the inner ones make."""

    places: Order
    axes: tuple[str, ...]
    inner: tuple[int, ...]

    @property
    def innermost(self) -> str | None:
        return self.axes[-1].split()[0] if self.axes else None

    @property
    def words(self) -> str:
        return " ▸ ".join(self.axes)


def name_of(root: Node, coordinates: Order, axes: Sequence[str], *, begun: bool = False) -> Name:
    """Name the tree of the taps at ``coordinates``, one column for each of ``axes``; the bias is no part of it.

    A tree is named only if it is one of the named ones term by term, in some nest of loops over the axes, one of which may
    be cut into blocks of channels. Where it is one in several nests, the order of the weight's memory is meant. ``begun`` says
    that the bias is added to the first of several runs, as where each is added to a sum that begins with it.
    """
    order = chain(root)
    nests = list(_nests(coordinates, axes))
    if order is not None:
        return _sequential(order, nests)
    if any(len(node.children) > 2 for node in root.nodes()):
        return _fused(root, nests)
    if root.size >= 8 and _is_balanced(root):
        return _pairwise(root, nests)
    return _of_chains(root, nests, begun=begun)


def _nests(coordinates: Order, axes: Sequence[str]) -> Iterator[_Nest]:
    """Yield the nests of loops, that of the weight's memory first; axes of one step take no part."""
    extents = coordinates.max(axis=0) + 1
    loops = [(name, coordinates[:, i]) for i, name in enumerate(axes) if extents[i] > 1]
    for ordered in itertools.permutations(loops):
        yield _nest(ordered)
    backwards = [(name, steps) if name == axes[0] else (f"{name} backwards", steps.max() - steps) for name, steps in loops]
    for ordered in itertools.permutations(backwards):  # of a flipped kernel, as that of a transposed convolution
        yield _nest(ordered)
    channels = int(extents[0])
    for block in CHANNEL_BLOCKS:
        if channels <= block or len(loops) < 2:
            continue
        outer = (f"channel in blocks of {block}", coordinates[:, 0] // block)
        inner = (f"channel of {block}", coordinates[:, 0] % block)
        for ordered in itertools.permutations([outer, *loops[1:], inner]):
            at = [name for name, _ in ordered]
            if at.index(outer[0]) < at.index(inner[0]) - 1:
                yield _nest(ordered)
    if channels > 1:
        yield from _in_pairs(coordinates, loops)


def _in_pairs(coordinates: Order, loops: Sequence[tuple[str, Order]]) -> Iterator[_Nest]:
    """Yield the nests whose innermost step is the later channel of a pair, then the earlier: a dot product of two 16-bit words.

    Intel's VDPBF16PS adds the product of the upper words first (Software Developer's Manual, volume 2C).
    """
    pair = ("channel in blocks of 2", coordinates[:, 0] // 2)
    for ordered in itertools.permutations([pair, *loops[1:]]):
        yield _nest([*ordered, ("channel of 2, the later first", 1 - coordinates[:, 0] % 2)])


def _nest(loops: Sequence[tuple[str, Order]]) -> _Nest:
    order = np.lexsort([steps for _, steps in reversed(loops)])
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    extents = [int(steps.max() - steps.min()) + 1 for _, steps in loops]
    return _Nest(places, tuple(name for name, _ in loops), tuple(math.prod(extents[at:]) for at in range(1, len(extents))))


def _sequential(order: list[int], nests: list[_Nest]) -> Name:
    """Name a chain; which of its first two terms came first is not to be seen."""
    n = len(order)
    for nest in nests:
        places = nest.places[order]
        if _runs(places, np.arange(n)):
            return Name("sequential", None, nest.innermost, f"one after the other, {nest.words}")
        if _runs(places, np.arange(n)[::-1]):
            return Name("reversed", None, nest.innermost, f"one after the other from the last to the first, {nest.words}")
    return Name("sequential", None, None, "one after the other, in an order of its own")


def _runs(places: Order, wanted: Order) -> bool:
    return bool(np.array_equal(places[2:], wanted[2:]) and set(places[:2].tolist()) == set(wanted[:2].tolist()))


def _is_balanced(root: Node) -> bool:
    """Whether the tree is as shallow as one of pairs can be."""
    depth: dict[int, int] = {}
    for node in root.nodes():
        depth[id(node)] = 0 if node.is_leaf else 1 + max(depth[id(child)] for child in node.children)
    return depth[id(root)] == (root.size - 1).bit_length()


def _pairwise(root: Node, nests: list[_Nest]) -> Name:
    """Name a balanced tree after which terms it pairs: neighbours, or those half of the sum apart."""
    for nest in nests:
        if all(np.ptp(nest.places[leaves]) == len(leaves) - 1 for leaves in _leaf_sets(root)):
            return Name("pairwise", None, nest.innermost, f"neighbours first, as a balanced tree, {nest.words}")
    for nest in nests:
        if all(len(set(np.diff(np.sort(nest.places[leaves])).tolist())) <= 1 for leaves in _leaf_sets(root)):
            return Name("pairwise", None, nest.innermost, f"terms far apart first, as a balanced tree, {nest.words}")
    return Name("pairwise", None, None, "a balanced tree, in an order of its own")


def _leaf_sets(root: Node) -> Iterator[list[int]]:
    below: dict[int, list[int]] = {}
    for node in root.nodes():
        below[id(node)] = [node.leaf] if node.is_leaf else [one for child in node.children for one in below[id(child)]]
        if not node.is_leaf:
            yield below[id(node)]


def _fused(root: Node, nests: list[_Nest]) -> Name:
    """Name a sum of fused sums: groups of k terms that are added at once, to the sum so far or to each other."""
    groups, node, is_chain = [], root, True
    while not node.is_leaf:
        inner = [child for child in node.children if not child.is_leaf]
        if len(inner) > 1:
            is_chain = False
            break
        groups.append([child.leaf for child in node.children if child.is_leaf])
        if not inner:
            break
        node = inner[0]
    if not is_chain:
        return Name(words="sums of several terms at once, in an order that has no name here")
    groups.reverse()
    width = max(len(group) for group in groups)
    for nest in nests:
        ends = [sorted(nest.places[group].tolist()) for group in groups]
        if [place for group in ends for place in group] == list(range(root.size)) and all(len(group) == width for group in groups[:-1]):
            words = f"{width} terms at once to the sum so far, {nest.words}"
            return Name("blocked", width, nest.innermost, words)
    return Name(words="terms at once to the sum so far, in an order of its own")


def _of_chains(root: Node, nests: list[_Nest], *, begun: bool) -> Name:
    """Name a sum of chains by how these lie in the nest and how they are added: lanes, split, blocked."""
    pieces, tail, upper = _pieces(root)
    if len(pieces) < 2:
        return Name()
    names = list(_in_nests(pieces, tail, upper, nests, begun=begun))
    if not names:
        return Name(words=f"{len(pieces)} sums, each one after the other, of terms in an order of their own")
    # As many lanes as no vector has are rather a part for each step of an outer loop.
    first = next((name for name in names if name.order != "lanes" or len(pieces) & (len(pieces) - 1) == 0), names[0])
    other = next((name for name in names if name.order != first.order), None)
    return replace(first, also=", or ".join(said for said in (first.also, other.words if other else "") if said))


def _in_nests(pieces: list[list[int]], tail: list[int], upper: str, nests: list[_Nest], *, begun: bool) -> Iterator[Name]:
    """Yield what chains are called in each nest in which they have a name."""
    added = {"chain": "one after the other", "tree": "as a balanced tree", "other": "in an order of their own"}[upper]
    for nest in nests:
        places = [nest.places[piece] for piece in pieces]
        ends = nest.places[tail]
        length, count = max(map(len, places)), len(places)
        rest = f", then {len(tail)} left over" if tail else ""
        if _are_lanes(places, ends):
            also = f"split into {count} parts" if _are_parts(places, ends) else ""
            words = f"{count} lanes, each one after the other, added {added}{rest}; {nest.words}"
            yield Name("lanes", count, nest.innermost, words, also)
        elif _are_parts(places, ends):
            if upper != "tree" and (begun or _are_blocks(length, count, nest)):
                also = f"split into {count} parts"
                yield Name("blocked", length, nest.innermost, f"blocks of {length}, added {added}{rest}; {nest.words}", also)
            else:
                also = f"blocked by {length}" if upper != "tree" else ""
                yield Name("split", count, nest.innermost, f"{count} parts of {length}, added {added}{rest}; {nest.words}", also)


def _are_blocks(length: int, count: int, nest: _Nest) -> bool:
    """Whether runs that are added one after the other, or in groups, are rather blocks than parts, which are the same tree.

    They are blocks where each is a whole inner loop, or where its length is a power of two and their number is none; parts the other
    way round; else whichever is fewer.
    """
    if length in nest.inner:
        return True
    is_round, are_round = (number & (number - 1) == 0 for number in (length, count))
    return is_round if is_round != are_round else length <= count


def _pieces(root: Node) -> tuple[list[list[int]], list[int], str]:
    """Return the chains that a tree adds up, single terms added behind all of them, and the form of the tree above the chains."""
    tail: list[int] = []
    node = root
    while len(node.children) == 2 and sum(child.is_leaf for child in node.children) == 1 and chain(node) is None:
        single, inner = sorted(node.children, key=lambda child: not child.is_leaf)
        tail.append(single.leaf)
        node = inner
    pieces: list[list[int]] = []
    depth, waiting, is_chain = 0, [(node, 0)], True
    while waiting:
        at, level = waiting.pop()
        order = chain(at)
        if order is not None:
            pieces.append(order)
            depth = max(depth, level)
            continue
        is_chain = is_chain and sum(chain(child) is None for child in at.children) <= 1
        waiting.extend((child, level + 1) for child in at.children)
    upper = "tree" if depth <= max(len(pieces) - 1, 1).bit_length() and len(pieces) != 3 else "chain" if is_chain else "other"
    if len(pieces) == 2 or (is_chain and depth == len(pieces) - 1 and len(pieces) == 3):
        upper = "chain"
    return pieces, tail[::-1], upper


def _are_lanes(places: list[Order], tail: Order) -> bool:
    """Whether piece j is every k-th place from place j on, for k pieces, and the tail is what is left at the end."""
    count = len(places)
    starts = sorted(int(piece.min()) for piece in places)
    if starts != list(range(count)) or min(map(len, places)) < 2:
        return False
    return all(_ascends(piece, count) for piece in places) and _fills(places, tail)


def _are_parts(places: list[Order], tail: Order) -> bool:
    """Whether each piece is a run of neighbouring places, all of one length but for the last or by one."""
    lengths = [len(piece) for piece in sorted(places, key=lambda piece: int(piece.min()))]
    is_even = len(set(lengths[:-1])) == 1 and lengths[-1] <= lengths[0]
    if not (is_even or max(lengths) - min(lengths) <= 1):
        return False
    return all(_ascends(piece, 1) for piece in places) and _fills(places, tail)


def _ascends(piece: Order, step: int) -> bool:
    wanted = int(piece.min()) + step * np.arange(len(piece))
    return _runs(piece, wanted)


def _fills(places: list[Order], tail: Order) -> bool:
    """Whether the pieces hold all places but the last ones, which the tail has."""
    held = sorted(int(place) for piece in places for place in piece)
    return held == list(range(len(held))) and sorted(tail.tolist()) == list(range(len(held), len(held) + len(tail)))
