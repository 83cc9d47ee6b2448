"""Measure how near honest 16-bit sums come to what the errors of a layer may be together, in orders that the limits were not made from.

    python benchmarks/joint_limits.py [--sums N] [--seed S]

Layers of 20 to 2,304 taps and 24 to 256 elements, on the kinds of data below, are added up in each order by the judge's own addition.
The largest share of a limit that was used is printed for each kind, with the order; 1 and more is a false alarm.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import ml_dtypes
import numpy as np
import numpy.typing as npt

from convfuzz.judging.accumulation import Indices, Order, as_tree, in_blocks, in_lanes, rounded, running
from convfuzz.judging.joint_errors import JointLimits, joint_limits

Floats = npt.NDArray[np.float64]
PRECISIONS = {11: np.float16, 8: ml_dtypes.bfloat16}
TAPS = (20, 36, 64, 144, 576, 1024, 2304)


def by_sign(x: Floats, w: Floats, draw: np.random.Generator) -> tuple[Floats, Floats]:
    """Return operands whose products nearly cancel."""
    return 1 + x / 64, (1 + w / 64) * draw.permuted(np.tile([[1.0, -1.0]], (len(w), w.shape[1] // 2)), axis=1)


KINDS: dict[str, Callable[[Floats, Floats, np.random.Generator], tuple[Floats, Floats]]] = {
    "normal": lambda x, w, _: (x, w),
    "positive": lambda x, w, _: (np.abs(x), np.abs(w)),
    "cancelling": by_sign,
    "rectified": lambda x, w, _: (np.maximum(x, 0), w),
    "mostly positive": lambda x, w, _: (np.maximum(x, 0), w * 0.3 + 0.2),
    "integers": lambda x, w, _: (np.rint(4 * x), np.rint(4 * w)),
    "one site": lambda x, w, _: (np.repeat(x[:, :1], x.shape[1], axis=1), w),
    "one kernel": lambda x, w, _: (x, np.repeat(w[:1], len(w), axis=0)),
    "ones": lambda x, w, _: (np.ones_like(x), w),
    "smooth": lambda x, w, draw: (np.cumsum(x, axis=1) / 10 + draw.standard_normal((len(x), 1)), w),
    "channels of many scales": lambda x, w, draw: (x * draw.lognormal(0, 2, (len(x), 1)), w),
    "channels of many means": lambda x, w, draw: (x / 10 + draw.standard_normal((len(x), 1)), w),
    "uniform": lambda x, w, draw: (draw.random(x.shape), draw.random(w.shape)),
    "ramp": lambda x, w, _: (np.linspace(-1, 1, len(x))[:, None] + x / 10, w),
    "decaying": lambda x, w, _: (np.abs(x) * np.exp(-3 * np.arange(len(x)) / len(x))[:, None], np.abs(w)),
    "constant": lambda x, w, _: (np.full_like(x, 0.7), np.full_like(w, 0.3)),
}


def orders(count: int, draw: np.random.Generator) -> Iterator[tuple[str, Order]]:
    """Yield orders, few of which the limits are made from."""
    terms: Indices = np.arange(count)
    shuffled = draw.permutation(count)
    yield from (("in order", running(terms)), ("reversed", running(terms[::-1])), ("shuffled", running(shuffled)))
    yield "interleaved halves", running(terms.reshape(2, -1).T.reshape(-1))
    yield from ((f"blocks of {size}", in_blocks(terms, size)) for size in (8, 24, 64, 100, 256, 512) if size < count)
    yield from ((f"{lanes} lanes", in_lanes(terms, lanes)) for lanes in (2, 3, 4, 8, 32, 128) if lanes < count)
    yield from ((f"{lanes} lanes, one after the other", Order(in_lanes(terms, lanes).lines)) for lanes in (8, 32) if lanes < count)
    if count > 64:
        yield "blocks of 64 in pairs", Order(in_blocks(terms, 64).lines, in_pairs=True)
    yield from (("tree", as_tree(terms)), ("shuffled tree", as_tree(shuffled)))


def used(error: Floats, joint: JointLimits) -> float:
    """Return the largest share of a limit that errors use."""
    whole = float(np.sum((joint.y * joint.scale) ** 2))
    slope = float(np.sum(error * joint.y * joint.scale**2)) / whole
    norm, result = (float(np.linalg.norm(values * joint.scale)) for values in (error, joint.y + error))
    exact = whole**0.5
    of_result = (result - exact) / (joint.output[result > exact] - exact)
    return max(slope / joint.slope[slope > 0], norm / joint.error, of_result, along(error, joint))


def along(error: Floats, joint: JointLimits) -> float:
    """Return the largest share that errors use of how far they may go along or against the sums of some order."""
    far, most = joint.directions @ (error * joint.scale), 0.0
    if len(joint.directions):
        chances = [(joint.y + error - left * joint.y) * joint.scale for left in (0.0, joint.most)]
        length = np.sqrt(np.sum(joint.directions**2, axis=1))
        sizes = [length * max(float(np.linalg.norm(chance)), 1e-300) for chance in chances]
        opposed = np.min([-(joint.directions @ chance) / size for chance, size in zip(chances, sizes, strict=True)], axis=0)
        most = max(float(opposed.max()) / joint.against, float(np.where(far > 0, far / joint.along[1], far / joint.along[0]).max()))
    return most


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sums", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    draw = np.random.default_rng(arguments.seed)
    seen: dict[str, list[tuple[float, str]]] = {kind: [] for kind in KINDS}
    layer = 0
    while sum(map(len, seen.values())) < arguments.sums:
        kind, precision = list(KINDS)[layer % len(KINDS)], (8, 11)[layer // len(KINDS) % 2]
        taps, sites, kernels = int(draw.choice(TAPS)), int(draw.choice([3, 8, 16])), int(draw.choice([8, 16]))
        x, w = KINDS[kind](draw.standard_normal((taps, sites)), draw.standard_normal((kernels, taps)), draw)
        x, w = (a.astype(PRECISIONS[precision]).astype(np.float64) for a in (x, w))
        products = (w.T[:, :, None] * x[:, None, :]).reshape(taps, -1)
        joint = joint_limits(products[None], precision, np.arange(products.shape[1]))
        layer += 1
        if joint is None:
            continue
        for name, order in orders(taps, draw):
            for terms in (products, rounded(products, precision)):
                error = order.add_up(terms, precision)[0] - products.sum(axis=0)
                seen[kind].append((used(error[joint.elements], joint), f"{name}, {taps} taps, {precision} bits"))
    for kind, shares in seen.items():
        share, where = max(shares, default=(0.0, ""))
        print(f"{kind:26} {len(shares):7} sums   at most {share:.2f} of a limit   {where}")
    print(f"\n{sum(share >= 1 for shares in seen.values() for share, _ in shares)} beyond")


if __name__ == "__main__":
    main()
