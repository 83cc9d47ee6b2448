"""The script of a finding on a large layer: it compares the tile that is furthest off, and computes nothing of the others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from convfuzz.case import Case
from convfuzz.checking.checker import Checker, fold_check
from convfuzz.judging import sampled_judge, tiles
from convfuzz.reproduction import draft

from .scripts import KernelFile, finding_of, script_of

LAYERS = {
    "conv2d_n3_c4_o6_g2_i70x75_k3_s2_p1_pmreflect_b_f32@integers.1": "y[-1, -1, -1, -1] += 1",
    "conv2d_n3_c4_o6_i70x75_k3_d3_f16@normal.1": "y[:, 4] *= 1.5",
}


@pytest.mark.parametrize("line", LAYERS)
def test_a_script_compares_the_tile_that_is_off(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script of a kernel that is wrong in one place shows that without convfuzz, and that it is fixed when it is."""
    monkeypatch.setattr(sampled_judge, "MOST_BYTES", 0)
    monkeypatch.setattr(tiles, "MOST_ELEMENTS", 2**12)
    body = "y = convolve(x, w, b, config)\n{}\nreturn y"
    header = "import numpy as np\n\n" + _CONVOLVE
    kernel = KernelFile(tmp_path / "kernel.py")
    backend = kernel.write(body.format(LAYERS[line]), header=header)
    (result,) = fold_check(Case.parse(line), Checker([backend]).events(Case.parse(line))).results
    assert result.verdict == "wrong", result.reason
    source = script_of(line, backend, result=result)
    found = result.discrepancies["forward"]
    assert found.judged_of in source
    script = tmp_path / "script.py"
    script.write_text(source)
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (run.returncode, "BUG is there" in run.stdout) == (1, True), run.stdout + run.stderr
    kernel.write(body.format("pass"), header=header)
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (run.returncode, "fixed" in run.stdout) == (0, True), run.stdout + run.stderr
    drafted = draft(finding_of(line, backend, "wrong", discrepancy=found), backend)
    assert found.judged_of in drafted.actual


_CONVOLVE = """
def convolve(x, w, b, config):
    mode = {"mode": "reflect"} if config.padding_mode == "reflect" else {}
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *config.pads], **mode)
    (sh, sw), (dh, dw), groups = config.stride, config.dilation, config.groups
    windows = np.lib.stride_tricks.sliding_window_view(x, config.effective_kernel, axis=(2, 3))[:, :, ::sh, ::sw, ::dh, ::dw]
    parts = zip(np.split(windows, groups, axis=1), np.split(w.astype(np.float64), groups), strict=True)
    y = np.concatenate([np.tensordot(v, part, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2) for v, part in parts], axis=1)
    return (y if b is None else y + b.astype(np.float64)[:, None, None]).astype(config.dtype)


"""
