"""Time the reference against PyTorch's float64 convolution computing the same three sums, on one thread.

    python benchmarks/reference.py [--rounds N]

For each shape: the median time of ``reference`` (float32 operands in, conversion included), that of three PyTorch
convolutions (x with w, |x| with |w|, x² with w²; operands already float64, magnitudes and squares taken beforehand),
and the ratio. Rounds are interleaved, so that a busy machine slows both alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from convfuzz.case.config import ConvConfig
from convfuzz.oracle import reference

CASES = (
    "conv2d_c64_o64_i56_k3_p1_f32",
    "conv2d_n16_c16_o32_i32_k3_p1_f32",
    "conv2d_c256_o128_i13_k3_p1_f32",
    "conv2d_c64_o64_g64_i32_k3_p1_f32",
    "conv2d_n8_c32_o64_i28_k1_f32",
    "conv3d_c16_o16_i8x16x16_k3_p1_f32",
    "conv1d_n4_c32_o32_i256_k5_p2_f32",
    "conv2d_c32_o32_i57_k3_s2_p1_f32",
    "conv2d_n2_c8_o16_i17x19_k3_p1_f32",
    "conv2d_n2_c3_o64_i224_k7_s2_p3_f32",
    "conv2d_c512_o512_i3_k3_f32",
    "conv2d_c32_o32_i32_k3_p2_d2_f32",
    "convt2d_c32_o32_i28_k3_s2_p1_f32",
)
TARGET = 1.5


def torch_three_sums(config: ConvConfig, x: np.ndarray, w: np.ndarray) -> Callable[[], None]:
    """Return a function that runs PyTorch's convolution on the values, magnitudes and squares."""
    name = f"conv{'_transpose' if config.op == 'conv_transpose' else ''}{config.dims}d"
    convolve = getattr(torch.nn.functional, name)
    x64, w64 = torch.from_numpy(x).double(), torch.from_numpy(w).double()
    operands = [(x64, w64), (x64.abs(), w64.abs()), (x64 * x64, w64 * w64)]
    padding = [lo for lo, _ in config.pads]

    def run() -> None:
        for a, b in operands:
            convolve(a, b, stride=config.stride, padding=padding, dilation=config.dilation, groups=config.groups)

    return run


def median_times(functions: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Return each function's median time in seconds over interleaved rounds."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for function, measured in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            measured.append(time.perf_counter() - start)
    return [statistics.median(measured) for measured in times]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25, help="interleaved repetitions per shape (default 25)")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    ratios = {}
    print(f"{'case':40} {'reference':>12} {'PyTorch x3':>12} {'ratio':>7}")
    for line in CASES:
        config = ConvConfig.parse(line)
        x = rng.standard_normal(config.input_shape, dtype=np.float32)
        w = rng.standard_normal(config.weight_shape, dtype=np.float32)
        functions: list[Callable[[], object]] = [partial(reference, config, x, w), torch_three_sums(config, x, w)]
        median_times(functions, rounds=2)  # compilation, caches
        ours, theirs = median_times(functions, rounds)
        ratios[line] = ours / theirs
        print(f"{line:40} {ours * 1e6:9.0f} us {theirs * 1e6:9.0f} us {ratios[line]:7.2f}")
    worst = max(ratios, key=lambda line: ratios[line])
    print(f"\ngeometric mean {statistics.geometric_mean(ratios.values()):.2f}, worst {ratios[worst]:.2f} ({worst}); goal {TARGET}")


if __name__ == "__main__":
    main()
