"""Kernels that are compiled apart from being run: once a configuration, timed on their own, and with a limit of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convfuzz
from convfuzz import Case
from convfuzz.backends import resolve
from convfuzz.backends.isolated import client
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.backends.kernels.compiled import MOST_COMPILED
from convfuzz.checking.limits import Limits
from convfuzz.processes.sandbox import Sandbox
from convfuzz.tensors.generator import make_tensors
from convfuzz.testing.disagreement import Disagreement

Write = Callable[..., str]

KERNELS = """
import time

import numpy as np

import convfuzz


def build(config):
    time.sleep(100 if config.kernel_size == (5,) else 0.3)
    return config.kernel_size[0], config.stride[0]


def convolve(x, w, b, compiled):
    taps, stride = compiled
    windows = np.lib.stride_tricks.sliding_window_view(x, taps, axis=2)[:, :, ::stride]
    y = np.einsum("nchi,oci->noh", windows, w)
    return y if b is None else y + b[:, None]


OPTIONS = dict(ops=("conv",), dims=(1,), dtypes=("float32",), paddings=(0,), dilations=(1,), groups=("none",), batches=(1, 2))


@convfuzz.backend(**OPTIONS, compile=build, compile_timeout=1.5)
def here(x, w, b, config, compiled):
    if config.kernel_size == (7,):
        time.sleep(100)
    return convolve(x, w, b, compiled)


@convfuzz.backend(**OPTIONS, compile=build, compile_timeout=1.5, own_process=True)
def there(x, w, b, config, *, compiled):
    return convolve(x, w, b, compiled)
"""
CASE = "conv1d_n2_c3_o4_i9_k3_s2_b_f32"


@pytest.fixture(autouse=True)
def _servers_end() -> Iterator[None]:
    """Let the servers that a test has started end with it."""
    before = dict(client._servers)
    yield
    for surroundings in client._servers.keys() - before.keys():
        os.close(client._servers.pop(surroundings))


def counting(**options: Any) -> tuple[Any, list[Any]]:
    """Return a kernel that is compiled, and the list of the configurations that it was compiled for."""
    compiled_for: list[Any] = []

    def build(config: Any) -> int:
        compiled_for.append(Case(config).config)
        return len(compiled_for)

    @convfuzz.backend(compile=build, **options)
    def kernel(x: Any, w: Any, b: Any, config: Any, compiled: int) -> Any:
        assert compiled_for[compiled - 1] == config, "compiled for another configuration"
        return convfuzz.reference(config, x, w, b).y.astype(x.dtype)

    return kernel, compiled_for


def test_a_kernel_is_compiled_once_a_configuration() -> None:
    """Other data, a repeat and the tie-breaker on integers run what was compiled; parts of a split that are alike share it."""
    kernel, compiled_for = counting(ops=("conv",))
    for recipe in ("normal.0", "normal.1", "integers.3", "special.2"):
        assert not convfuzz.check(f"{CASE}@{recipe}", [kernel]).failures
    backend = KernelBackend("kernel", kernel)
    case = Case.parse(CASE)
    for seed in range(3):
        backend.run(case, make_tensors(Case.parse(f"{CASE}@normal.{seed}")))
    assert compiled_for.count(case.config) == 5  # each check makes a backend of a function


def test_few_compiled_kernels_are_kept() -> None:
    """The oldest goes when there are too many, and is compiled again when it is wanted."""
    kernel, compiled_for = counting(ops=("conv",))
    backend = KernelBackend("kernel", kernel)
    cases = [Case.parse(f"conv1d_c1_o1_i{size}_k1_f32") for size in range(1, MOST_COMPILED + 2)]
    for case in (*cases, cases[-1], cases[0]):
        backend.run(case, make_tensors(case))
    assert compiled_for == [case.config for case in (*cases, cases[0])]


def test_asking_for_the_operation_counts_when_compiling_too() -> None:
    """A kernel that leaves the operation to what it compiles computes transposed layers; one that never asks declines them."""

    def build(config: Any) -> str:
        return str(config.op)

    @convfuzz.backend(compile=build)
    def asks(x: Any, w: Any, b: Any, config: Any, compiled: str) -> Any:
        assert compiled == "conv_transpose"
        return np.zeros(config.output_shape, x.dtype)

    @convfuzz.backend(compile=lambda config: config.dims)
    def never(x: Any, w: Any, b: Any, config: Any, compiled: int) -> Any:
        return np.zeros(config.output_shape, x.dtype)

    results = convfuzz.check("convt1d_c1_o1_i3_k2_f32@zeros", [asks, never]).results
    assert [result.verdict for result in results] == ["agree", "unsupported"]


def test_its_time_is_its_own_and_so_is_its_limit(kernel_file: Write, tmp_path: Path) -> None:
    """Compiling takes longer than a call may, and is no timeout; what never ends compiling, or running, is said to, wherever it runs."""
    path = kernel_file(KERNELS)
    names = [f"{path}::here", f"{path}::here+split", f"{path}::there"]
    sandbox = Sandbox(names, None, tmp_path / "log", limits=Limits(case_timeout=0.25))
    try:
        first = [sandbox.evaluate(Case.parse(CASE), name) for name in names]
        again = [sandbox.evaluate(Case.parse(f"{CASE}@integers.1"), name) for name in names]
        hanging = [sandbox.evaluate(Case.parse(CASE.replace("k3", "k5")), name) for name in names]
        running = sandbox.evaluate(Case.parse(CASE.replace("k3", "k7")), names[0])
    finally:
        sandbox.close()
    assert [(one.verdict, one.compile_seconds >= 0.3, one.seconds < 0.25) for one in first] == [("agree", True, True)] * 3, first
    assert [(one.verdict, one.compile_seconds) for one in again] == [("agree", 0.0)] * 3, again
    assert [(one.verdict, one.reason) for one in hanging] == [("timeout", "not compiled after 1.5 s, its compile_timeout")] * 3
    assert (running.verdict, running.reason) == ("timeout", "no result after 0.25 s")


def test_a_test_that_draws_takes_such_a_kernel() -> None:
    """``@convfuzz.fuzz`` takes a kernel with an argument ``compiled``, by name or not, and a wrong one fails."""

    def three(config: Any) -> int:
        return 3 if config.is_valid else 0

    @convfuzz.fuzz(cases=3, seed=1)
    @convfuzz.backend(ops=("conv",), dims=(1,), kernel_sizes=(1,), paddings=(0,), compile=three)
    def wrong(x: Any, w: Any, b: Any, config: Any, *, compiled: int) -> Any:
        return np.full(config.output_shape, compiled, x.dtype)

    with pytest.raises((Disagreement, ExceptionGroup)):
        wrong()


def test_a_script_compiles_before_it_calls(kernel_file: Write) -> None:
    """The script of such a kernel compiles it for its configuration and hands over what that returns."""
    script = resolve(f"{kernel_file(KERNELS)}::here").script(Case.parse(CASE))  # type: ignore[attr-defined]
    program = f"import numpy as np\n{script}\nprint(run(*(np.ones(shape, 'f') for shape in ((2, 3, 9), (4, 3, 3), 4)))[0, 0])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[10.", "10.", "10.", "10.]"]


def test_a_campaign_gives_compiling_its_own_time(kernel_file: Write, tmp_path: Path) -> None:
    """Its limit holds in a worker too, whose journal has the compilation; what it took is a line of ``run.json``."""
    kernel_file(
        KERNELS.replace("paddings=(0,)", "paddings=(0,), kernel_sizes=(3, 5)").replace("compile_timeout=1.5", "compile_timeout=0.6")
    )
    options = ["--backends", "kernels.py::here", "--max-cases", "8", "--seed", "1", "--case-timeout", "0.25s", "--out", "run"]
    subprocess.run([sys.executable, "-m", "convfuzz", "run", *options], cwd=tmp_path, capture_output=True, check=False)
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["verdicts"]["kernels.py::here"].keys() == {"agree", "timeout"}
    assert info["compile_s"]["kernels.py::here"] >= 0.3
    journal = (tmp_path / "run" / "journal-0.jsonl").read_text()
    assert "not compiled after 0.6 s, its compile_timeout" in journal
    assert '{"event":"compile","limit":0.6}\n{"event":"compiled"}\n' in journal
