"""Measure how close backends and correct orders of summation come to the tolerance that their declared arithmetic allows.

    python benchmarks/bounds.py [--configurations N] [--seed S] [--backends A,B]

Random 2-D configurations: groups 1 to 3, up to 144 input channels, kernels 1, 3 and 5, stride 1 or 2, padding 0 to 2, batch
up to 17, half of them with a bias; normal and positive data in turn. *over* counts the configurations with any element beyond
the tolerance, or NaN or Inf; *ratio* is the largest error over its tolerance; e/(u·S) is shown where the accumulator is the
case's own dtype, since the output's rounding hides it elsewhere. Further tables: five correct orders of summation, what
happens when a declaration is withdrawn, every pass of both operations, complex numbers, and subnormal data.
"""

from __future__ import annotations

import argparse
import random
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt
from of_tests.planted.correct import CORRECT

from convfuzz.backends import Backend, resolve
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.case import Case, DataRecipe
from convfuzz.case.config import ConvConfig
from convfuzz.judging.judge import Judge
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import make_tensors

BACKENDS = ("torch", "torch:native", "torch:channels_last", "tensorflow")
WITH_PASSES = ("torch", "torch:native", "tensorflow")
DTYPES = ("float32", "bfloat16", "float16", "float64")
ORDINARY = ("normal", "positive")
LARGEST_FLOPS, LARGEST_FLOPS_OF_AN_ORDER = 30_000_000, 1_000_000
Change = Callable[[Numerics], Numerics]


def configurations(
    dtype: str, seed: int, *, dims: int = 2, depthwise: bool = False, most_batch: int = 17, most_flops: int = LARGEST_FLOPS
) -> Iterator[ConvConfig]:
    """Yield random valid configurations without end."""
    source = random.Random(seed)  # noqa: S311 - a reproducible sequence is what is wanted

    def sizes(low: int, high: int) -> tuple[int, ...]:
        return tuple(source.randint(low, high) for _ in range(dims))

    while True:
        groups = source.randint(2, 24) if depthwise else source.randint(1, 3) if dims == 2 else 1
        per_group = 1 if depthwise else source.randint(1 if groups == 1 else 2, 144 // groups)
        config = ConvConfig(
            dims=dims,
            batch=source.randint(1, most_batch),
            in_channels=groups * per_group,
            out_channels=groups * source.randint(1, 2 if depthwise else 48 // groups),
            groups=groups,
            input_size=sizes(5, 14),
            kernel_size=tuple(source.choice((1, 3, 5)) for _ in range(dims)),
            stride=(source.randint(1, 2),) * dims if depthwise else sizes(1, 2),
            padding=tuple((side, side) for side in sizes(0, 2)),
            bias=source.random() < 0.5,
            dtype=dtype,
        )
        if config.is_valid and config.flops <= most_flops:
            yield config


@dataclass
class Row:
    """One line of a table: how the outputs of a backend compare with one declaration."""

    compared: int = 0
    over: int = 0
    ratio: float = 0.0
    units: dict[str, float] = field(default_factory=dict)

    def add(self, judge: Judge, output: npt.NDArray[Any], numerics: Numerics, in_pass: str = "forward") -> None:
        """Judge one more output."""
        found = judge.judge(output, numerics, in_pass).discrepancy
        assert found is not None, "shape and dtype are right"
        self.compared += 1
        self.over += bool(found.over or found.non_finite)
        self.ratio = max(self.ratio, found.ratio or 0.0)
        dtype = judge.case.config.dtype
        if numerics.accumulator_format(dtype).name == dtype:
            regime = judge.case.recipe.regime
            self.units[regime] = max(self.units.get(regime, 0.0), found.u_s or 0.0)

    def __str__(self) -> str:
        units = "".join(f"{self.units[r]:14.1f}" if r in self.units else f"{'':14}" for r in ORDINARY)
        return f"{self.compared:8} {self.over:6} {self.ratio:10.3g} {units}".rstrip()


HEADER = f"{'cases':>8} {'over':>6} {'ratio':>10} {'e/(uS) normal':>14}{'positive':>14}"


def measure(
    backend: Backend, configs: Iterable[ConvConfig], count: int, changes: dict[str, Change], regimes: tuple[str, ...] = ORDINARY
) -> dict[str, Row]:
    """Run ``count`` configurations and judge each output under every changed declaration."""
    rows = {name: Row() for name in changes}
    for i, config in zip(range(count), configs, strict=False):
        case = Case(config, DataRecipe(regimes[i % len(regimes)], i))
        if not backend.supports(case):
            continue
        tensors = make_tensors(case)
        output = backend.run(case, tensors)["forward"]
        judge = Judge(case, tensors)
        for name, change in changes.items():
            rows[name].add(judge, output, change(backend.numerics(case)))
    return rows


def declared(numerics: Numerics) -> Numerics:
    """Leave the declaration as it is."""
    return numerics


def runtimes(names: Iterable[str], count: int, seed: int) -> None:
    """Print each backend under its own declaration."""
    print(f"\nBackends, as declared\n{'':30} {HEADER}")
    for name in names:
        backend = resolve(name)
        for dtype in DTYPES:
            row = measure(backend, configurations(dtype, seed), count, {"": declared})[""]
            if row.compared:
                print(f"{name:20} {dtype:9} {row}", flush=True)
    if "torch:native" in names:
        rows = measure(resolve("torch:native"), configurations("float32", seed, most_batch=15), count, {"": declared})
        print(f"{'torch:native, n < 16':20} {'float32':9} {rows['']}")


def orders(count: int, seed: int) -> None:
    """Print five correct orders of summation."""
    print("\nCorrect orders of summation (tests/planted/correct.py), in float64 for float64 and in float32 otherwise")
    print(f"{'':30} {HEADER}")
    for kernel in CORRECT:
        backend = KernelBackend(kernel.__name__, kernel)
        for dtype in DTYPES:
            configs = configurations(dtype, seed, most_flops=LARGEST_FLOPS_OF_AN_ORDER)
            print(f"{backend.name:20} {dtype:9} {measure(backend, configs, count, {'': declared})['']}", flush=True)


def withdrawn(count: int, seed: int) -> None:
    """Print what TensorFlow's 16-bit outputs look like under other accumulators, and under a fused bias."""
    backend = resolve("tensorflow")
    changes: dict[str, Change] = {
        "declared": declared,
        "float32 accumulator": lambda n: replace(n, accumulator="float32"),
        "float16 accumulator": lambda n: replace(n, accumulator="float16"),
        "fused bias": lambda n: replace(n, bias="fused"),
    }
    kinds = {"conv1d": (1, False), "conv2d": (2, False), "depthwise_conv2d": (2, True), "conv3d": (3, False)}
    print(f"\nTensorFlow under other declarations\n{'':48} {HEADER}")
    for dtype in ("float16", "bfloat16"):
        for function, (dims, depthwise) in kinds.items():
            configs = configurations(dtype, seed, dims=dims, depthwise=depthwise)
            for change, row in measure(backend, configs, count, changes).items():
                if dtype == "float16" or change != "float16 accumulator":
                    print(f"{function:17} {dtype:9} {change:20} {row}", flush=True)


def passes(names: Iterable[str], count: int, seed: int) -> None:
    """Print every pass of both operations, as declared; forward alone where a backend has no gradients."""
    print(f"\nEvery pass of both operations, as declared\n{'':52} {HEADER}")
    for name in names:
        backend = resolve(name)
        for dtype in (*DTYPES, "complex64", "complex128"):
            for op in ("conv", "conv_transpose"):
                rows: dict[str, Row] = {}
                configs = configurations(dtype, seed, most_flops=LARGEST_FLOPS // 8, most_batch=15)
                for i, forward in zip(range(count), configs, strict=False):
                    config = forward if op == "conv" else transposed(forward)
                    recipe = DataRecipe(ORDINARY[i % 2], i)
                    case = Case(config, recipe, grad=bool(backend.supports(Case(config, recipe, grad=True))))
                    if not config.is_valid or not backend.supports(case):
                        continue
                    tensors = make_tensors(case)
                    try:
                        outputs, judge = backend.run(case, tensors), Judge(case, tensors)
                    except Exception as error:  # noqa: BLE001 - a framework's own defect is not what is measured here
                        print(f"{case}: {name} raises {type(error).__name__}: {error}")
                        continue
                    for in_pass in case.passes:
                        if outputs[in_pass].shape != case.shape_of(in_pass):
                            print(f"{case}: {name} returns another shape in {in_pass}")
                            continue
                        rows.setdefault(in_pass, Row()).add(judge, outputs[in_pass], backend.numerics(case), in_pass)
                for in_pass, row in rows.items():
                    print(f"{name:13} {dtype:10} {op:14} {in_pass:12} {row}", flush=True)


def transposed(config: ConvConfig) -> ConvConfig:
    """Return the transposed convolution of the same parameters, ungrouped, so that TensorFlow has it too."""
    return config.replace(op="conv_transpose", groups=1, in_channels=config.out_channels, out_channels=max(config.in_channels // 3, 1))


def subnormals(names: Iterable[str], count: int, seed: int) -> None:
    """Print which backends flush subnormal operands and results, by dtype."""
    changes: dict[str, Change] = {
        "kept": lambda n: replace(n, flushes_subnormals=False),
        "flushed": lambda n: replace(n, flushes_subnormals=True),
    }
    print("\nSubnormal and tiny data: cases beyond the tolerance if subnormals have to be kept, and if they may be flushed")
    print(f"{'cases':>39} {'kept':>6} {'flushed':>8}")
    for name in names:
        backend = resolve(name)
        for dtype in DTYPES:
            configs = configurations(dtype, seed, most_batch=15)
            rows = measure(backend, configs, count, changes, regimes=("subnormal", "tiny"))
            if not rows["kept"].compared:
                continue
            print(f"{name:20} {dtype:9} {rows['kept'].compared:8} {rows['kept'].over:6} {rows['flushed'].over:8}", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configurations", type=int, default=200, help="per backend and dtype (default 200)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--backends", help="these alone, in the tables of backends, passes and subnormal data")
    arguments = parser.parse_args()
    count, seed = arguments.configurations, arguments.seed
    names = BACKENDS if arguments.backends is None else tuple(arguments.backends.split(","))
    warnings.filterwarnings("ignore", message="Using padding='same'")
    began = time.perf_counter()
    versions = {library: v for name in names for library, v in resolve(name).versions.items()}
    print(f"{', '.join(f'{library} {v}' for library, v in versions.items())}; {count} configurations each, seed {seed}")
    runtimes(names, count, seed)
    if arguments.backends is None:
        orders(max(count // 8, 4), seed)
        withdrawn(max(count // 4, 4), seed)
    passes(WITH_PASSES if arguments.backends is None else names, max(count // 4, 4), seed)
    subnormals(names, max(count // 4, 4), seed)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
