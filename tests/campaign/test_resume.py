"""Runs that stop in every way there is, and go on where they stopped: no case twice, none left out, nobody accused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from convfuzz.record.events import BackendEnded, FindingKept
from convfuzz.record.journal import read_journal

from .conftest import KERNELS
from .launch import Finished, Place, cases_begun, descendants, drawn, events_of, finish, holding, told, wait_for

SEED = ("--seed", "5", "--strategy", "smoke")
STOPS_ONCE = f"""{KERNELS}

import time
from pathlib import Path

HERE = Path(__file__).parent / "was-here"


def stops_once(x, w, b, config):
    with HERE.open("a") as calls:
        calls.write("x")
    if HERE.stat().st_size == 8:
        time.sleep(600)
    return correct(x, w, b, config)
"""
SLOW_TO_REDUCE = f"""{KERNELS}

import time
from pathlib import Path

FAST = Path(__file__).parent / "fast"


def twice(x, w, b, config):
    if not FAST.exists():
        time.sleep(0.2)
    return correct(x, w, b, config) * 2
"""


@pytest.fixture(scope="module")
def whole(session_place: Place) -> Finished:
    """A run of 60 cases in two workers that nobody interrupts."""
    return session_place.run_warm(KERNELS, ["right", "doubled"], *SEED, "--max-cases", "60", "--workers", "2")


def kill(process: Any) -> None:
    """Kill a supervisor and wait for its processes to follow."""
    started = descendants(process)
    process.kill()
    process.communicate(timeout=300)
    psutil.wait_procs(started, timeout=60)


def same_run(done: Finished, whole: Finished, *, findings: bool = True) -> None:
    """Assert that a resumed run is what it is when nobody interrupts it; ``findings`` has their cases the same too."""
    assert done.status == whole.status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert drawn(done.directory) == drawn(whole.directory)
    for total in ("cases", "configs", "comparisons", "verdicts", "seed", "strategy", "backends"):
        assert done.info[total] == whole.info[total], total
    if findings:
        assert done.info["findings"] == whole.info["findings"]
        assert {f.fingerprint: f.count for f in done.run.findings} == {f.fingerprint: f.count for f in whole.run.findings}
    assert done.run.summary.rounds == whole.run.summary.rounds
    counted_once(done)


def counted_once(done: Finished) -> None:
    """Assert that the totals are those of the journals, and that each failure belongs to one finding."""
    cases = drawn(done.directory)
    assert done.info["cases"] == len(cases) == len({(number, index) for number, index, _ in cases})
    ends = Counter(
        (event.backend, str(event.verdict))
        for journal in done.directory.glob("journal-[0-9]*.jsonl")
        for event in read_journal(journal)
        if isinstance(event, BackendEnded)
    )
    assert ends == Counter({(name, verdict): n for name, counts in done.info["verdicts"].items() for verdict, n in counts.items()})
    kept: Counter[str] = Counter()
    for event in read_journal(done.directory / "journal-findings.jsonl"):
        if isinstance(event, FindingKept):
            kept[event.fingerprint] += 1 + sum(kept.pop(absorbed, 0) for absorbed in event.absorbs)
    assert {f.fingerprint: f.count for f in done.run.findings} == kept
    assert kept.total() == sum(n for (_, verdict), n in ends.items() if verdict not in ("agree", "unsupported"))


def started_and_killed(place: Place, calls: int, cases: int) -> Path:
    """Start that run, kill its supervisor once so many cases have begun, and return its directory; its kernel waits meanwhile."""
    place.hold(calls)
    process, out = place.start(KERNELS, ["right", "doubled"], *SEED, "--max-cases", "60", "--workers", "2")
    wait_for(lambda: cases_begun(out) >= cases and (out / "journal-findings.jsonl").exists())
    kill(process)
    assert cases_begun(out) < 60, "the run was over before it could be killed"
    place.release()
    assert json.loads((out / "run.json").read_text())["stopped"] == ""
    return out


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run whose supervisor was killed amid its cases, to be copied."""
    return started_and_killed(Place(tmp_path_factory.mktemp("killed")), calls=45, cases=25)


def goes_on(done: Finished, whole: Finished) -> None:
    """Assert that a killed run has been resumed where it stopped, and is in the end the run it would have been."""
    same_run(done, whole)
    assert done.info["stopped"] == "max-cases"
    assert "resumes after" in done.stdout


def test_supervisor_killed_at_once(place: Place, whole: Finished) -> None:
    """A run whose supervisor was killed on its first case is, resumed by a program of its own, the run it would have been."""
    goes_on(place.resume(started_and_killed(place, calls=45, cases=1)), whole)


def test_supervisor_killed_amid_its_cases(place: Place, whole: Finished, killed: Path) -> None:
    """A run whose supervisor was killed when nearly half its cases had begun is, resumed by a program, the run it would have been."""
    goes_on(place.resume(copied(killed, place)), whole)


def test_ctrl_c(place: Place, whole: Finished) -> None:
    """A run that was interrupted, and interrupted again after it went on, is in the end the run it would have been."""
    place.hold(20)
    process, out = place.start(KERNELS, ["right", "doubled"], *SEED, "--max-cases", "60", "--workers", "2")
    wait_for(lambda: cases_begun(out) > 10)
    os.killpg(process.pid, signal.SIGINT)
    first = finish(process, out)
    before, begun = first.info, cases_begun(out)
    assert (first.status, before["stopped"]) == (130, "interrupted")
    place.hold(10)
    process = place.launch("run", "--resume", str(out))
    wait_for(lambda: cases_begun(out) > begun)
    os.killpg(process.pid, signal.SIGINT)
    second = finish(process, out)
    place.release()
    assert second.status == 130
    assert second.info["elapsed_s"] > before["elapsed_s"] > 0
    assert second.info["started"] == before["started"]
    same_run(place.resume_warm(out), whole, findings=False)  # Ctrl-C leaves the cases of the last failures as they were


@pytest.mark.parametrize("times", [1, 3])
def test_ctrl_c_while_a_finding_is_reduced(place: Place, times: int) -> None:
    """Ctrl-C in the middle of a reduction, and Ctrl-C again out of impatience, lose no failure."""
    process, out = place.start(SLOW_TO_REDUCE, ["twice"], *SEED, "--max-cases", "8")
    wait_for(lambda: (out / "journal-0.jsonl").exists() and ("end", "twice", "wrong") in told(out))
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.1)
    first = finish(process, out)
    assert (first.status, first.info["stopped"], first.info["exit_status"]) == (130, "interrupted", 130)
    assert "Traceback" not in first.stderr
    (place.folder / "fast").touch()
    done = place.resume_warm(out)
    counted_once(done)
    assert (done.status, done.info["cases"], done.verdicts("twice")["wrong"] > 1) == (1, 8, True)


def test_finished_run_goes_on_to_a_new_total(place: Place, whole: Finished) -> None:
    """``--max-cases`` is the new total, and the cases are those of a run that was asked for it at once."""
    first = place.run_warm(KERNELS, ["right", "doubled"], *SEED, "--max-cases", "21", "--workers", "2")
    assert first.info["cases"] == 21
    done = place.resume_warm(first.directory, "--max-cases", "60")
    same_run(done, whole)
    assert done.info["arguments"]["max_cases"] == 60


def test_nothing_is_left_to_do(whole: Finished, session_place: Place) -> None:
    """A finished run that is resumed without a new limit stays as it is, and exits as it did."""
    again = session_place.resume_warm(whole.directory)
    same_run(again, whole)
    assert "Nothing is left to do" in again.stdout


def test_time_is_further_time(place: Place) -> None:
    """``--time`` is time from now on, and what the sittings took adds up."""
    first = place.run_warm(KERNELS, ["right"], *SEED, "--time", "1s")
    before = first.info
    began = time.monotonic()
    done = place.resume_warm(first.directory, "--time", "2s")
    took = time.monotonic() - began
    counted_once(done)
    assert (done.status, done.info["stopped"]) == (0, "time")
    assert done.info["cases"] > before["cases"]
    assert before["elapsed_s"] + 2 <= done.info["elapsed_s"] <= before["elapsed_s"] + took
    assert done.info["arguments"]["time"] == pytest.approx(before["elapsed_s"] + 2)


def test_backend_in_flight_is_not_blamed(place: Place) -> None:
    """The start that the killed supervisor's worker left open is no crash: that backend runs again, on that case only."""
    process, out = place.start(STOPS_ONCE, ["right", "stops_once", "doubled"], *SEED, "--max-cases", "12", "--case-timeout", "60s")
    wait_for(lambda: (place.folder / "was-here").exists() and (place.folder / "was-here").stat().st_size >= 8)
    wait_for(lambda: told(out)[-1] == ("start", "stops_once"))
    case = [line for line in told(out) if line[0] == "case"][-1]
    kill(process)
    done = place.resume_warm(out)
    counted_once(done)
    assert done.info["cases"] == 12
    assert done.verdicts("stops_once") == done.verdicts("right") == {"agree": 12}
    lines = told(out)
    at = lines.index(case)
    assert [line[:2] for line in lines[at + 1 : at + 8]] == [
        ("start", "right"), ("end", "right"), ("start", "stops_once"), ("start", "stops_once"), ("end", "stops_once"),
        ("start", "doubled"), ("end", "doubled"),
    ]  # fmt: skip


def test_failures_that_were_not_looked_at_are_looked_at(place: Place) -> None:
    """Failures whose reduction the kill cut short become findings when the run goes on."""
    process, out = place.start(SLOW_TO_REDUCE, ["twice"], *SEED, "--max-cases", "8")
    wait_for(lambda: out.exists() and (out / "journal-0.jsonl").exists() and len(told(out)) >= 9)
    kill(process)
    assert not list((out / "findings").glob("*.json"))
    (place.folder / "fast").touch()
    done = place.resume_warm(out)
    counted_once(done)
    assert done.status == 1
    assert done.findings("twice") == {"conv1d_c1_o1_i1_k1_f32@x0=1_w0=1": "wrong"}
    assert done.run.findings[0].count > 1
    (script,) = (out / "repro").glob("*.py")
    assert script.stem == done.run.findings[0].fingerprint


def test_killed_worker_costs_no_case(place: Place, whole: Finished) -> None:
    """A worker that is killed between two polls is replaced, and the same cases run as if nobody had killed it."""
    place.hold(20)
    process, out = place.start(KERNELS, ["right", "doubled"], *SEED, "--max-cases", "60", "--workers", "2")
    wait_for(lambda: cases_begun(out) > 10)
    workers = holding(process, "journal-0.jsonl")
    assert workers
    for worker in workers:
        worker.kill()
    place.release()
    done = finish(process, out)
    assert drawn(out) == drawn(whole.directory)
    counted_once(done)


@pytest.mark.parametrize("tail", [b'{"event":"case","ca', b"\x00" * 5000, b'{"event":"end"' * 60_000], ids=["half", "zeros", "long"])
def test_last_line_that_is_cut_off(place: Place, whole: Finished, killed: Path, tail: bytes) -> None:
    """Half a line at the end of a journal is cut off, and the run goes on."""
    out = copied(killed, place)
    for name in ("journal-1.jsonl", "journal-findings.jsonl"):
        with (out / name).open("ab") as journal:
            journal.write(tail)
    same_run(place.resume_warm(out), whole)


# -- what is refused ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def short(session_place: Place) -> Finished:
    """A finished run of six cases."""
    return session_place.run_warm(KERNELS, ["right"], *SEED, "--max-cases", "6")


def copied(directory: Path, place: Place) -> Path:
    """Return a copy of a run directory, with the kernels that it names, to be resumed or damaged."""
    (place.folder / "kernels.py").write_text((directory.parent / "kernels.py").read_text())
    return shutil.copytree(directory, place.folder / "copy")


def refused(done: Finished, message: str) -> None:
    """Assert that a run was refused with one clear line."""
    assert done.status == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seed", "6"), "--seed 6 cannot be changed by --resume: the run has 5"),
        (("--strategy", "default"), "--strategy default cannot be changed by --resume: the run has smoke"),
        (("--backends", "torch"), "--backends torch cannot be changed by --resume: the run has kernels.py::right"),
        (("--workers", "2"), "--workers 2 cannot be changed by --resume: the run has 1"),
        (("--case-timeout", "3s"), "--case-timeout 3s cannot be changed by --resume: the run has 20s"),
        (("--memory-limit", "2"), "--memory-limit 2GiB cannot be changed by --resume: the run has 4GiB"),
        (("--out", "elsewhere"), "--out elsewhere cannot be changed by --resume: a run resumes in its own directory"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_options_that_would_make_it_another_run(session_place: Place, short: Finished, options: tuple[str, ...], message: str) -> None:
    """What makes a run what it is cannot be changed, and the option is named; nothing is touched."""
    before = {path: path.read_bytes() for path in short.directory.rglob("*") if path.is_file()}
    refused(session_place.resume_warm(short.directory, *options), message)
    assert {path: path.read_bytes() for path in short.directory.rglob("*") if path.is_file()} == before


def test_options_that_say_the_same(session_place: Place, short: Finished) -> None:
    """Options that repeat what the run was begun with are no conflict."""
    same = ("--seed", "5", "--strategy", "smoke", "--backends", "kernels.py::right", "--workers", "1", "--case-timeout", "20s")
    assert session_place.resume_warm(short.directory, *same).status == 0


def test_ledger_that_has_other_entries(session_place: Place, short: Finished) -> None:
    """A ledger that would not be read is no option that is dropped in silence: only one with the run's own entries is accepted."""
    ledger = session_place.folder / "known.toml"
    ledger.write_text("format = 1\n")
    assert session_place.resume_warm(short.directory, "--ledger", "known.toml").status == 0
    ledger.write_text(
        """
format = 1

[[entry]]
action = "tolerate"
fingerprint = "0123abcd"
backend = "kernels.py::right"
verdict = "wrong"
case = "conv1d_c1_o1_i3_k2_f32@integers.0"
reason = "accepted"
link = "https://example.org/1"
"""
    )
    refused(session_place.resume_warm(short.directory, "--ledger", "known.toml"), "--ledger known.toml cannot be changed by --resume")


def edited(out: Path, **changes: object) -> None:
    """Change what ``run.json`` says."""
    info = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(info | changes))


def test_other_versions(place: Place, short: Finished) -> None:
    """A run that began with another version of anything that has a part in its verdicts is refused, with both versions."""
    out = copied(short.directory, place)
    versions = short.info["versions"] | {"numpy": "1.0", "torch": "0.4"}
    edited(out, versions=versions)
    done = place.resume_warm(out, "--max-cases", "9")
    refused(done, f"numpy was 1.0 and is {short.info['versions']['numpy']}, torch was 0.4 and is not there")
    assert cases_begun(out) == 6


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("run.json", b'{"format": 0}', "run.json has run.json format 0; this convfuzz reads format 1"),
        ("run.json", b'{"format": 2, "of": "the future"}', "run.json has run.json format 2; this convfuzz reads format 1"),
        (
            "journal-0.jsonl",
            b'{"event":"journal","format":2,"worker":"0","time":1.0}\n',
            "line 1 has journal format 2; this convfuzz reads format 1",
        ),
        ("journal-0.jsonl", b'{"event":"jour\n{}\n', "journal-0.jsonl, line 1: not an event"),
        ("journal-findings.jsonl", b"\x80\x04K\x01.\n", "journal-findings.jsonl, line 1: not an event"),
        ("findings/0123abcd.json", b'{"format": 7}', "0123abcd.json has finding format 7; this convfuzz reads format 1"),
    ],
)
def test_other_formats_and_damage(place: Place, short: Finished, name: str, data: bytes, message: str) -> None:
    """A file of another format version, or one that is damaged, is refused by its name, and nothing is touched."""
    out = copied(short.directory, place)
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_bytes(data)
    refused(place.resume_warm(out, "--max-cases", "9"), message)
    assert (out / name).read_bytes() == data


def test_damaged_line_in_the_middle(place: Place, short: Finished) -> None:
    """A journal with a line in it that is no event is refused with the line's number."""
    out = copied(short.directory, place)
    lines = (out / "journal-0.jsonl").read_bytes().splitlines(keepends=True)
    lines[4] = lines[4][: len(lines[4]) // 2] + b"\n"
    (out / "journal-0.jsonl").write_bytes(b"".join(lines))
    refused(place.resume_warm(out, "--max-cases", "9"), "journal-0.jsonl, line 5: not an event")


@pytest.mark.parametrize(
    "arguments", [{}, {"workers": "many", "case_timeout": 1.0, "memory_limit": 1.0}, {"workers": 0, "case_timeout": 1, "memory_limit": 1}]
)
def test_run_json_that_does_not_say_how(place: Place, short: Finished, arguments: dict[str, object]) -> None:
    """Arguments that are missing, of another type or impossible are refused."""
    out = copied(short.directory, place)
    edited(out, arguments=arguments)
    refused(place.resume_warm(out), "workers")


def test_no_run_directory(place: Place) -> None:
    """A folder without a run in it is refused, and nothing is put into it."""
    (place.folder / "empty").mkdir()
    refused(place.resume_warm(place.folder / "empty"), "is not a run directory: it has no run.json")
    refused(place.resume_warm(place.folder / "missing"), "is not a run directory: it has no run.json")
    assert list((place.folder / "empty").iterdir()) == []


def test_space_that_has_changed(place: Place) -> None:
    """A search space that draws other cases than it did cannot be resumed: what was done could not be told from the rest."""
    cases = ["conv1d_c1_o1_i4_k2_f32@integers.0", "conv1d_c2_o1_i4_k2_f32@integers.0"]
    first = place.run_warm(KERNELS, ["right"], cases=cases)
    (place.folder / "cases.txt").write_text("conv1d_c5_o1_i4_k2_f32@integers.0\n" * 3)
    (first.directory / "journal-0.jsonl").write_bytes(
        b"".join(line for line in (first.directory / "journal-0.jsonl").read_bytes().splitlines(keepends=True) if b"round-end" not in line)
    )
    done = place.resume_warm(first.directory, "--max-cases", "3")
    refused(done, "the strategy 'listed' draws conv1d_c5_o1_i4_k2_f32@integers.0 where it drew conv1d_c2_o1_i4_k2_f32@integers.0 before")


# -- two at once ----------------------------------------------------------------------------------------------------------


def test_two_campaigns_into_one_directory(place: Place) -> None:
    """Of two campaigns that are started into one directory at the same time one runs and the other is refused."""
    (place.folder / "kernels.py").write_text("")
    process, out = place.start(KERNELS, ["right"], *SEED, "--max-cases", "20")
    other = place.launch("run", "--backends", "kernels.py::right", *SEED, "--max-cases", "20", "--out", str(out))
    both = sorted((finish(process, out), finish(other, out)), key=lambda done: done.status)
    assert [done.status for done in both] == [0, 2]
    assert "is in use: another convfuzz campaign is running in it" in both[1].stderr or "holds a run already" in both[1].stderr
    counted_once(both[0])
    assert both[0].info["cases"] == 20


def test_run_that_still_runs_cannot_be_gone_on_with(place: Place) -> None:
    """``--resume`` of a run that somebody else runs is refused; once that one is killed it goes on, without a lock in its way."""
    process, out = place.start(KERNELS, ["right"], *SEED, "--max-cases", "100000")
    wait_for(lambda: cases_begun(out) > 3)
    refused(place.resume_warm(out), "is in use: another convfuzz campaign is running in it")
    kill(process)
    begun = cases_begun(out)
    done = place.resume_warm(out, "--max-cases", str(begun + 5))
    assert (done.status, done.info["cases"]) == (0, begun + 5)
    counted_once(done)


def test_events_after_going_on_are_in_one_journal(whole: Finished) -> None:
    """The helper that the tests above rest on sees every round of every worker."""
    assert {number for number, *_ in drawn(whole.directory)} == {0, 1}
    assert len(events_of(whole.directory, 1)) > 60
