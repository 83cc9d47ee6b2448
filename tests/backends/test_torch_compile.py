"""``torch:compile``: compiled, never eager; once per shape; nothing left on the disk; and a clear word where it cannot be had."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sampling import covering, sample

import convfuzz
from convfuzz import Case
from convfuzz.backends import Backend, Costly, resolve
from convfuzz.backends.torch.compile import _remove_what_was_left_behind
from convfuzz.record.events import BackendEnded
from convfuzz.strategies import cases
from convfuzz.tensors.generator import make_tensors

from .frameworks import KNOWN_DEFECTS, SMALL, has_known_defect
from .test_call_scripts import same, written

torch = pytest.importorskip("torch", reason="the compiler is PyTorch's")
pytestmark = [
    pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex:UserWarning"),
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
]

LINES = (
    "conv1d_n2_c2_o3_i7_k3_p2_pmreflect_b_f64_grad",
    "conv2d_n2_c4_o6_g2_i7_k3_s2_p1:2x0:3_d1x2_b_f32_grad",
    "conv2d_n2_c2_o3_i7_k3_p-1:2x1:-2_b_f64_grad",
    "conv3d_n2_c2_o3_i4_k3_p1_pmcircular_b_f32_grad",
    "conv2d_n-_c2_o3_i7x6_k4x3_psame_d1x2_b_f32_tr_wcl",
    "convt2d_n2_c2_o3_i5_k4_s2_p2:1x0:3_op1_b_f64_grad",
    "convt3d_c2_o2_g2_i3x2x4_k2x3x1_s2_d2x1x3_p1_op1_bf16",
    "conv2d_n2_c4_o4_g4_i7_k3_s2_p1_b_c64_ex_grad",
    "conv1d_n2_c2_o3_i7_k3_b_c64",
    "conv1d_n2_c4_o6_i7_k1_b_i64",
)
SCRIPTS = (LINES[0], LINES[6], LINES[8])
"""Those whose scripts are compiled too: a padded copy, one that holds bfloat16 as bits, and one of complex numbers."""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """The backend, loaded once, which finds in PyTorch's own cache what was asked of the C++ compiler before.

    What the tests compile by themselves from then on, such as scripts, stays out of the user's cache.
    """
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("no C++ compiler: g++ is not installed")
    loaded = resolve("torch:compile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield loaded


def ended(backend: Backend, line: Case | str) -> BackendEnded:
    """Check the backend on one case."""
    (result,) = convfuzz.check(line, [backend]).results
    return result


def graphs() -> int:
    """Return how many graphs have been captured in this process."""
    from torch._dynamo.utils import counters  # noqa: PLC0415 - where PyTorch is installed

    return int(counters["stats"]["unique_graphs"])


@pytest.mark.parametrize("line", LINES)
def test_every_pass_is_exact_on_integers_and_compiled_once(
    backend: Backend, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Three data recipes of a layer run on what was compiled for the first, and give the reference's numbers in each pass.

    What was written for the layer is gone from the disk after it has run the first time, and what is kept of it still runs.
    A script compiles the same function, once more, and returns the adapter's bits.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cache = os.environ["TORCHINDUCTOR_CACHE_DIR"]
    graphs_before, files_before = graphs(), sorted(Path(cache).rglob("*"))
    for recipe in range(3):
        case = Case.parse(f"{line}@integers.{recipe}")
        result = ended(backend, case)
        assert result.verdict == "agree", result
        assert {name: float(found.max_abs) for name, found in result.discrepancies.items()} == dict.fromkeys(case.passes, 0.0)
        assert list(tmp_path.iterdir()) == []
        assert sorted(Path(cache).rglob("*")) == files_before
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == cache
    assert graphs() == graphs_before + 1
    if line in SCRIPTS:
        case = Case.parse(f"{line}@normal.1")
        script = backend.script(case)  # type: ignore[attr-defined]
        assert "@torch.compile(fullgraph=True, dynamic=False)" in script
        assert same(written(backend, case), backend.run(case, make_tensors(case)))


def test_declared_domain_agrees_with_the_reference(backend: Backend) -> None:
    """On cases that show whatever drawn ones do beyond ``LINES``, the compiled layer agrees, but for known defects of PyTorch's."""
    drawn = [case for case in sample(cases(**SMALL), 40, seed=20261123) if not has_known_defect("torch:compile", case)]
    chosen = covering([case for case in drawn if backend.supports(case)], [Case.parse(f"{line}@integers.0") for line in LINES])
    results = {str(case): ended(backend, case) for case in chosen}
    assert {case: result for case, result in results.items() if result.verdict != "agree"} == {}
    assert len(chosen) >= 8


def test_known_defects_are_left_out_for_a_reason() -> None:
    """Whatever the test above leaves out says in words why, and names a case that is left out."""
    for defect in KNOWN_DEFECTS["torch:compile"]:
        assert defect.what
        assert defect.applies(Case.parse(defect.example))


def test_more_shapes_than_pytorch_keeps_are_all_compiled(backend: Backend) -> None:
    """PyTorch goes back to eager execution after eight shapes of one function; the ninth and the eighteenth are compiled too."""
    before = graphs()
    for size in range(3, 21):
        result = ended(backend, f"conv1d_c1_o1_i{size}_k2_f64@integers.1")
        assert result.verdict == "agree", result
    assert graphs() == before + 18


def test_it_never_runs_eagerly(backend: Backend) -> None:
    """Where PyTorch is told to run compiled functions eagerly, the case is an error of the set-up, not an agreement."""
    with torch.compiler.set_stance("force_eager"):
        for line in ("conv1d_c1_o1_i30_k2_f64@integers.1", "conv1d_c1_o1_i30_k2_f64_grad@integers.1"):
            result = ended(backend, line)
            assert (result.verdict, "eagerly" in result.reason) == ("error", True)
    assert ended(backend, "conv1d_c1_o1_i30_k2_f64@integers.1").verdict == "agree"


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("CXX", "/nowhere/g++", "backend 'torch:compile' needs a C++ compiler that PyTorch can use: "),
        ("TORCHDYNAMO_DISABLE", "1", "backend 'torch:compile' compiles nothing: PyTorch runs compiled functions eagerly"),
    ],
)
def test_where_nothing_can_be_compiled_the_backend_is_missing_and_says_why(variable: str, value: str, says: str, tmp_path: Path) -> None:
    """Without a C++ compiler, or with compilation disabled, loading fails with the reason that ``convfuzz backends`` shows."""
    code = "from convfuzz.backends import available; print(available('torch:compile'))"
    environment = os.environ | {variable: value, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment).stdout
    assert printed.startswith(says), printed


def test_what_killed_processes_left_behind_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The next process that loads the backend removes it, but nothing that is in use or just made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, used, young, other = (tmp_path / name for name in ("convfuzz-inductor-1", "convfuzz-inductor-2", "convfuzz-inductor-3", "tmp4"))
    for directory in (left, used, young, other):
        (directory / "inner").mkdir(parents=True)
        if directory != young:
            os.utime(directory, (1, 1))
    descriptor = os.open(used, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    _remove_what_was_left_behind()
    os.close(descriptor)
    assert sorted(tmp_path.iterdir()) == [used, young, other]


@pytest.mark.usefixtures("backend")
def test_a_campaign_s_workers_compile(tmp_path: Path) -> None:
    """Daemonic children of a forkserver compile too, two at a time; a campaign of this backend alone runs it on every case."""
    out = tmp_path / "run"
    options = ["--strategy", "smoke", "--max-cases", "4", "--workers", "2", "--seed", "5", "--out", str(out)]
    command = [sys.executable, "-m", "convfuzz", "run", "--backends", "torch:compile", *options]
    environment = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}  # as the backend was loaded
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    counts = json.loads((out / "run.json").read_text())["verdicts"]["torch:compile"]
    assert counts["agree"] >= 3, counts


@pytest.mark.parametrize("line", ["conv2d_c3_o4_g2_i5_k3_f32", "conv2d_c2_o3_i5_k3_s0_f32", "conv1d_c2_o3_i4_k5_f32_grad"])
def test_invalid_configurations_are_rejected(backend: Backend, line: str) -> None:
    """A layer that is none is refused while it is traced."""
    result = ended(backend, line)
    assert (result.verdict, result.reason[:9]) == ("agree", "rejected:")


def test_it_declares_a_share_and_an_operand_s_memory_stays_as_it_is(backend: Backend) -> None:
    """A campaign runs it on some of its configurations; what it is handed is read only."""
    assert isinstance(backend, Costly)
    assert 0 < backend.share <= 0.05
    case = Case.parse("conv1d_n2_c2_o3_i7_k3_b_f32_grad@normal.1")
    tensors, untouched = make_tensors(case), make_tensors(case)
    backend.run(case, tensors)
    assert all(np.array_equal(a, b) for a, b in zip(tensors.named().values(), untouched.named().values(), strict=True))
