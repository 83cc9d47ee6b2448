"""What a declared order is worth: how much sharper its tolerance is, which mistakes that catches, and that no kernel of it is accused.

    python benchmarks/orders.py [COMPARISONS]

First the median of the tolerance of any order over that of the declared one. Then kernels of that order in which one weight of 576 has
lost bits, at ten different taps each: how many are caught under either tolerance. Then COMPARISONS (2,000) of kernels of declared
orders, in all regimes of data and four dtypes: how many fail, which has to be none, and the largest ratio of error to tolerance in float32.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from of_tests.revealing.kernels import Add, Array, Kernel, Terms, backend, backwards, blocked, lanes, pairwise, sequential, split, to_bits

from convfuzz import Case, ConvConfig, DataRecipe, Numerics
from convfuzz.case.recipe import regimes_of
from convfuzz.checking.checker import Checker, fold_check
from convfuzz.judging.judge import Judge
from convfuzz.tensors.generator import make_tensors

LAYER = "conv2d_n2_c64_o4_i5_k3_f32"
ORDERS: dict[str, Callable[[Terms, Add], Array]] = {
    "sequential": sequential,
    "reversed": backwards,
    "pairwise": pairwise,
    "lanes-4": lanes(4),
    "lanes-8": lanes(8),
    "lanes-16": lanes(16),
    "blocked-32": blocked(32),
    "split-4": split(4),
    "split-64": split(64),
}


def print_sharpness() -> None:
    """Print the ratio of the tolerances of each order, and the mistakes that either catches."""
    print("One weight of 576 is rounded to 10 bits, at ten taps: in how many kernels that is caught.\n")
    print("| order | normal data | positive data | caught with any order | with the declared one |")
    print("|---|---|---|---|---|")
    for order, added in ORDERS.items():
        ratios = []
        for regime in ("normal", "positive"):
            case = Case.parse(f"{LAYER}@{regime}.1")
            judge = Judge(case, make_tensors(case))
            zeros = np.zeros(case.config.output_shape, np.float32)
            free, own = (judge.errors(zeros, one)[1] for one in (Numerics(), Numerics(order=order)))
            ratios.append(float(np.median(free / own)))
        print(
            f"| `{order}` | {ratios[0]:.2f} | {ratios[1]:.2f} | {caught(added, Numerics())} | {caught(added, Numerics(order=order))} |",
            flush=True,
        )


def caught(added: Callable[[Terms, Add], Array], declared: Numerics) -> int:
    """Return of how many taps a rounded weight is beyond the tolerance."""
    case = Case.parse(f"{LAYER}@positive.1")
    tensors = make_tensors(case)
    judge = Judge(case, tensors)
    found = 0
    for tap in np.random.default_rng(4).choice(tensors.w[0].size, 10, replace=False):
        w = tensors.w.copy().reshape(len(tensors.w), -1)
        w[:, tap] = to_bits(10)(w[:, tap])
        error, bound = judge.errors(Kernel(added)(tensors.x, w.reshape(tensors.w.shape), None, case.config), declared)
        found += bool((error > bound).any())
    return found


def print_accusations(comparisons: int) -> None:
    """Print how many comparisons of right kernels fail."""
    draws = np.random.default_rng(8)
    failed, compared, worst = [], 0, 0.0
    while compared < comparisons:
        dtype = str(draws.choice(["float32", "float32", "float64", "float16", "bfloat16"]))
        config = ConvConfig(
            op="conv",
            dims=2,
            batch=int(draws.integers(1, 3)),
            in_channels=int(draws.choice([8, 17, 32, 100])),
            out_channels=2,
            input_size=(int(draws.integers(3, 9)), int(draws.integers(3, 9))),
            kernel_size=(3, 3),
            padding=(int(draws.integers(2)), int(draws.integers(2))),
            bias=bool(draws.integers(2)),
            dtype=dtype,
        )
        case = Case(config, DataRecipe(str(draws.choice(regimes_of(dtype))), int(draws.integers(10**6))))
        for order in draws.choice([*ORDERS], 3, replace=False).tolist():
            kernel = Kernel(ORDERS[order], bias=str(draws.choice(["first", "last"])))
            if dtype == "float64":
                kernel = replace(kernel, accumulator=np.float64)
            for result in fold_check(case, Checker([backend(kernel, Numerics(order=order))]).events(case)).results:
                compared += 1
                failed += [f"{order}: {result.verdict} on {case}"] if result.verdict.failing else []
                worst = max(worst, result.worst_ratio if dtype == "float32" else 0.0)
    print(f"\n{compared} comparisons of kernels of the declared order: {len(failed)} fail; largest ratio in float32 {worst:.2f}")
    print("\n".join(failed))


if __name__ == "__main__":
    print_sharpness()
    print_accusations(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
