"""Scripts of kernels that ask something of their memory: they show the order of axes, the output's strides, and the guard page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from convfuzz.backends import Backend
from convfuzz.checking.checker import check
from convfuzz.reproduction import draft, reproduction_script

from .scripts import KernelFile, finding_of, script_of, status

MOVED = """
import numpy as np

import convfuzz


@convfuzz.backend(layout="NHWC", weight_layout="HWIO", out="strided", ops=("conv",), {declared})
def kernel(x, w, b, config, out):
    assert x.shape[-1] == config.in_channels and w.shape[:2] == config.kernel_size
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[:2], axis=(1, 2)).astype(np.float64)
    out[...] = np.einsum("nhwcij,ijco->nhwo", windows, w.astype(np.float64)) + {wrong} + (0 if b is None else b)
"""
GRADIENTS = """

def gradients(x, w, b, dy, config):
    x, w, dy = (a.astype(np.float64) for a in (x, w, dy))
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            at = np.s_[:, i : i + dy.shape[1], j : j + dy.shape[2]]
            dx[at] += dy @ w[i, j].T
            dw[i, j] = np.einsum("nhwc,nhwo->co", x[at], dy)
    return dx.astype(np.float32) + {wrong}, dw.astype(np.float32), *([] if b is None else [dy.sum((0, 1, 2)).astype(np.float32)])
"""
OVERRUN = """
import ctypes

import convfuzz


@convfuzz.backend(out=True)
def kernel(x, w, b, config, out):
    out[...] = (x.reshape(-1)[0] * w.reshape(-1)[0]).reshape(out.shape)
    {overrun}
"""
ONE = "conv1d_c1_o1_i1_k1_f32@integers.1"


@pytest.mark.parametrize("layout", ["", "_cl", "_nc", "_of"])
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_a_script_moves_the_axes(kernel_file: KernelFile, dtype: str, layout: str) -> None:
    """It hands over what the kernel was handed, and compares in PyTorch's order."""
    line = f"conv2d_n2_c3_o4_i5x4_k3x2_b_{dtype}{layout}@integers.1"
    backend = kernel_file.load(MOVED.format(declared="", wrong="(x.shape[1] == 5) * (np.arange(4) == 2)"))
    (result,) = check(line, [backend]).results
    assert result.verdict == "wrong", result.reason
    source = script_of(line, backend, result=result)
    assert "(0, 2, 3, 1)" in source
    assert status(source) == 1
    kernel_file.load(MOVED.format(declared="", wrong="0"))
    assert status(source) == 0


def test_a_script_moves_gradients_back(kernel_file: KernelFile) -> None:
    """The gradient to the input comes in the kernel's order."""
    line = "conv2d_n2_c3_o4_i5x4_k3x2_b_f32_grad@integers.1"

    def load(wrong: str) -> Backend:
        source = MOVED.format(declared="gradients=lambda *a: gradients(*a)", wrong="0") + GRADIENTS.format(wrong=wrong)
        return kernel_file.load(source)

    backend = load("(np.arange(3) == 1)")
    (result,) = check(line, [backend]).results
    assert (result.verdict, result.in_pass) == ("wrong", "grad_input")
    source = script_of(line, backend, in_pass="grad_input", result=result)
    assert status(source) == 1
    load("0")
    assert status(source) == 0


@pytest.mark.parametrize(
    ("overrun", "reason"),
    [
        ("ctypes.string_at(x.ctypes.data + x.nbytes, 4)", "reads beyond the end of x, as far as 4 bytes behind it: the process was killed"),
        ("ctypes.memset(out.ctypes.data - 8, 0, 4)", "wrote 4 bytes before the beginning of out, at offset -8"),
        (
            "ctypes.string_at(w.ctypes.data - 8, 4)",  # the other one of two has been mended
            "reads beyond the end of x, as far as 4 bytes behind it; reads before the beginning of w, as far as 8 bytes before it: killed",
        ),
    ],
)
def test_a_script_puts_the_array_beside_a_page(kernel_file: KernelFile, tmp_path: Path, overrun: str, reason: str) -> None:
    """The overrun ends the script's process, and the bug report's program; both pass when it is gone."""
    verdict = "crash" if reason.startswith("reads") else "corrupted-input"
    backend = kernel_file.load(OVERRUN.format(overrun=overrun))
    finding = finding_of(ONE, backend, verdict, reason)
    script, program = reproduction_script(finding, backend), draft(finding, backend).code
    assert script is not None
    path = tmp_path / "with_convfuzz.py"
    for source, expected in ((script, 1), (program, -11)):
        path.write_text(source)
        assert run_beside(path) == expected
    kernel_file.load(OVERRUN.format(overrun=""))
    for source in (script, program):
        path.write_text(source)
        assert run_beside(path) == 0


def run_beside(path: Path) -> int:
    """Run a script, whose kernel imports convfuzz, in a process of its own."""
    return subprocess.run([sys.executable, str(path)], capture_output=True, check=False, timeout=300).returncode
