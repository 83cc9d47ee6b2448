"""What guard pages and canaries cost: a kernel's checked cases with them, by the same without, in one process.

python benchmarks/guards.py
"""

from __future__ import annotations

import statistics
import time
from functools import partial

import torch

import convfuzz
from convfuzz import Case, ConvConfig
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.checking.checker import Checker, fold_check
from convfuzz.tensors.guards import Guards

LAYERS = {"small": "conv2d_n2_c4_o8_i9x7_k3_b_f32@integers.{}", "large": "conv2d_n4_c32_o64_i56_k3_p1_b_f32@normal.{}"}
ROUNDS = {"small": 200, "large": 6}


def kernel(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, config: ConvConfig) -> torch.Tensor:
    """Compute the layer by PyTorch."""
    return torch.nn.functional.conv2d(x, w, b, padding=config.pads[0][0])


def checker(*, guards: bool) -> Checker:
    """Return a checker of the kernel, guarded as in a campaign or not at all."""
    declare = convfuzz.backend(tensors="torch", ops=("conv",), dims=(2,), gradients=False, guards=guards)
    return Checker([KernelBackend("kernel", declare(partial(kernel)))], guards=Guards())


def main() -> None:
    """Print the ratio for each size of layer."""
    checkers = {guards: checker(guards=guards) for guards in (False, True)}
    for size, line in LAYERS.items():
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for seed in range(-1, ROUNDS[size]):
            for guards in (False, True):
                case = Case.parse(line.format(seed + 1))
                began = time.perf_counter()
                result = fold_check(case, checkers[guards].events(case))
                if seed >= 0:  # the first compiles the reference
                    seconds[guards].append(time.perf_counter() - began)
                assert not result.failures, result.failures
        medians = {guards: statistics.median(times) for guards, times in seconds.items()}
        print(f"{size}: {medians[True] / medians[False]:.2f} times {1e3 * medians[False]:.2f} ms")


if __name__ == "__main__":
    main()
