"""Standard output that is closed, full, missing, or in an encoding without our characters; and signals while a command loads."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from campaign.launch import cases_begun, wait_for

from convfuzz.cli import streams

from .conftest import KERNELS

pytestmark = pytest.mark.slow
CASE = "conv1d_c1_o1_i3_k2_f32@integers.0"
CHECK = ("check", CASE, CASE, "--backends", "kernels.py::wrong")
RUN = ("run", "--backends", "kernels.py::wrong", "--max-cases", "3", "--seed", "1", "--strategy", "smoke", "--out", "out")


def command(*arguments: str) -> list[str]:
    """Return the command line of the program."""
    return [sys.executable, "-m", "convfuzz", *arguments]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with kernels."""
    (tmp_path / "kernels.py").write_text(KERNELS)
    return tmp_path


def ended_into_closed_pipe(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run a command whose reader goes away after one line, as ``| head -1`` does; return its status and its standard error."""
    with subprocess.Popen(command(*arguments), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        return process.wait(timeout=300), errors


def complete(folder: Path) -> bool:
    """Whether the run in ``out`` has ended with its report and its findings."""
    return (folder / "out" / "report.html").is_file() and bool(list((folder / "out" / "findings").iterdir()))


def test_campaign_goes_on_when_its_reader_goes_away(folder: Path) -> None:
    """``run … | head -1`` runs to its end: report, findings, the status of findings, and a line that says where the report is."""
    status, errors = ended_into_closed_pipe(folder, *RUN)
    assert status == 1
    assert complete(folder)
    (line,) = errors.splitlines()
    assert line.startswith("convfuzz: standard output cannot be written: Broken pipe; the run is complete without it")
    assert line.endswith("out/report.html")


def test_other_commands_end_when_their_reader_goes_away(folder: Path) -> None:
    """``check … | head -1`` ends as a program that SIGPIPE ends, without a word."""
    assert ended_into_closed_pipe(folder, *CHECK) == (141, "")


def test_replay_that_records_goes_on_when_its_reader_goes_away(folder: Path) -> None:
    """``replay --record FILE | head -1`` runs all findings and writes the record."""
    assert subprocess.run(command(*RUN), cwd=folder, capture_output=True, check=False, timeout=300).returncode == 1
    status, errors = ended_into_closed_pipe(folder, "replay", "out", "--record", "record.json")
    assert (status, errors) == (1, "")
    assert b"still-failing" in (folder / "record.json").read_bytes() or b"still failing" in (folder / "record.json").read_bytes()


@pytest.mark.parametrize(("arguments", "status"), [(RUN, 1), (CHECK, 2), (("--help",), 2), (("strategies",), 2)], ids=lambda v: str(v)[:20])
def test_full_disk_behind_standard_output(folder: Path, arguments: tuple[str, ...], status: int) -> None:
    """A campaign goes on and keeps its status; other commands end with 2 and one line; nobody sees a traceback."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command(*arguments), cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=300)
    assert done.returncode == status
    (line,) = done.stderr.splitlines()
    assert line.startswith("convfuzz: standard output cannot be written: No space left on device")
    assert complete(folder) == (arguments is RUN)


def test_terminal_that_closes(folder: Path) -> None:
    """A run whose terminal goes away ends with SIGHUP's status, its report, and one line that says where it is and how to go on."""
    terminal, other_end = pty.openpty()
    into = f'exec "$@" <{os.ttyname(other_end)} >{os.ttyname(other_end)}'  # which makes it the terminal of the session
    run = command("run", "--backends", "kernels.py::wrong", "--time", "10m", "--seed", "1", "--strategy", "smoke", "--out", "out")
    with subprocess.Popen(
        ["/bin/bash", "-c", into, "bash", *run], cwd=folder, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as it:
        wait_for(lambda: cases_begun(folder / "out") > 5)
        os.close(other_end)
        os.close(terminal)
        _, errors = it.communicate(timeout=300)
    assert it.returncode == 129
    assert (folder / "out" / "report.html").is_file()
    (line,) = errors.splitlines()
    assert line.startswith("convfuzz: ended by SIGHUP; everything so far is saved, its report: ")
    assert line.endswith("; to resume the run where it stopped: convfuzz run --resume out")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_encoding_without_our_characters(folder: Path, encoding: str) -> None:
    """What an encoding lacks is printed in plainer characters, and the status is the campaign's."""
    done = subprocess.run(
        command(*RUN), cwd=folder, env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True, check=False, timeout=300
    )
    assert (done.returncode, done.stderr) == (1, b"")
    text = done.stdout.decode(encoding)
    assert "canary caught" in text
    assert "report: file://" in text
    assert ("|" in text) == (encoding == "ascii")


def test_names_that_no_encoding_has(folder: Path) -> None:
    """A file name of bytes that are no text is printed as escapes."""
    name = b"out-\xff"
    (folder / os.fsdecode(name)).mkdir()
    done = subprocess.run([*command("report"), name], cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 2
    assert done.stderr == "convfuzz: out-\\udcff is not a run directory: it has no run.json\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_missing_streams(folder: Path, closed: str) -> None:
    """Without one of the standard streams a campaign is the same, and none of its files gets the stream's number."""
    done = subprocess.run(
        ["/bin/bash", "-c", f'"$@" {closed}', "bash", *command(*RUN)], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 1
    assert complete(folder)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "closed"),
    [(("completion", "bash"), ">&-"), (("check", "-"), "<&-"), (("judge", "kernels.py", "kernels.py", "--json"), ">&-")],
    ids=lambda value: value[0],
)
def test_missing_streams_of_other_commands(folder: Path, arguments: tuple[str, ...], closed: str) -> None:
    """A command that writes to standard output itself, or reads standard input, needs none of the streams to be there."""
    begun = ["/bin/bash", "-c", f'"$@" {closed}', "bash", *command(*arguments)]
    done = subprocess.run(begun, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == (0 if arguments[0] == "completion" else 2)
    assert "Traceback" not in done.stderr


SLOW_START = """
import sys, time
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            print("loading", flush=True)
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                raise ImportError("numpy makes an ImportError of it") from None
sys.meta_path.insert(0, Slow())
sys.argv = ["convfuzz", "check", "x"]
from convfuzz.__main__ import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_while_modules_load(number: signal.Signals) -> None:
    """While a command loads its modules a signal ends it at once, with one line and the documented status."""
    start = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{SLOW_START}"
    with subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + number, f"convfuzz: ended by {number.name}\n")


def test_plainer_characters_are_ascii() -> None:
    """Whatever stands for one of our characters can be printed anywhere."""
    assert all(plain.isascii() and not plain.startswith("\\") for plain in streams._PLAIN.values())
