"""Measure whether sums that are kept in 16 bits are told from wrong ones: honest sums in six orders, and five kinds of wrong ones.

    python benchmarks/short_sums.py [--layers N] [--taps N …] [--formats F …] [--data D …] [--side N] [--seed S] [--processes N]

A layer is a 1×1 convolution of 8 sites by 8 kernels, or of ``--side`` of each, on normal, positive and cancelling data. Its sums
are added up by NumPy in float16 or bfloat16 themselves, product by product: in order, reversed, shuffled, in 16 lanes, in blocks of
32, and as a balanced tree. None of them may be beyond the tolerance of the declared accumulator. Wrong are: all zeros, twice the
sums, the negative sums, an eighth of the taps dropped, and a block of 16 taps dropped; the first three are made of sums in order.

A layer counts where both the part that is wrong and the error of the output are larger than what honest sums were seen to lose,
relative to the root mean square of the layer's outputs. (Twice a sum that has lost half of itself is right.) That is read in two ways, of
which each cell has both: the largest error of the honest sums of that very layer, and of any layer of the row. "26/28 5/5" are
26 refused of 28 that count by the first, 5 of 5 by the second. Where less than 99 % are refused, the count is marked with "!".
Without arguments it is the whole goal, 10,020 layers.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.judging.judge import Judge
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Tensors

Floats = npt.NDArray[np.float64]
Short = npt.NDArray[Any]
DTYPES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
KINDS = ("normal", "positive", "cancelling")
WRONG = ("y·0", "2·y", "−y", "1/8 dropped", "16 dropped")
LANES, BLOCK = 16, 32
LAYERS = {64: 457, 256: 457, 1024: 456, 4096: 200, 16384: 100}
"""How many layers each row of so many taps has: with six rows each, 10,020."""
FEWEST_LAYERS = 100
SIDE = 8
AT_ONCE = 32
"""How many layers of up to 1,024 taps are added up together, which are no more products than a processor's cache holds."""


def running(p: Short) -> Short:
    """Add the first axis in order."""
    total = np.zeros(p.shape[1:], p.dtype)
    for term in p:
        total = total + term
    return total


def tree(p: Short) -> Short:
    """Add neighbours along the first axis, then neighbouring sums."""
    while len(p) > 1:
        pairs = p[:-1:2] + p[1::2]
        p = np.concatenate([pairs, p[-1:]]) if len(p) % 2 else pairs
    return p[0]


def shuffled(p: Short) -> Short:
    """Add in a shuffled order that depends on the number of products only."""
    return running(p[np.random.default_rng(len(p)).permutation(len(p))])


ORDERS: dict[str, Callable[[Short], Short]] = {
    "sequential": running,
    "reversed": lambda p: running(p[::-1]),
    "shuffled": shuffled,
    "lanes": lambda p: tree(running(p.reshape(-1, LANES, *p.shape[1:]))),
    "blocks": lambda p: running(running(p.reshape(-1, BLOCK, *p.shape[1:]).swapaxes(0, 1))),
    "tree": tree,
}


def operands(kind: str, taps: int, dtype: np.dtype[Any], draw: np.random.Generator, side: int) -> tuple[Short, Short]:
    """Draw x, (taps, sites), and w, (kernels, taps)."""
    x, w = draw.standard_normal((taps, side)), draw.standard_normal((side, taps))
    if kind == "positive":
        x, w = np.abs(x), np.abs(w)
    elif kind == "cancelling":
        x, w = 1 + x / 64, (1 + w / 64) * draw.permuted(np.tile([[1.0, -1.0]], (side, taps // 2)), axis=1)
    return x.astype(dtype), w.astype(dtype)


@dataclass
class Row:
    """What was seen of one kind of data, number of taps and format.

    ``honest`` has the largest error of the honest sums of each layer, ``wrong`` how far off wrong ones are, and whether they were refused.
    """

    honest: list[float] = field(default_factory=list)
    ratio: float = 0.0
    accused: int = 0
    wrong: dict[str, list[tuple[float, bool]]] = field(default_factory=dict)

    def add(self, other: Row) -> None:
        """Add what was seen in other layers."""
        self.honest += other.honest
        self.ratio, self.accused = max(self.ratio, other.ratio), self.accused + other.accused
        for what, seen in other.wrong.items():
            self.wrong.setdefault(what, []).extend(seen)

    def counted(self, what: str, against: str) -> list[bool]:
        """Return which layers that count were refused."""
        limits = self.honest if against == "layer" else [max(self.honest)] * len(self.honest)
        return [refused for (part, refused), honest in zip(self.wrong[what], limits, strict=True) if part > honest]

    def line(self) -> str:
        """Return the row of the table."""
        cells = []
        for what in WRONG:
            both = (self.counted(what, against) for against in ("layer", "row"))
            cells.append(" ".join(f"{sum(one)}/{len(one)}{'' if sum(one) >= 0.99 * len(one) else '!'}" for one in both))
        return f"{len(self.honest):6} {self.accused:8} {self.ratio:6.2f} {max(self.honest):9.3f}   " + "".join(
            f"{cell:>19}" for cell in cells
        )


def measure(kind: str, taps: int, name: str, layers: int, seed: int, side: int = SIDE) -> Row:
    """Judge the sums of so many layers of ``side`` kernels by as many sites."""
    dtype, draw, row = DTYPES[name], np.random.default_rng([seed, taps, KINDS.index(kind)]), Row()
    at_once = max(AT_ONCE * 1024 * SIDE**2 // (taps * side**2), 1)
    for first in range(0, layers, at_once):
        drawn = [operands(kind, taps, dtype, draw, side) for _ in range(min(at_once, layers - first))]
        products = np.concatenate([(w.T[:, :, None] * x[:, None, :]).reshape(taps, -1) for x, w in drawn], axis=1)
        block = int(draw.integers(taps - 15))
        honest = [add(products) for add in ORDERS.values()]
        shorter = [running(products[taps // 8 :]), running(np.delete(products, slice(block, block + 16), axis=0))]
        dropped = [products[at].astype(np.float64).sum(axis=0) for at in (slice(taps // 8), slice(block, block + 16))]
        for k, (x, w) in enumerate(drawn):
            at = slice(k * side * side, (k + 1) * side * side)
            row.add(judged(x, w, name, [a[at] for a in honest], [a[at] for a in shorter], [a[at] for a in dropped]))
    return row


def judged(x: Short, w: Short, name: str, honest: list[Short], shorter: list[Short], dropped: list[Floats]) -> Row:
    """Judge the sums of one layer."""
    taps, side = x.shape
    config = ConvConfig(dims=1, in_channels=taps, out_channels=side, input_size=(side,), kernel_size=(1,), dtype=name)
    judge, declared, row = Judge(Case(config), Tensors(x[None], w[:, :, None], None)), Numerics(accumulator=name), Row()
    y = judge.expected.y.reshape(-1)
    scale = float(np.sqrt(np.mean(y * y)))

    def largest(values: Short | Floats) -> float:
        return float(np.abs(values.astype(np.float64)).max()) / scale

    for total in honest:
        found = judge.judge(total.reshape(1, side, side), declared)
        assert found.discrepancy is not None, "the shape is right"
        row.accused += found.verdict.failing
        row.ratio = max(row.ratio, found.discrepancy.ratio or 0.0)
    row.honest.append(max(largest(total.astype(np.float64) - y) for total in honest))
    whole = honest[0]
    outputs = (np.zeros_like(whole), whole + whole, -whole, *shorter)
    for what, part, output in zip(WRONG, (y, y, 2.0 * y, *dropped), outputs, strict=True):
        refused = judge.judge(output.reshape(1, side, side), declared).verdict.failing
        row.wrong[what] = [(min(largest(part), largest(output.astype(np.float64) - y)), refused)]
    return row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, help="of each row (default: 457 to 100, the fewer the more taps, 10,020 in all)")
    parser.add_argument("--taps", type=int, nargs="+", default=list(LAYERS))
    parser.add_argument("--formats", choices=DTYPES, nargs="+", default=list(DTYPES))
    parser.add_argument("--data", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--side", type=int, default=SIDE, help="how many sites and kernels a layer has")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    began = time.perf_counter()
    print(f"{'':33}layers  accused  ratio    honest   " + "".join(f"{name:>19}" for name in WRONG))
    rows = list(itertools.product(arguments.formats, arguments.data, sorted(arguments.taps)))
    layers = {taps: arguments.layers or LAYERS.get(taps, FEWEST_LAYERS) for taps in arguments.taps}
    with ProcessPoolExecutor(arguments.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = [
            [
                pool.submit(measure, kind, taps, name, min(AT_ONCE, layers[taps] - first), arguments.seed + 1000 * first, arguments.side)
                for first in range(0, layers[taps], AT_ONCE)
            ]
            for name, kind, taps in rows
        ]
        for (name, kind, taps), of_row in zip(rows, parts, strict=True):
            row = Row()
            for part in of_row:
                row.add(part.result())
            print(f"{name:10} {kind:12} {taps:8} {row.line()}", flush=True)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
