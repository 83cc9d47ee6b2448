"""``convfuzz ledger``: add a finding, list the entries, check whether each still fails."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from convfuzz.record.cause import Cause
from convfuzz.record.finding import Finding, decode_finding, encode_finding
from convfuzz.record.ledger_file import read_ledger
from convfuzz.record.run_directory import RunInfo, write_run_info
from convfuzz.verdicts import Verdict

from .conftest import Call

CASE = "conv1d_c1_o1_i1_k1_f32@integers.0"
KERNEL = "kernels.py::wrong"
WHY = ("--reason", "known [red]since[/] long", "--link", "https://example.org/issues/1")


def write(verdict: Verdict = Verdict.WRONG, backend: str = KERNEL, fingerprint: str = "0123abcd") -> str:
    """Write a finding file and return its name."""
    finding = Finding(fingerprint=fingerprint, verdict=verdict, backend=backend, case=CASE, first_case=CASE, features=["kernel=1x1"])
    Path(f"{fingerprint}.json").write_bytes(encode_finding(finding))
    return f"{fingerprint}.json"


def test_added_findings_are_listed(call: Call) -> None:
    """Each entry is a row with its action, finding, reason and link, and what looks like markup is shown as it is."""
    assert call("ledger", "add", "l.toml", write(), "--tolerate", *WHY).status == 0
    crash = write(Verdict.CRASH, fingerprint="4567cdef")
    added = call("ledger", "add", "l.toml", crash, "--quarantine", *WHY)
    assert added.stdout == "l.toml: quarantine 4567cdef, kernels.py::wrong: crash on kernel=1x1\n"
    listed = call("ledger", "list", "l.toml")
    assert listed.status == 0
    rows = [line.split() for line in listed.stdout.splitlines()]
    assert [row[:5] for row in rows[1:]] == [
        ["1", "tolerate", "0123abcd", KERNEL, "wrong"],
        ["2", "quarantine", "4567cdef", KERNEL, "crash"],
    ]
    assert all(f"{CASE} known [red]since[/] long https://example.org/issues/1" in " ".join(row) for row in rows[1:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["l.toml", "f.json", *WHY], "one of --tolerate and --quarantine is needed"),
        (["l.toml", "f.json", "--tolerate", *WHY[:2]], "Missing option '--link'"),
        (["l.toml", "f.json", "--tolerate", *WHY[2:]], "Missing option '--reason'"),
        (["l.toml", "none.json", "--tolerate", *WHY], "none.json cannot be read: No such file"),
        (["l.toml", "kernels.py", "--tolerate", *WHY], "kernels.py is not a finding"),
        (["l.toml", "f.json", "--quarantine", *WHY], "verdict 'wrong' cannot be quarantined, only crash, timeout, memory"),
        (["l.toml", "f.json", "--tolerate", "--reason", " ", *WHY[2:]], "reason is empty"),
        (["l.toml", "f.json", "--tolerate", *WHY[:2], "--link", "file:///etc/passwd"], "'file:///etc/passwd' is not an http or https"),
        (["none/l.toml", "f.json", "--tolerate", *WHY], "none/l.toml cannot be written: there is no folder none"),
    ],
)
def test_what_makes_no_entry_is_refused(call: Call, arguments: list[str], message: str) -> None:
    """Exit status 2, a message that names the value and the rule, and no file."""
    Path(write()).rename("f.json")
    called = call("ledger", "add", *arguments)
    assert called.status == 2
    assert message in called.stderr
    assert not Path("l.toml").exists()


def test_the_same_finding_is_added_once(call: Call) -> None:
    """A second entry of one finding is refused."""
    assert call("ledger", "add", "l.toml", write(), "--tolerate", *WHY).status == 0
    again = call("ledger", "add", "l.toml", write(), "--tolerate", *WHY)
    assert again.status == 2
    assert "it has the fingerprint of entry 1" in again.stderr
    assert len(read_ledger(Path("l.toml")).entries) == 1


def of_one_cause(members: list[str]) -> Path:
    """Write a run directory with two findings and another one, and say which have one cause; return the first one's file."""
    info = RunInfo.here(seed=0, strategy="smoke", backends=[KERNEL], arguments={}, started=1.0, backend_versions={})
    Path("run", "findings").mkdir(parents=True)
    for fingerprint, verdict in (("0123abcd", Verdict.WRONG), ("4567cdef", Verdict.NON_FINITE), ("89ab0123", Verdict.ERROR)):
        Path(write(verdict, fingerprint=fingerprint)).rename(Path("run", "findings", f"{fingerprint}.json"))
    write_run_info(Path("run"), msgspec.structs.replace(info, causes=[Cause(cause=members[0], lead=members[0], members=members)]))
    return Path("run", "findings", "0123abcd.json")


@pytest.mark.parametrize(("options", "added"), [((), ["0123abcd", "4567cdef"]), (("--alone",), ["0123abcd"])])
def test_what_has_one_cause_is_added_together(call: Call, options: tuple[str, ...], added: list[str]) -> None:
    """Tolerating a finding tolerates the others of its cause, unless it is asked for alone; another cause's is left."""
    path = of_one_cause(["0123abcd", "4567cdef"])
    called = call("ledger", "add", "l.toml", str(path), "--tolerate", *options, *WHY)
    assert called.status == 0, called.stderr
    assert [entry.fingerprint for entry in read_ledger(Path("l.toml")).entries] == added
    assert called.stdout.count(", of the same cause") == len(added) - 1


def test_what_the_ledger_has_of_a_cause_is_left(call: Call) -> None:
    """An entry that is there already is no reason to refuse the others."""
    path = of_one_cause(["4567cdef", "0123abcd"])
    assert call("ledger", "add", "l.toml", str(path.with_name("4567cdef.json")), "--tolerate", "--alone", *WHY).status == 0
    assert call("ledger", "add", "l.toml", str(path), "--tolerate", *WHY).status == 0
    assert [entry.fingerprint for entry in read_ledger(Path("l.toml")).entries] == ["4567cdef", "0123abcd"]


def test_an_unreadable_ledger_is_refused_by_all(call: Call) -> None:
    """Exit status 2 with the entry and the rule, for every command that takes one, and nothing has run."""
    Path("l.toml").write_text("format = 1\n[[entry]]\nreason = 'x'\n")
    commands = (["ledger", "list"], ["ledger", "check"], ["run", "--backends", KERNEL, "--out", "out", "--ledger"])
    for command in commands:
        called = call(*command, "l.toml")
        assert called.status == 2
        assert called.stderr.startswith("convfuzz: l.toml, entry 1: Object missing required field ")
    assert not Path("out").exists()


def test_an_empty_ledger_has_nothing_to_say(call: Call) -> None:
    """Listing and checking no entries succeed."""
    Path("l.toml").write_text("format = 1\n")
    assert (call("ledger", "list", "l.toml").stdout, call("ledger", "check", "l.toml").status) == ("no entries\n", 0)


# -- check --------------------------------------------------------------------------------------------------------------

DYING = """

import os


def dies(x, w, b, config):
    os.abort()
"""


def test_entries_that_still_fail_are_as_stated(call: Call) -> None:
    """A wrong result that is still wrong and a crash that still kills its process: exit status 0."""
    with Path("kernels.py").open("a") as file:
        file.write(DYING)
    call("ledger", "add", "l.toml", write(), "--tolerate", *WHY)
    call("ledger", "add", "l.toml", write(Verdict.CRASH, "kernels.py::dies", "4567cdef"), "--quarantine", *WHY)
    called = call("ledger", "check", "l.toml", "--backends", "kernels.py::wrong,kernels.py::dies")
    assert called.status == 0
    assert [line[:25].split() for line in called.stdout.splitlines()[:2]] == [
        ["STILL", "FAILING", "0123abcd"],
        ["STILL", "FAILING", "4567cdef"],
    ]
    assert "2 still failing" in called.stdout


def test_entries_that_pass_or_fail_otherwise_can_go(call: Call) -> None:
    """Exit status 1, the word for each, and the link to where it was decided."""
    call("ledger", "add", "l.toml", write(backend="kernels.py::right"), "--tolerate", *WHY)
    call("ledger", "add", "l.toml", write(Verdict.CRASH, fingerprint="4567cdef"), "--quarantine", *WHY)
    called = call("ledger", "check", "l.toml", "--backends", "kernels.py::right,kernels.py::wrong")
    assert called.status == 1
    lines = called.stdout.splitlines()
    assert lines[0].startswith("FIXED            0123abcd")
    assert "its case passes · https://example.org/issues/1" in lines[1]
    assert lines[2].startswith("FAILS OTHERWISE  4567cdef")
    assert "wrong in forward: " in lines[3]


def test_a_file_s_function_is_not_run_because_a_ledger_says_so(call: Call) -> None:
    """A ledger may come from elsewhere: a kernel in it is run only when the user names it, and that nothing ran is no success."""
    Path("kernels.py").write_text("from pathlib import Path\nPath('loaded').touch()\n")
    call("ledger", "add", "l.toml", write(), "--tolerate", *WHY)
    called = call("ledger", "check", "l.toml")
    assert called.status == 2
    assert "ERROR" in called.stdout
    assert "it runs only with --backends kernels.py::wrong" in called.stdout
    assert not Path("loaded").exists()


def test_a_backend_that_is_missing_spoils_no_other(call: Call) -> None:
    """An entry whose backend cannot be loaded is an error and exit status 2; the others are checked."""
    call("ledger", "add", "l.toml", write(backend="nobody"), "--tolerate", *WHY)
    call("ledger", "add", "l.toml", write(fingerprint="4567cdef"), "--tolerate", *WHY)
    call("ledger", "add", "l.toml", write(backend="kernels.py::only_double", fingerprint="89abcdef"), "--tolerate", *WHY)
    called = call("ledger", "check", "l.toml", "--backends", "nobody,kernels.py::wrong,kernels.py::only_double")
    assert called.status == 2
    assert "unknown backend 'nobody'" in called.stdout
    assert "STILL FAILING    4567cdef" in called.stdout
    assert "1 still failing, 2 error" in called.stdout


def test_a_finding_file_is_json(call: Call) -> None:
    """A finding of another format is refused before the ledger is touched."""
    record = json.loads(Path(write()).read_text()) | {"format": 9}
    Path("f.json").write_text(json.dumps(record))
    called = call("ledger", "add", "l.toml", "f.json", "--tolerate", *WHY)
    assert called.status == 2
    assert "finding format 9" in called.stderr


def test_a_finding_that_cannot_be_reduced_makes_no_entry(call: Call) -> None:
    """A finding that was cut off and does not fail any more is refused with a reason, and no file is made."""
    path = Path(write(backend="kernels.py::right"))
    finding = decode_finding(path.read_bytes(), "it")
    path.write_bytes(encode_finding(msgspec.structs.replace(finding, reduction="budget spent", features=[])))
    refused = call("ledger", "add", "l.toml", str(path), "--tolerate", *WHY)
    assert refused.status == 2
    assert "was not reduced" in refused.stderr
    assert "does not fail any more" in refused.stderr
    assert not Path("l.toml").exists()
