"""Run directories: made once, refused where there is a run already, written in one step, and read back whole."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convfuzz.errors import RunDirectoryError, UnreadableFile, UsageError
from convfuzz.record.events import BackendEnded, CaseEnded, CaseStarted
from convfuzz.record.finding import Finding
from convfuzz.record.journal import JournalWriter
from convfuzz.record.run_directory import Run, RunInfo, write_finding, write_run_info
from convfuzz.record.run_lock import new_run_directory, resumed_run_directory
from convfuzz.system.files import write_atomically
from convfuzz.verdicts import Verdict

LINE = "conv1d_c1_o1_i3_k3_f32@integers.0"


def info(**changes: Any) -> RunInfo:
    """Make the facts of a run."""
    given: dict[str, Any] = {
        "seed": 1,
        "strategy": "smoke",
        "backends": ["b"],
        "arguments": {},
        "versions": {},
        "machine": {},
        "started": 1.0,
    }
    return RunInfo(**(given | {"tool_version": "0"} | changes))


def finding(fingerprint: str, verdict: Verdict, backend: str = "b") -> Finding:
    """Make a finding."""
    return Finding(fingerprint=fingerprint, verdict=verdict, backend=backend, case=LINE, first_case=LINE)


def new(path: Path | None) -> Path:
    """Make the directory of a new run, and leave it."""
    with new_run_directory(path) as directory:
        return directory


def entries(directory: Path) -> set[str]:
    """Return the names in a directory, hidden ones included."""
    return {path.name for path in directory.iterdir()}


def test_a_new_directory(tmp_path: Path) -> None:
    """A new run directory is made with its parents and holds two empty folders."""
    made = new(tmp_path / "a" / "b")
    assert made == tmp_path / "a" / "b"
    assert entries(made) == {"findings", "repro", ".lock"}


def test_an_existing_directory_without_a_run(tmp_path: Path) -> None:
    """A directory that is there already is used as long as it holds no run, whatever else it holds."""
    (tmp_path / "notes.txt").write_text("mine")
    assert new(tmp_path) == tmp_path
    assert new(tmp_path) == tmp_path
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_default_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name each run gets a directory of its own under convfuzz-runs."""
    monkeypatch.chdir(tmp_path)
    first, second = new(None), new(None)
    assert first != second
    for made in (first, second):
        assert made.parent == Path("convfuzz-runs")
        assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", made.name)


@pytest.mark.parametrize("there", ["run.json", "journal-0.jsonl", "journal-gw3.jsonl"])
def test_a_run_is_not_overwritten(tmp_path: Path, there: str) -> None:
    """A directory with a run in it, even one that died before its run.json, is refused and left alone."""
    (tmp_path / there).touch()
    with pytest.raises(RunDirectoryError, match="holds a run already; choose another --out"):
        new(tmp_path)
    assert entries(tmp_path) == {there}


@pytest.mark.parametrize("below", ["", "run", "deep/run"])
def test_a_path_that_cannot_be_written(tmp_path: Path, below: str) -> None:
    """A path that is a file, or lies below one, is refused as a usage error that names it and says why."""
    (tmp_path / "file").touch()
    path = tmp_path / "file" / below if below else tmp_path / "file"
    with pytest.raises(UsageError, match=f"{re.escape(str(path))} cannot be written: .*is not a folder"):
        new(path)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    """A file where the findings' folder belongs is refused."""
    (tmp_path / "findings").touch()
    with pytest.raises(RunDirectoryError, match="cannot be written"):
        new(tmp_path)


def fail_in(directory: Path, run: Callable[[Path], object]) -> None:
    """Begin a run and end it with an exception."""

    def campaign() -> None:
        with new_run_directory(directory) as made:
            run(made)
            raise UsageError("it cannot begin")

    with pytest.raises(UsageError, match="it cannot begin"):
        campaign()


@pytest.mark.parametrize("name", ["run", "deep/run"])
def test_nothing_is_left_of_a_run_that_never_ran(tmp_path: Path, name: str) -> None:
    """A run that fails before it has a run.json takes its directory back, with its logs and the folders above that it made."""
    fail_in(tmp_path / name, lambda made: (made / "worker-0.log").write_text("warning"))
    assert not list(tmp_path.iterdir())


def test_what_was_there_before_is_left(tmp_path: Path) -> None:
    """Taking a run back removes nothing that it did not make, whatever its name."""
    (tmp_path / "findings").mkdir()
    for name in ("notes.txt", "worker-1.log", "sandbox.log"):
        (tmp_path / name).write_text("mine")
    fail_in(tmp_path, lambda made: (made / "worker-0.log").write_text("warning"))
    assert entries(tmp_path) == {"findings", "notes.txt", "worker-1.log", "sandbox.log"}


def test_what_has_run_is_not_taken_back(tmp_path: Path) -> None:
    """A run directory that holds a run.json or a finding stays, however its run ends."""
    for write in (lambda made: write_run_info(made, info()), lambda made: write_finding(made, finding("0123abcd", Verdict.WRONG))):
        made = tmp_path / str(id(write))
        fail_in(made, write)
        assert (made / "run.json").is_file() or (made / "findings" / "0123abcd.json").is_file()


def test_a_directory_belongs_to_one_campaign(tmp_path: Path) -> None:
    """While a campaign has a directory nobody else gets it, new or resumed; afterwards the run in it can go on."""
    with new_run_directory(tmp_path):
        for _ in range(2):
            with (
                pytest.raises(RunDirectoryError, match="is in use: another convfuzz campaign is running in it"),
                new_run_directory(tmp_path),
            ):
                pass
        write_run_info(tmp_path, info())
        with pytest.raises(RunDirectoryError, match="is in use"), resumed_run_directory(tmp_path):
            pass
    with resumed_run_directory(tmp_path) as found:
        assert found == info()
        with pytest.raises(RunDirectoryError, match="is in use"), resumed_run_directory(tmp_path):
            pass


@pytest.mark.parametrize("stale", [b"", b"4242\n"])
def test_a_lock_that_nobody_holds(tmp_path: Path, stale: bytes) -> None:
    """The file of a lock whose process is gone is in nobody's way."""
    (tmp_path / ".lock").write_bytes(stale)
    assert new(tmp_path) == tmp_path


def test_a_lock_that_is_a_link(tmp_path: Path) -> None:
    """A lock that leads elsewhere is not followed."""
    (tmp_path / "elsewhere").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunDirectoryError, match="cannot be written"):
        new(tmp_path / "run")
    assert (tmp_path / "elsewhere").read_text() == "precious"


def test_atomic_writing(tmp_path: Path) -> None:
    """A file is replaced as a whole, can be read by others, and nothing else is left beside it."""
    path = tmp_path / "report.html"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert entries(tmp_path) == {"report.html"}


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """When the file cannot be put in its place, no temporary file stays and what was there is untouched."""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "inside").touch()
    with pytest.raises(OSError, match="taken"):
        write_atomically(tmp_path / "taken", b"data")
    assert entries(tmp_path) == {"taken"}
    assert entries(tmp_path / "taken") == {"inside"}


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    """When writing itself fails the old file stays whole and alone."""
    path = tmp_path / "run.json"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert entries(tmp_path) == {"run.json"}


def test_reading_a_run_back(tmp_path: Path) -> None:
    """A run is read with its facts, the fold of all its journals, and its findings, the gravest first."""
    made = new(tmp_path / "run")
    write_run_info(made, info(seed=9))
    for worker in ("0", "1"):
        with JournalWriter(made, worker) as journal:
            journal.write(CaseStarted(LINE, 2.0))
            journal.write(BackendEnded(backend="b", verdict=Verdict.AGREE, seconds=0.5))
            journal.write(CaseEnded())
    for name, verdict in (("aaaaaaaa", Verdict.IMPRECISE), ("bbbbbbbb", Verdict.WRONG), ("cccccccc", Verdict.CRASH)):
        write_finding(made, finding(name, verdict))
    (made / "repro" / "bbbbbbbb.py").write_text("print()")
    run = Run.load(made)
    assert run.info == info(seed=9)
    assert (run.summary.cases, run.summary.backends["b"].verdicts[Verdict.AGREE]) == (2, 2)
    assert [f.verdict for f in run.findings] == [Verdict.CRASH, Verdict.WRONG, Verdict.IMPRECISE]
    assert run.script(run.findings[1]) == made / "repro" / "bbbbbbbb.py"
    assert run.script(run.findings[0]) is None


def test_a_run_that_goes_on(tmp_path: Path) -> None:
    """A run whose journals have not begun, or whose folders are missing, is read as far as it is."""
    write_run_info(tmp_path, info())
    run = Run.load(tmp_path)
    assert (run.summary.cases, run.findings, run.info.stopped) == (0, (), "")


def test_no_run_directory(tmp_path: Path) -> None:
    """A directory without run.json is no run directory, and a missing one is none either."""
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunDirectoryError, match=r"is not a run directory: it has no run\.json"):
            Run.load(path)


@pytest.mark.parametrize("damaged", ["run.json", "journal-0.jsonl", "findings/0123abcd.json"])
def test_a_damaged_file_is_named(tmp_path: Path, damaged: str) -> None:
    """Whichever file of a run is damaged, the error names it."""
    made = new(tmp_path / "run")
    write_run_info(made, info())
    write_finding(made, finding("0123abcd", Verdict.WRONG))
    with JournalWriter(made, "0"):
        pass
    (made / damaged).write_bytes(b'{"broken": \n')
    with pytest.raises(UnreadableFile, match=Path(damaged).name):
        Run.load(made)
