"""Journals: written event by event, read back while they grow, after a crash, and from strangers."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from convfuzz.errors import UnreadableFile
from convfuzz.record.events import (
    FORMAT_VERSION,
    BackendEnded,
    BackendStarted,
    CanaryEnded,
    CaseEnded,
    CaseStarted,
    Event,
    FindingKept,
    JournalOpened,
    RoundEnded,
    RoundStarted,
)
from convfuzz.record.journal import JournalTail, JournalWriter, append_events, read_journal
from convfuzz.system.json_records import Real
from convfuzz.verdicts import Discrepancy, Verdict

EVENTS: list[Event] = [
    RoundStarted(3, 12345678901234567890, 1.5),
    CaseStarted("conv2d_c1_o1_i3_k3_f32@special.1", 2.0),
    BackendStarted("torch:native"),
    BackendEnded(
        backend="torch:native",
        verdict=Verdict.NON_FINITE,
        seconds=0.25,
        reason='a "quoted" reason,\nover two lines,\r\tand ünïcode \u2028',
        discrepancies={"forward": Discrepancy(elements=9, max_abs=Real("inf"), actual=Real("nan"), non_finite=1)},
    ),
    CaseEnded(pairs=[("a", "b", Real("inf")), ("a", "c", Real(0.5))], skipped="why"),
    CanaryEnded(caught=True, verdict=Verdict.WRONG),
    FindingKept(fingerprint="0123abcd", backend="torch", verdict=Verdict.WRONG, case="x", minimal="y", max_abs=Real("nan")),
    RoundEnded(3, 1, 4.0),
]


def write(directory: Path, events: list[Event]) -> Path:
    """Write a journal and return its path."""
    with JournalWriter(directory, "0") as journal:
        for event in events:
            journal.write(event)
    return directory / "journal-0.jsonl"


def cut(path: Path, tail: bytes) -> None:
    """Leave half a line at the end of a file, as a killed process may."""
    with path.open("ab") as file:
        file.write(tail)


def test_round_trip(tmp_path: Path) -> None:
    """Every kind of event comes back equal, behind the line that opens the journal."""
    opened, *events = read_journal(write(tmp_path, EVENTS))
    assert isinstance(opened, JournalOpened)
    assert (opened.format, opened.worker) == (FORMAT_VERSION, "0")
    # NaN is not equal to itself, so that the events are compared as text.
    assert list(map(repr, events)) == list(map(repr, EVENTS))


def test_one_line_an_event(tmp_path: Path) -> None:
    """Each event is one line, whatever its texts hold."""
    data = write(tmp_path, EVENTS).read_bytes()
    assert data.count(b"\n") == 1 + len(EVENTS)
    assert data.endswith(b"\n")
    assert b"\r" not in data


def test_events_are_there_at_once(tmp_path: Path) -> None:
    """What has been written can be read before the writer is closed: a killed process loses none of it."""
    journal = JournalWriter(tmp_path, "w")
    journal.write(EVENTS[0])
    assert list(read_journal(journal.path))[1:] == [EVENTS[0]]
    journal.close()


def test_a_journal_is_appended_to(tmp_path: Path) -> None:
    """Opening a journal again adds to it."""
    write(tmp_path, EVENTS[:1])
    path = write(tmp_path, EVENTS[1:2])
    kinds = [type(event) for event in read_journal(path)]
    assert kinds == [JournalOpened, RoundStarted, JournalOpened, CaseStarted]


def test_the_tail_of_a_growing_journal(tmp_path: Path) -> None:
    """A tail yields each event once, when its line is complete."""
    tail = JournalTail(tmp_path / "journal-0.jsonl")
    assert list(tail.read()) == []  # there is no file yet
    with JournalWriter(tmp_path, "0") as journal:
        assert [type(event) for event in tail.read()] == [JournalOpened]
        for event in EVENTS[:3]:
            journal.write(event)
        assert list(tail.read()) == EVENTS[:3]
        assert list(tail.read()) == []
        cut(journal.path, b'{"event":"start",')
        assert list(tail.read()) == []
        cut(journal.path, b'"backend":"b"}\n{"ev')
        assert list(tail.read()) == [BackendStarted("b")]


@pytest.mark.parametrize("length", [1, 5, 20, 1000])
def test_a_last_line_that_is_cut_off(tmp_path: Path, length: int) -> None:
    """A last line that a dying process left incomplete is no event, and no error."""
    path = write(tmp_path, EVENTS)
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    path.write_bytes(whole[:last] + whole[last:-1][:length])
    assert [repr(event) for event in read_journal(path)][1:] == [repr(event) for event in EVENTS[:-1]]


def test_an_empty_journal(tmp_path: Path) -> None:
    """A journal whose writer died before its first line holds nothing."""
    path = tmp_path / "journal-0.jsonl"
    path.touch()
    assert list(read_journal(path)) == []
    assert list(JournalTail(path).read()) == []


@pytest.mark.parametrize("half", [b"", b'{"event":"done"', b"x" * 100_000])
def test_append_to_a_dead_process_journal(tmp_path: Path, half: bytes) -> None:
    """Appending cuts off the half line that a dead process left, and nothing else."""
    path = write(tmp_path, EVENTS)
    cut(path, half)
    append_events(path, [CaseEnded(skipped="crashed"), BackendStarted("z")])
    assert [repr(event) for event in read_journal(path)][1:] == [
        *map(repr, EVENTS),
        repr(CaseEnded(skipped="crashed")),
        repr(BackendStarted("z")),
    ]


@pytest.mark.parametrize(
    "damage",
    [
        b"garbage",
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"event":"unheard of"}',
        b'{"event":"start"}',
        b'{"event":"start","backend":7}',
        b'{"event":"round","number":"1","seed":1,"time":1.0}',
        b'{"event":"end","backend":"b","verdict":"fine","seconds":1.0}',
        b'{"event":"end","backend":"b","verdict":"agree","seconds":true}',
        b'{"event":"done","pairs":[["a","b","far"]]}',
        b'{"event":"done","pairs":[["a","b",1' + b"0" * 400 + b"]]}",
        b"\xff\xfe\x00",
        b'{"event":"start","backend":"\xff"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=range(17),
)
def test_a_damaged_line(tmp_path: Path, damage: bytes) -> None:
    """A line that is no event is refused with the file and the line's number, by a reader and by a tail."""
    path = write(tmp_path, EVENTS[:2])
    cut(path, damage + b"\n")
    events = read_journal(path)
    assert [type(next(events)) for _ in range(3)] == [JournalOpened, RoundStarted, CaseStarted]
    with pytest.raises(UnreadableFile, match=r"/journal-0\.jsonl, line 4: not an event"):
        next(events)
    with pytest.raises(UnreadableFile, match=r"/journal-0\.jsonl"):
        list(JournalTail(path).read())


@pytest.mark.parametrize(
    "opening",
    [
        b'{"event":"journal","format":99,"worker":"0","time":1.0}',
        b'{"event":"journal","format":99,"an":"other shape"}',
        b'{"event":"journal","format":"2.0","worker":"0","time":1.0}',
    ],
)
def test_another_format_version(tmp_path: Path, opening: bytes) -> None:
    """A journal of another format version is refused with both versions, whatever else its lines hold."""
    path = tmp_path / "journal-0.jsonl"
    path.write_bytes(opening + b'\n{"event":"of the future"}\n')
    with pytest.raises(UnreadableFile, match=rf"journal-0\.jsonl, line 1.* format .*; this convfuzz reads format {FORMAT_VERSION}"):
        list(read_journal(path))


def test_a_full_disk_is_an_oserror(tmp_path: Path) -> None:
    """A journal that cannot be written raises, and what was written before stays readable."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full to write to")
    journal = JournalWriter(tmp_path, "0")
    full = os.open("/dev/full", os.O_WRONLY)
    written = journal._file
    journal._file = full
    with pytest.raises(OSError, match="No space left"):
        journal.write(EVENTS[0])
    os.close(written)
    journal.close()
    assert [type(event) for event in read_journal(journal.path)] == [JournalOpened]


def test_reals_come_back_as_reals(tmp_path: Path) -> None:
    """Discrepancies that are not finite come back as numbers that can be compared."""
    events = list(read_journal(write(tmp_path, EVENTS)))
    ended = events[4]
    assert isinstance(ended, BackendEnded)
    assert ended.verdict is Verdict.NON_FINITE
    assert ended.discrepancies["forward"].max_abs == math.inf
    assert math.isnan(ended.discrepancies["forward"].actual)
