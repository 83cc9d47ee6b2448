"""Measure whether sums that are kept in 16 bits are told from wrong ones: honest sums in six orders, and five kinds of wrong ones.

    python benchmarks/short_sums.py [--layers N] [--taps N …] [--seed S]

A layer is a 1×1 convolution of 8 sites by 8 kernels, on normal, positive and cancelling data. Its sums are added up by NumPy in
float16 or bfloat16 themselves, product by product: in order, reversed, shuffled, in 16 lanes, in blocks of 32, and as a balanced
tree. None of them may be beyond the tolerance of the declared accumulator. Wrong are: all zeros, twice the sums, the negative
sums, an eighth of the taps dropped, and a block of 16 taps dropped. A layer counts where the wrong part is larger than
the largest error of an honest sum seen in any layer of that row, relative to the root mean square of the layer's outputs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
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
SITES = KERNELS = 8
LANES, BLOCK = 16, 32


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


def operands(kind: str, taps: int, dtype: np.dtype[Any], draw: np.random.Generator) -> tuple[Short, Short]:
    """Draw x, (taps, sites), and w, (kernels, taps)."""
    x, w = draw.standard_normal((taps, SITES)), draw.standard_normal((KERNELS, taps))
    if kind == "positive":
        x, w = np.abs(x), np.abs(w)
    elif kind == "cancelling":
        x, w = 1 + x / 64, (1 + w / 64) * draw.permuted(np.tile([[1.0, -1.0]], (KERNELS, taps // 2)), axis=1)
    return x.astype(dtype), w.astype(dtype)


@dataclass
class Row:
    """What was seen of one kind of data, number of taps and format."""

    honest: float = 0.0
    ratio: float = 0.0
    accused: int = 0
    layers: int = 0
    wrong: dict[str, list[tuple[float, bool]]] = field(default_factory=dict)

    def __str__(self) -> str:
        cells = []
        for parts in self.wrong.values():
            counted = [refused for part, refused in parts if part > self.honest]
            cells.append(f"{sum(counted)}/{len(counted)}")
        return f"{self.layers:6} {self.accused:8} {self.ratio:6.2f} {self.honest:9.3f}   " + "".join(f"{cell:>12}" for cell in cells)


def measure(kind: str, taps: int, name: str, layers: int, seed: int) -> Row:
    """Judge the sums of so many layers."""
    dtype, draw, row = DTYPES[name], np.random.default_rng([seed, taps, KINDS.index(kind)]), Row()
    config = ConvConfig(dims=1, in_channels=taps, out_channels=KERNELS, input_size=(SITES,), kernel_size=(1,), dtype=name)
    declared = Numerics(accumulator=name)
    for _ in range(layers):
        x, w = operands(kind, taps, dtype, draw)
        judge = Judge(Case(config), Tensors(x[None], w[:, :, None], None))
        y = judge.expected.y[0]
        scale = float(np.sqrt(np.mean(y * y)))
        products = w.T[:, :, None] * x[:, None, :]
        row.layers += 1
        for add in ORDERS.values():
            total = add(products)
            found = judge.judge(total[None], declared)
            assert found.discrepancy is not None, "the shape is right"
            row.accused += found.verdict.failing
            row.ratio = max(row.ratio, found.discrepancy.ratio or 0.0)
            row.honest = max(row.honest, float(np.abs(total.astype(np.float64) - y).max()) / scale)
        whole = running(products)
        first = int(draw.integers(taps - 15))
        for what, part, wrong in (
            ("zero", y, np.zeros_like(whole)),
            ("twice", y, whole + whole),
            ("negative", 2 * y, -whole),
            ("eighth", products[: taps // 8].astype(np.float64).sum(axis=0), running(products[taps // 8 :])),
            (
                "block",
                products[first : first + 16].astype(np.float64).sum(axis=0),
                running(np.delete(products, slice(first, first + 16), axis=0)),
            ),
        ):
            refused = judge.judge(wrong[None], declared).verdict.failing
            row.wrong.setdefault(what, []).append((float(np.abs(part).max()) / scale, refused))
    return row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=330, help="of each row (default 330: 9,900 in all)")
    parser.add_argument("--taps", type=int, nargs="+", default=[64, 256, 1024, 4096, 16384])
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    began = time.perf_counter()
    names = ("y·0", "2·y", "−y", "1/8 dropped", "16 dropped")
    print(f"{'':33}layers  accused  ratio    honest   " + "".join(f"{name:>12}" for name in names))
    for name in DTYPES:
        for kind in KINDS:
            for taps in arguments.taps:
                row = measure(kind, taps, name, arguments.layers, arguments.seed)
                print(f"{name:10} {kind:12} {taps:8} {row}", flush=True)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
