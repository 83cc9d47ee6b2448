"""``convfuzz run`` and ``convfuzz report``: what is refused before anything starts, and what a report is made from."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from convfuzz import entry_points as plugins
from convfuzz.checking.limits import Limits
from convfuzz.cli.options import Memory, memory_text
from convfuzz.record.finding import decode_finding

from .conftest import Call

KERNEL = ("--backends", "kernels.py::right")
SHORT = ("--max-cases", "3", "--seed", "1", "--strategy", "smoke")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a small campaign with a finding."""
    import subprocess  # noqa: PLC0415 - the one command that this module waits for
    import sys  # noqa: PLC0415

    from .conftest import KERNELS  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("finished")
    (folder / "kernels.py").write_text(KERNELS)
    command = [sys.executable, "-m", "convfuzz", "run", "--backends", "kernels.py::wrong", *SHORT, "--out", "out"]
    assert subprocess.run(command, cwd=folder, check=False, capture_output=True, timeout=300).returncode == 1
    return folder / "out"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--time", "abc"], "'abc' is not a length of time such as 60s, 10m or 1h30m"),
        (["--time", "-5s"], "'-5s' is not a length of time"),
        (["--time", "0s"], "'0s' is not more than 0 seconds"),
        (["--time", "5 parsecs"], "is not a length of time"),
        (["--case-timeout", "0"], "is not more than 0 seconds"),
        (["--max-cases", "0"], "0 is not in the range x>=1"),
        (["--workers", "0"], "0 is not in the range x>=1"),
        (["--seed", "-1"], "-1 is not in the range x>=0"),
        (["--memory-limit", "0"], "'0' is less than 128MiB"),
        (["--memory-limit", "100M"], "'100M' is less than 128MiB"),
        (["--memory-limit", "2000000TiB"], "'2000000TiB' is more than 1048576TiB"),
        (["--memory-limit", "-4GiB"], "'-4GiB' is not an amount of memory such as 4GiB, 512MiB or 4 (in GiB)"),
        (["--memory-limit", "4GiB of it"], "is not an amount of memory"),
        (["--memory-limit", "inf"], "'inf' is not an amount of memory"),
        (["--memory-limit", ""], "'' is not an amount of memory"),
    ],
)
def test_unusable_limit_is_refused(call: Call, arguments: list[str], message: str) -> None:
    """A limit that is no length of time or not positive exits 2 and names the value, and nothing starts."""
    called = call("run", *KERNEL, *arguments)
    assert called.status == 2
    assert message in called.stderr
    assert not Path("convfuzz-runs").exists()


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *((text, 4 * 2**30) for text in ("4", "4.0", "4GiB", "4 GiB", "4G", "4gb", "4096MiB", "4096m")),
        ("0.75", 3 * 2**28),
        (".5T", 2**39),
        ("128MiB", 2**27),
    ],
)
def test_memory_has_a_unit_or_is_in_gib(text: str, size: int) -> None:
    """An amount of memory is read with its unit, in powers of 1024, and a bare number is GiB; what is printed of it reads the same."""
    assert Memory().convert(text, None, None) == size
    assert Memory().convert(memory_text(size), None, None) == size


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_the_report_is_written(process: Call, tmp_path: Path, number: signal.Signals) -> None:
    """A signal that comes when all is done but the report waits for it; the command says where it is, and has the signal's status."""
    (tmp_path / "sitecustomize.py").write_text(f"""
import os
from convfuzz.system import files
write = files.write_atomically

def interrupted(path, data):
    if path.name == "report.html":
        os.kill(os.getpid(), {number})
    write(path, data)

files.write_atomically = interrupted
""")
    os.environ["PYTHONPATH"] = str(tmp_path)
    called = process("run", *KERNEL, *SHORT, "--no-arithmetic", "--out", "out")
    report = tmp_path / "out" / "report.html"
    assert called.status == 128 + number
    assert called.stderr.split() == f"convfuzz: the run is complete, its report: {report} convfuzz: ended by {number.name}".split()
    assert report.is_file()
    assert json.loads((tmp_path / "out" / "run.json").read_text())["stopped"] == "max-cases"


@pytest.mark.parametrize("command", [["run"], ["check"], ["reduce"], ["replay"], ["compare"], ["ledger", "check"]], ids=" ".join)
def test_limits_have_one_default_everywhere(call: Call, command: list[str]) -> None:
    """Every command that runs cases has the same two limits with the defaults of a campaign."""
    text = " ".join(call(*command, "--help").stdout.split())
    assert f"[default: {Limits().case_timeout:g}s]" in text
    assert f"[default: {memory_text(Limits().memory)}]" in text


@pytest.mark.parametrize("listed", ["", ",", " , "])
def test_no_backend_is_refused(call: Call, listed: str) -> None:
    """``--backends`` with nothing in it exits 2, and no run directory is made."""
    called = call("run", "--backends", listed)
    assert called.status == 2
    assert "no backend to compare with the reference" in called.stderr
    assert not Path("convfuzz-runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backends", "tensorflwo"), "unknown backend 'tensorflwo' (closest: 'tensorflow')"),
        ((*KERNEL, "--strategy", "smokey"), "unknown strategy 'smokey'; known are "),
        (("--backends", "kernels.py::nothing"), "has no 'nothing'"),
    ],
)
def test_what_cannot_be_loaded_is_refused_and_leaves_nothing(
    process: Call, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    """An unknown backend or strategy exits 2 with the known ones, and the run directory is taken back."""
    called = process("run", *arguments, *SHORT[:4], "--out", "out")
    assert called.status == 2
    assert message in called.stderr
    assert "Traceback" not in called.stderr
    assert not (tmp_path / "out").exists()


def test_refused_run_leaves_the_user_s_files_alone(process: Call, tmp_path: Path) -> None:
    """A refused run into a folder that was there before removes nothing from it that it did not make."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "precious.log").write_text("kept")
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder in (mine, empty):
        assert process("run", "--backends", "tensorflwo", "--out", str(folder)).status == 2
    assert (mine / "precious.log").read_text() == "kept"
    assert [path.name for path in mine.iterdir()] == ["precious.log"]
    assert empty.is_dir()


@pytest.mark.parametrize("out", ["a-file", "a-file/below", "/proc/convfuzz-cannot-write-here", "/dev/null/x"])
def test_unwritable_run_directory_is_refused_before_anything_starts(call: Call, out: str) -> None:
    """``--out`` below a file or where nothing can be made exits 2 before a backend is loaded."""
    Path("a-file").write_text("in the way")
    Path("kernels.py").write_text("raise RuntimeError('loaded too early')")
    called = call("run", *KERNEL, *SHORT, "--out", out)
    assert called.status == 2
    assert called.stderr.startswith(f"convfuzz: {out} ")
    assert "loaded too early" not in called.stderr


def test_directory_with_a_run_in_it_is_refused(call: Call, finished: Path) -> None:
    """``--out`` with a run in it exits 2 and leaves that run as it is."""
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    called = call("run", *KERNEL, *SHORT, "--out", str(finished))
    assert called.status == 2
    assert "holds a run already; choose another --out" in called.stderr
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_default_run_directory_is_named_by_time(call: Call, tmp_path: Path) -> None:
    """Without ``--out`` a run goes to ``convfuzz-runs/<time>-<id>``."""
    assert call("run", *KERNEL, *SHORT).status == 0
    (directory,) = (tmp_path / "convfuzz-runs").iterdir()
    assert (directory / "run.json").is_file()


@pytest.mark.slow
def test_a_run_ends_with_each_finding_and_its_companion(call: Call, tmp_path: Path) -> None:
    """The close of a run names the minimal case and the nearest one that passes; the finding's file and script have both."""
    called = call("run", "--backends", "kernels.py::wrong_when_batched", "--max-cases", "40", "--seed", "1", "--out", "out")
    assert called.status == 1, called.stderr
    boundary = "fails at batch 2, works at 1: conv1d_c1_o1_i1_k1_f32@integers."
    assert f"          {boundary}" in called.stdout
    (file,) = [file for file in (tmp_path / "out" / "findings").iterdir() if b"works at 1" in file.read_bytes()]
    finding = decode_finding(file.read_bytes(), str(file))
    assert finding.case == "conv1d_n2_c1_o1_i1_k1_f32@zeros"
    assert finding.companion.startswith("conv1d_c1_o1_i1_k1_f32@integers.")
    assert f"Boundary: {finding.boundary} ({finding.companion})" in (tmp_path / "out" / "repro" / f"{finding.fingerprint}.py").read_text()
    assert boundary.partition(":")[0] in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_two_kernels_with_one_mistake_are_two_causes(call: Call) -> None:
    """Each has a block of its own, and a line above that counts it: who mends the one has not mended the other."""
    options = ["--strategy", "smoke", "--max-cases", "30", "--seed", "1", "--out", "out"]
    called = call("run", "--backends", "kernels.py::wrong,kernels.py::as_wrong", *options)
    assert called.status == 1, called.stderr
    for name in ("wrong", "as_wrong"):
        assert f"{name}: 1 cause in 30 compared cases of " in called.stdout
        assert re.search(rf"^[0-9a-f]{{8}}  kernels.py::{name}: wrong · \d+ cases", called.stdout, re.MULTILINE)
        assert re.search(rf"convfuzz check \S+ --backends kernels.py::{name}$", called.stdout, re.MULTILINE)


@pytest.mark.parametrize(("form", "name"), [("html", "report.html"), ("markdown", "report.md")])
def test_report_is_written_into_the_run_directory(call: Call, finished: Path, form: str, name: str) -> None:
    """``report`` writes the form into the run directory and prints where."""
    called = call("report", str(finished), "--format", form)
    assert called.status == 0, called.stderr
    assert called.stdout.strip() == str(finished / name)
    assert (finished / name).stat().st_size > 100


def test_report_goes_to_a_file_or_to_standard_output(process: Call, finished: Path, tmp_path: Path) -> None:
    """``--out`` names the file, and ``-`` standard output."""
    assert process("report", str(finished), "--out", "mine.html").status == 0
    printed = process("report", str(finished), "--out", "-")
    assert printed.status == 0
    assert (tmp_path / "mine.html").read_text().startswith("<!")
    assert printed.stdout.startswith("<!")


def test_several_runs_make_one_report(call: Call, finished: Path) -> None:
    """Several run directories are rendered together."""
    shutil.copytree(finished, "second")
    assert call("report", str(finished), "second", "--out", "both.html").status == 0
    assert Path("both.html").stat().st_size > 1000


def test_a_history_is_a_folder_of_nights(call: Call, finished: Path, tmp_path: Path) -> None:
    """``--history`` adds the trends over the nights of a folder, read from their totals; the run itself is the latest night."""
    earlier = tmp_path / "nights" / "2001-01-01"
    earlier.mkdir(parents=True)
    info = json.loads((finished / "run.json").read_text())
    (earlier / "run.json").write_text(json.dumps(info | {"started": 978_307_200.0}))
    for form in ("html", "markdown"):
        called = call("report", str(finished), "--history", "nights", "--format", form, "--out", "trends")
        assert called.status == 0, called.stderr
        assert "2 nights, 2001-01-01 to 20" in Path("trends").read_text().replace("\\-", "-")
    shutil.copytree(finished, tmp_path / "nights" / "tonight")
    assert call("report", "nights/tonight", "--history", "nights", "--out", "trends").status == 0
    assert "2 nights, 2001-01-01 to 20" in Path("trends").read_text()


def test_a_history_without_runs_is_refused(call: Call, finished: Path, tmp_path: Path) -> None:
    """A folder that holds no run is a mistake, not an empty history."""
    (tmp_path / "nights").mkdir()
    called = call("report", str(finished), "--history", "nights")
    assert called.status == 2
    assert "nights holds no run directory" in called.stderr


def test_a_report_that_takes_no_history_says_so(call: Call, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A renderer of a third party has runs as its one argument: it is not handed more, and a history is refused."""
    monkeypatch.setattr(plugins, "_load", lambda *_: lambda runs: f"{len(runs)} run".encode())
    assert call("report", str(finished), "--format", "plain", "--out", "plain.txt").status == 0
    assert Path("plain.txt").read_text() == "1 run"
    shutil.copytree(finished, tmp_path / "nights" / "one")
    called = call("report", str(finished), "--format", "plain", "--history", "nights")
    assert called.status == 2
    assert "the report 'plain' shows no history" in called.stderr


def test_unknown_report_format_is_refused(call: Call, finished: Path) -> None:
    """An unknown format exits 2 with the known ones."""
    called = call("report", str(finished), "--format", "pdf")
    assert called.status == 2
    assert "unknown report 'pdf'; known are html, junit, markdown, sarif" in called.stderr


def test_report_of_what_is_no_run_directory_is_refused(call: Call, tmp_path: Path) -> None:
    """A folder without a run in it, and one that is not there, exit 2 with its name."""
    for folder in (tmp_path, tmp_path / "nowhere"):
        called = call("report", str(folder))
        assert called.status == 2
        assert str(folder) in called.stderr


def test_report_of_a_damaged_run_is_refused(call: Call, tmp_path: Path) -> None:
    """A ``run.json`` that is none exits 2 and is not executed, guessed at or repaired."""
    (tmp_path / "run.json").write_text('{"format": 1, "seed": "no number"}')
    called = call("report", str(tmp_path))
    assert called.status == 2
    assert "is not a run.json" in called.stderr


def test_report_that_cannot_be_written_is_refused(call: Call, finished: Path) -> None:
    """A report that has no folder to go to exits 2 with one line."""
    called = call("report", str(finished), "--out", "no/such/folder/report.html")
    assert called.status == 2
    assert "Traceback" not in called.stderr
