"""Ledgers: what a file from outside must look like, which cases and failures an entry is about, and when it has had its day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from convfuzz.case import Case
from convfuzz.errors import UnreadableFile, UsageError
from convfuzz.record.events import BackendEnded, BackendStarted, CaseEnded, CaseStarted, EntryRechecked, Event, FindingKept, Recheck
from convfuzz.record.failure_kind import Signature
from convfuzz.record.finding import Finding
from convfuzz.record.ledger import MOST_BYTES, Entry, Ledger, decode_ledger, recheck
from convfuzz.record.ledger_file import add_entry, entry_of, read_ledger
from convfuzz.record.summary import Summary
from convfuzz.verdicts import Verdict

CASE = "conv2d_c1_o1_i3_k2_s1x2_f32@integers.0"
FEATURES = ["dims=2", "kernel=even", "stride=per axis"]
TOLERATED = Entry(
    action="tolerate",
    fingerprint="0123abcd",
    backend="torch",
    verdict=Verdict.WRONG,
    case=CASE,
    features=["stride=per axis"],
    reason="strides are swapped",
    link="https://example.org/issues/1",
)
QUARANTINED = msgspec.structs.replace(
    TOLERATED, action="quarantine", fingerprint="4567cdef", verdict=Verdict.CRASH, reason="ends the process"
)
ENTRY = """\
[[entry]]
action = "tolerate"
fingerprint = "0123abcd"
backend = "torch"
verdict = "wrong"
case = "conv2d_c1_o1_i3_k2_s1x2_f32@integers.0"
features = ["stride=per axis"]
reason = "strides are swapped"
link = "https://example.org/issues/1"
"""
LEDGER = f"format = 1\n\n{ENTRY}"


def changed(old: str, new: str) -> bytes:
    """Return the ledger with one text in place of another."""
    assert old in LEDGER
    return LEDGER.replace(old, new).encode()


def entry(**fields: Any) -> Entry:
    """Return the tolerated entry with other fields."""
    return msgspec.structs.replace(TOLERATED, **fields)


# -- reading ------------------------------------------------------------------------------------------------------------


def test_a_ledger_is_read() -> None:
    """Every field arrives, and what is left out has its default."""
    assert decode_ledger(LEDGER.encode(), "l.toml").entries == (TOLERATED,)
    assert decode_ledger(b"format = 1\n", "l.toml").entries == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "l.toml has ledger format None; this convfuzz reads format 1"),
        (b"format = 2\n", "l.toml has ledger format 2; this convfuzz reads format 1"),
        (b"format = true\n", "l.toml has ledger format True; this convfuzz reads format 1"),
        (b"format = '1'\n", "l.toml has ledger format '1'; this convfuzz reads format 1"),
        (b"format = 1\n[[entry]\n", "l.toml is not TOML: "),
        (b"format = 1\n# \xff\n", "l.toml is not TOML: "),
        (b"format = 1\nx = " + b"[" * 100_000, "l.toml is not TOML: "),
        (b"\x80\x04K\x01.", "l.toml is not TOML: "),
        (b"format = 1\n" + b"#" * MOST_BYTES, f"l.toml has more than {MOST_BYTES} bytes"),
        (b"format = 1\nentries = []\n", "l.toml has the unknown key 'entries'"),
        (b"format = 1\nentry = 3\n", "l.toml: entry is not a list"),
        (b"format = 1\n[entry]\naction = 'tolerate'\n", "l.toml: entry is not a list"),
        (b"format = 1\nentry = [3]\n", "l.toml, entry 1: Expected `object`, got `int`"),
        (changed('link = "https://example.org/issues/1"\n', ""), "l.toml, entry 1: Object missing required field `link`"),
        (changed('reason = "strides are swapped"\n', ""), "l.toml, entry 1: Object missing required field `reason`"),
        (changed("reason =", 'because = "x"\nreason ='), "l.toml, entry 1: Object contains unknown field `because`"),
        (changed('"strides are swapped"', "7"), "l.toml, entry 1: Expected `str`, got `int` - at `$.reason`"),
        (changed('"strides are swapped"', '"  "'), "l.toml, entry 1: reason is empty"),
        (changed("are swapped", r"are\nswapped"), "is not one line of printable characters"),
        (changed("are swapped", r"\u001b[2J"), "is not one line of printable characters"),
        (changed("are swapped", r"\u202e"), "is not one line of printable characters"),
        (changed("are swapped", "x" * 1000), "reason has 1008 characters; it may have at most 1000"),
        (
            changed('action = "tolerate"', 'action = "ignore"'),
            "Invalid enum value 'ignore' - at `$.action`; allowed are quarantine, tolerate",
        ),
        (changed('"tolerate"', '"tollerate"'), "allowed are quarantine, tolerate (closest: 'tolerate')"),
        (changed("reason =", "raeson ="), "unknown field `raeson`; it has action, fingerprint, backend, "),
        (changed("reason =", "raeson ="), " (closest: 'reason')"),
        (changed('"wrong"', '"bad"'), "Invalid enum value 'bad' - at `$.verdict`; allowed are crash, timeout, memory, "),
        (changed('"wrong"', '"agree"'), "verdict 'agree' is no failure"),
        (changed("0123abcd", "0123ABCD"), "fingerprint '0123ABCD' is not 8 hex digits"),
        (changed("0123abcd", "../../x"), "fingerprint '../../x' is not 8 hex digits"),
        (changed("https://example.org/issues/1", "javascript:alert(1)"), "link 'javascript:alert(1)' is not an http or https address"),
        (changed("https://example.org/issues/1", "https://"), "link 'https://' is not an http or https address"),
        (changed("https://example.org/issues/1", "http://[::1"), "link 'http://[::1' is not an http or https address"),
        (changed("https://example.org/issues/1", "issue 4"), "link 'issue 4' is not an http or https address"),
        (changed("_k2_", "_q2_"), "l.toml, entry 1: token 'q2' of case"),
        (
            changed("stride=per axis", "stride=1"),
            "'stride=1' is not one of its case, which are: dims=2, kernel=even, stride=per axis",
        ),
        (
            changed("verdict =", 'in_pass = "backward"\nverdict ='),
            "Invalid enum value 'backward' - at `$.in_pass`; allowed are forward, grad_bias, ",
        ),
        (changed("verdict =", 'in_pass = "grad_weight"\nverdict ='), "in_pass 'grad_weight' does not run in case"),
        (changed('"tolerate"', '"quarantine"'), "verdict 'wrong' cannot be quarantined, only crash, timeout, memory"),
        (f"{LEDGER}\n{ENTRY}".encode(), "l.toml, entry 2: it has the fingerprint of entry 1"),
        (
            f"{LEDGER}\n{ENTRY.replace('0123abcd', '89abcdef')}".encode(),
            "l.toml, entry 2: it has the backend, verdict, pass, model and features of entry 1",
        ),
    ],
)
def test_what_breaks_a_rule_is_refused(data: bytes, message: str) -> None:
    """The message names the file, the entry by its number, and the rule."""
    with pytest.raises(UnreadableFile) as refused:
        decode_ledger(data, "l.toml")
    assert message in str(refused.value)


def test_a_quarantine_of_everything_is_refused() -> None:
    """Without a feature it would keep every case from the backend."""
    text = LEDGER.replace('"tolerate"', '"quarantine"').replace('"wrong"', '"crash"').replace('["stride=per axis"]', "[]")
    with pytest.raises(UnreadableFile, match="a quarantine without features would keep every case from torch"):
        decode_ledger(text.encode(), "l.toml")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A missing file or a folder is refused by its name."""
    with pytest.raises(UnreadableFile, match=r"none\.toml cannot be read: No such file"):
        read_ledger(tmp_path / "none.toml")
    with pytest.raises(UnreadableFile, match="cannot be read: Is a directory"):
        read_ledger(tmp_path)


# -- adding -------------------------------------------------------------------------------------------------------------

FINDING = Finding(
    fingerprint="0123abcd", verdict=Verdict.WRONG, backend="torch", case=CASE, first_case=CASE, features=FEATURES, model="TF32 inputs"
)


def made(finding: Finding, action: Any = "tolerate", reason: str = "r", link: str = "http://a.b") -> Entry:
    """Return the entry of a finding."""
    return entry_of(finding, action, reason=reason, link=link)


def test_an_entry_is_what_its_finding_says() -> None:
    """Backend, verdict, pass, model, case and telling features are the finding's."""
    assert made(FINDING) == entry(features=FEATURES, model="TF32 inputs", reason="r", link="http://a.b")


def test_what_is_not_minimal_is_matched_by_all_of_its_case() -> None:
    """Too narrow an entry reports something twice, too broad a one hides something new."""
    unfinished = msgspec.structs.replace(FINDING, reduction="budget spent", features=[])
    assert made(unfinished).features == FEATURES


@pytest.mark.parametrize(
    ("fields", "action", "message"),
    [
        ({}, "quarantine", "verdict 'wrong' cannot be quarantined"),
        ({"verdict": Verdict.CRASH, "features": []}, "quarantine", "a quarantine without features"),
        ({"in_pass": "sideways"}, "tolerate", "Invalid enum value 'sideways'"),
        ({"backend": "x\x1b[2J"}, "tolerate", "backend 'x\\x1b[2J' is not one line of printable characters"),
        ({"features": ["stride=more"]}, "tolerate", "feature 'stride=more' is not one of its case"),
    ],
)
def test_a_finding_that_makes_no_entry_is_refused(fields: dict[str, Any], action: str, message: str) -> None:
    """The rules of the file hold before anything is written."""
    with pytest.raises(UsageError) as refused:
        made(msgspec.structs.replace(FINDING, **fields), action)
    assert message in str(refused.value)


def test_adding_leaves_the_rest_as_it_is(tmp_path: Path) -> None:
    """Comments, order and layout of what people wrote stay, and both entries are read back."""
    path = tmp_path / "l.toml"
    text = "# ours\nformat = 1  # the first\n\n" + ENTRY.replace("backend =", "backend     =") + "# the end\n"
    path.write_text(text)
    new = msgspec.structs.replace(QUARANTINED, reason='the "odd" \\ one [red]')
    add_entry(path, new)
    assert path.read_text().startswith(text)
    assert read_ledger(path).entries == (TOLERATED, new)
    assert [file.name for file in tmp_path.iterdir()] == ["l.toml"]


@pytest.mark.parametrize("before", [None, "format = 1", "format = 1\r\n"])
def test_the_first_entry_is_added(tmp_path: Path, before: str | None) -> None:
    """A ledger is made where there is none, and an empty one is added to."""
    path = tmp_path / "l.toml"
    if before is not None:
        path.write_bytes(before.encode())
    add_entry(path, TOLERATED)
    assert read_ledger(path).entries == (TOLERATED,)


@pytest.mark.parametrize(
    ("before", "message"),
    [
        (LEDGER, "with this entry, entry 2: it has the fingerprint of entry 1"),
        ("format = 9\n", "has ledger format 9"),
        ("format = 1\nentry = []\n", "cannot be added to; write"),
    ],
)
def test_a_refused_addition_changes_nothing(tmp_path: Path, before: str, message: str) -> None:
    """What would leave no valid ledger is not written."""
    path = tmp_path / "l.toml"
    path.write_text(before)
    with pytest.raises((UnreadableFile, UsageError), match=message):
        add_entry(path, TOLERATED)
    assert path.read_text() == before


# -- matching -----------------------------------------------------------------------------------------------------------

SIGNATURE = Signature("torch", Verdict.WRONG, "forward", "")


@pytest.mark.parametrize(
    ("line", "signature", "is_known"),
    [
        (CASE, SIGNATURE, True),
        ("conv3d_n4_c8_o8_i9_k3_s1x2x1_d2_b_f16@normal.3", SIGNATURE, True),
        ("conv2d_c1_o1_i3_k2_s2_f32@integers.0", SIGNATURE, False),
        (CASE, Signature("torch+split", Verdict.WRONG, "forward", ""), False),
        (CASE, Signature("torch", Verdict.NON_FINITE, "forward", ""), False),
        (CASE, Signature("torch", Verdict.WRONG, "grad_input", ""), False),
        (CASE, Signature("torch", Verdict.WRONG, "forward", "TF32 inputs"), False),
    ],
)
def test_what_an_entry_tolerates(line: str, signature: Signature, *, is_known: bool) -> None:
    """Backend, verdict, pass and model have to be the same, and the case has to have every feature."""
    found = Ledger((TOLERATED,)).tolerating(signature, Case.parse(line))
    assert found == (TOLERATED if is_known else None)


def test_what_is_quarantined_is_not_tolerated() -> None:
    """A failure of a quarantined kind that came up all the same is new: its case should not have run."""
    assert Ledger((QUARANTINED,)).tolerating(Signature.of(QUARANTINED), Case.parse(CASE)) is None


@pytest.mark.parametrize(
    ("backend", "line", "is_withheld"),
    [
        ("torch", CASE, True),
        ("torch", "conv3d_n4_c8_o8_i9_k3_s1x2x1_d2_b_f16_grad@normal.3", True),
        ("torch", "conv2d_c1_o1_i3_k2_s2_f32@integers.0", False),
        ("torch:native", CASE, False),
    ],
)
def test_what_a_quarantine_keeps_from_running(backend: str, line: str, *, is_withheld: bool) -> None:
    """Only its own backend, on every case that has its features; the reason names the entry."""
    withheld = Ledger((TOLERATED, QUARANTINED)).withheld(backend, Case.parse(line))
    assert (withheld is not None) == is_withheld
    if withheld is not None:
        ended = withheld.ended(backend)
        assert (ended.verdict, ended.quarantine) == (Verdict.UNSUPPORTED, "4567cdef")
        assert ended.reason == "quarantined: 4567cdef ends the process"


def test_a_quarantine_of_gradients_leaves_the_forward_pass() -> None:
    """A minimal case that still has its gradients needs them to fail, so that a case without them may run."""
    ledger = Ledger((msgspec.structs.replace(QUARANTINED, case="conv2d_c1_o1_i3_k2_s1x2_f32_grad@integers.0"),))
    assert ledger.withheld("torch", Case.parse("conv2d_c4_o4_i9_k3_s1x2_f32")) is None
    assert ledger.withheld("torch", Case.parse("conv2d_c4_o4_i9_k3_s1x2_f32_grad")) is not None


# -- checking again -----------------------------------------------------------------------------------------------------


def ended(verdict: Verdict, **fields: str) -> BackendEnded:
    """Return a result of torch."""
    return BackendEnded(backend="torch", verdict=verdict, seconds=0.0, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("results", "outcome"),
    [
        ([Verdict.WRONG], Recheck.STILL_FAILING),
        ([Verdict.AGREE, Verdict.AGREE, Verdict.WRONG], Recheck.STILL_FAILING),
        ([Verdict.AGREE, Verdict.AGREE, Verdict.AGREE], Recheck.FIXED),
        ([Verdict.AGREE, Verdict.CRASH, Verdict.AGREE], Recheck.CHANGED),
        ([Verdict.UNSUPPORTED], Recheck.ERROR),
    ],
)
def test_a_case_is_checked_again(results: list[Verdict], outcome: Recheck) -> None:
    """It is fixed when it passes each time, still failing when it fails once as stated, and unknown when it does not run."""
    asked: list[tuple[str, str]] = []

    def evaluate(case: Case, backend: str) -> BackendEnded:
        asked.append((str(case), backend))
        return ended(results[len(asked) - 1], reason="why")

    checked = recheck(TOLERATED, evaluate)
    assert (checked.entry, checked.outcome) == ("0123abcd", outcome)
    assert asked == [(CASE, "torch")] * len(results)


# -- folding ------------------------------------------------------------------------------------------------------------

OTHER = "conv1d_c1_o1_i9_k3_f32"


def run(case: str, result: BackendEnded, kept_by: str | None = None) -> list[Event]:
    """Return the events of a case on torch, and of its finding, tolerated by an entry or by none."""
    events: list[Event] = [CaseStarted(case, 1.0), BackendStarted("torch"), result, CaseEnded()]
    if kept_by is not None:
        print_ = "0123abcd" if kept_by else "ffffffff"
        events.append(
            FindingKept(fingerprint=print_, backend="torch", verdict=result.verdict, case=case, minimal=case, tolerated_by=kept_by)
        )
    return events


def test_tolerated_failures_are_counted_and_no_new_ones() -> None:
    """A finding whose failures are all tolerated is known; one failure that is not makes it new again."""
    ledger = Ledger((TOLERATED,))
    events = [*run(CASE, ended(Verdict.WRONG), "0123abcd"), *run(CASE, ended(Verdict.AGREE)), *run(OTHER, ended(Verdict.AGREE))]
    summary = Summary.of(events, ledger)
    use = summary.uses["0123abcd"]
    assert (summary.failures, summary.new_failures, summary.tolerated("0123abcd")) == (1, 0, TOLERATED)
    assert (use.matched, use.ran, use.passed, use.is_stale) == (1, 2, 1, False)
    assert use.said == "tolerated 1 failure"
    for event in run(CASE, ended(Verdict.WRONG), ""):
        summary.add(event)
    assert summary.new_failures == 1
    assert summary.tolerated("0123abcd") == TOLERATED
    assert summary.tolerated("ffffffff") is None
    for event in run(CASE, ended(Verdict.WRONG)):  # not looked into yet
        summary.add(event)
    assert summary.new_failures == 2


def test_a_finding_is_known_only_if_all_its_failures_are() -> None:
    """Failures that did not come back share a finding; a tolerated one among them excuses no other."""
    kept = FindingKept(fingerprint="eeeeeeee", backend="torch", verdict=Verdict.WRONG, case=CASE, minimal=CASE)
    tolerated = msgspec.structs.replace(kept, tolerated_by="0123abcd")
    assert Summary.of([tolerated, tolerated], Ledger((TOLERATED,))).tolerated("eeeeeeee") == TOLERATED
    assert Summary.of([tolerated, kept], Ledger((TOLERATED,))).tolerated("eeeeeeee") is None


def test_quarantined_cases_are_counted_apart_from_skips() -> None:
    """What the ledger kept from running is no comparison, and not what the backend declined."""
    withheld = Ledger((QUARANTINED,)).withheld("torch", Case.parse(CASE))
    assert withheld is not None
    events = [*run(CASE, withheld.ended("torch")), *run(OTHER, ended(Verdict.UNSUPPORTED, reason="quarantined: 4567cdef so it says"))]
    summary = Summary.of(events, Ledger((QUARANTINED,)))
    assert summary.comparisons == 0
    assert summary.backends["torch"].quarantined == {"4567cdef": 1}
    assert summary.backends["torch"].skips == {"quarantined: 4567cdef so it says": 1}
    assert summary.uses["4567cdef"].said == "kept 1 case from running"


@pytest.mark.parametrize(
    ("outcome", "is_stale", "words"),
    [
        (Recheck.FIXED, True, "unexpected pass: its own case passes, as did 1 of 1 case with its features; the entry can go"),
        (Recheck.CHANGED, True, "its own case fails otherwise: crash"),
        (Recheck.STILL_FAILING, False, "not met in this run; its own case still fails"),
        (Recheck.ERROR, False, "its own case could not be checked: crash"),
        (None, False, "not met in this run"),
    ],
)
def test_an_entry_that_met_nothing_is_stale_if_its_case_passes(outcome: Recheck | None, words: str, *, is_stale: bool) -> None:
    """That nothing of its kind was drawn says nothing; that its own case does not fail as stated does."""
    events = run(CASE, ended(Verdict.AGREE))
    if outcome is not None:
        events.append(EntryRechecked(entry="0123abcd", outcome=outcome, reason="crash"))
    use = Summary.of(events, Ledger((TOLERATED,))).uses["0123abcd"]
    assert (use.is_stale, use.said) == (is_stale, words)


def test_events_about_entries_that_are_not_there_are_borne() -> None:
    """A journal from elsewhere may name entries that its run.json lacks: its findings are new then."""
    events = [*run(CASE, ended(Verdict.WRONG), "0123abcd"), EntryRechecked(entry="99999999", outcome=Recheck.FIXED)]
    summary = Summary.of(events)
    assert summary.tolerated("0123abcd") is None
    assert summary.uses == {}
