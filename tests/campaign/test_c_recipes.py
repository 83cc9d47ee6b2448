"""The recipes of docs/c-kernels.md run as they stand there, and what a kernel reads and writes beyond its operands is found."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .launch import Place

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")

DOCS = (Path(__file__).parents[2] / "docs" / "c-kernels.md").read_text()
RECIPES = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", DOCS, re.DOTALL))
KERNELS = {"direct_c": "direct", "extension": "extension", "hwio": "hwio"}

LAST_LINE = "        y[((n * l->out_channels + o) * P + p) * Q + q] = sum;\n    }\n"
PLANTS = {
    "read": "    volatile float beyond = x[l->batch * l->in_channels * H * W];\n",
    "before": "    volatile float before = w[-1];\n",
    "write": "    y[l->batch * l->out_channels * P * Q] = 1;\n",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A folder to start campaigns from; what is built of C is kept in it, apart from the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Place(tmp_path)


def planted(name: str) -> str:
    """Return the C recipe with one access too many."""
    assert LAST_LINE in RECIPES["direct_c"]
    return RECIPES["direct_c"].replace(LAST_LINE, LAST_LINE + PLANTS[name])


def test_there_are_recipes() -> None:
    """Those in C, one through PyTorch's extensions, and one with its own order of axes."""
    assert set(RECIPES) == set(KERNELS)


@pytest.mark.parametrize(("name", "most"), [("direct_c", 120), ("hwio", 60), ("extension", 20)])
def test_recipes_of_the_documentation_are_clean(place: Place, name: str, most: int) -> None:
    """Correct kernels stay clean on cases that are drawn for them, between guard pages and canaries."""
    if name == "extension":
        pytest.importorskip("torch", reason="the kernel is an extension of PyTorch")
        if shutil.which("ninja") is None or shutil.which("c++") is None:
            pytest.skip("PyTorch builds extensions with ninja and a C++ compiler")
    done = place.run(RECIPES[name], [KERNELS[name]], "--seed", "1", "--max-cases", str(most))
    assert done.status == 0, done.stdout + done.stderr
    assert done.info["cases"] == most


def test_an_element_read_too_many_is_found_with_its_place(place: Place) -> None:
    """The numbers are right, and the finding names the operand; its script dies while the read is there and passes when it is gone."""
    done = place.run(planted("read"), ["direct"], "--seed", "1", cases=["conv1d_c1_o1_i2_k1_f32@integers.1"])
    assert done.status == 1, done.stdout
    (finding,) = [json.loads(file.read_text()) for file in (done.directory / "findings").glob("*.json")]
    assert finding["verdict"] == "crash"
    assert finding["reason"] == "reads beyond the end of x, as far as 4 bytes behind it: the process was killed by SIGSEGV"
    script = done.directory / "repro" / f"{finding['fingerprint']}.py"
    assert "operands[0] = beside_page(operands[0])" in script.read_text()
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert (ran.returncode, "BUG: the process ended with status -11" in ran.stdout) == (1, True), ran.stdout + ran.stderr
    (place.folder / "kernels.py").write_text(RECIPES["direct_c"])
    assert subprocess.run([sys.executable, str(script)], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("before", r"reads before the beginning of w, as far as 4 bytes before it: the process was killed by SIGSEGV"),
        ("write", r"writes beyond the end of out, as far as 4 bytes behind it: the process was killed by SIGSEGV"),
    ],
)
def test_check_names_what_is_overrun(place: Place, name: str, said: str) -> None:
    """Guard pages at the end and, in the second call, at the beginning."""
    (place.folder / "planted_c.py").write_text(planted(name))
    process = place.launch("check", "conv1d_c1_o2_i3_k2_b_f32@integers.1", "--backends", "planted_c.py::direct")
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 1
    assert said in " ".join(out.split())
