"""What a report says of the ledger: known findings, what was kept from running, and what can go."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import msgspec

from convfuzz.record.events import EntryRechecked, FindingKept, Recheck
from convfuzz.record.finding import Finding
from convfuzz.record.journal import JournalWriter
from convfuzz.record.ledger import Entry
from convfuzz.record.run_directory import LedgerLine, Run, write_finding
from convfuzz.reports import render_html, render_markdown
from convfuzz.verdicts import Verdict

EVIL = "</script><img src=x onerror=\"alert('x')\"><!-- | [x](javascript:alert) `"
ENTRY = Entry(
    action="tolerate",
    fingerprint="0123abcd",
    backend="torch",
    verdict=Verdict.WRONG,
    case="conv2d_c1_o1_i3_k2_s1x2_f32@integers.0",
    features=["stride=per axis"],
    reason="strides are swapped",
    link="https://example.org/issues/1?a=b&c=d",
)


def run(synthetic: ModuleType, directory: Path, entry: Entry | None = ENTRY, *, found: bool = True, recheck: Recheck | None = None) -> Run:
    """Return a run with one finding, which the ledger tolerates where there is an entry."""
    lines = [LedgerLine(entry)] if entry else []
    synthetic.write_campaign(directory, cases=30, ledger=lines)
    with JournalWriter(directory, "findings") as journal:
        if found:
            case, tolerated_by = ENTRY.case, entry.fingerprint if entry else ""
            kept = FindingKept(
                fingerprint="0123abcd", backend="torch", verdict=Verdict.WRONG, case=case, minimal=case, tolerated_by=tolerated_by
            )
            journal.write(kept)
            write_finding(directory, Finding(fingerprint="0123abcd", verdict=Verdict.WRONG, backend="torch", case=case, first_case=case))
        if recheck:
            journal.write(EntryRechecked(entry="0123abcd", outcome=recheck))
    return Run.load(directory)


def heading(page: str) -> str:
    """Return the page's first sentence."""
    match = re.search(r"<h1[^>]*>(.*?)</h1>", page)
    assert match is not None
    return match[1]


def test_a_known_finding_does_not_alarm(synthetic: ModuleType, tmp_path: Path) -> None:
    """It is a line with its reason and link, with its evidence folded away, and the verdict counts it apart."""
    page = render_html([run(synthetic, tmp_path)])
    assert heading(page) == "Nothing new in 5 backends: 1 known to the ledger"
    assert '<h1 class="tone good">' in page
    assert '<table class="data" id="findings-table"' not in page
    assert '<li class="tone good">torch: 1 cause, known, in ' in page
    assert page.count('href="https://example.org/issues/1?a=b&amp;c=d" rel="noreferrer noopener"') == 3
    assert "tolerated 1 failure" in page


def test_without_a_ledger_there_is_no_word_of_it(synthetic: ModuleType, tmp_path: Path) -> None:
    """A run without a ledger has no such section, nor a link to one."""
    page = render_html([run(synthetic, tmp_path, None)])
    assert heading(page) == "1 cause of failure in 1 backend"
    assert "ledger" not in page.lower()


def test_what_one_run_knew_and_another_did_not_is_new(synthetic: ModuleType, tmp_path: Path) -> None:
    """Merged with a run whose ledger lacked it, a finding counts again; merged with one that knew it, it does not."""
    known, other, unknown = (run(synthetic, tmp_path / name, entry) for name, entry in (("a", ENTRY), ("b", ENTRY), ("c", None)))
    assert heading(render_html([known, other])) == "Nothing new in 5 backends: 1 known to the ledger"
    assert "tolerated 2 failures" in render_html([known, other])
    assert heading(render_html([known, unknown])) == "1 cause of failure in 1 backend"


def test_an_entry_that_can_go_is_said_above_all(synthetic: ModuleType, tmp_path: Path) -> None:
    """The head of page and summary says that the ledger is stale, and the table which entry it is."""
    loaded = run(synthetic, tmp_path, found=False, recheck=Recheck.FIXED)
    page, summary = render_html([loaded]), render_markdown([loaded])
    assert "The ledger is stale: 1 tolerated failure did not come back." in page
    assert "The ledger is stale" in summary
    assert '<span class="verdict doubt">stale</span> unexpected pass: its own case passes; the entry can go' in page


def test_text_of_a_ledger_is_inert(synthetic: ModuleType, tmp_path: Path) -> None:
    """Markup in a reason, a model or a link's path is text, in the page and in the summary."""
    evil = msgspec.structs.replace(ENTRY, reason=EVIL, model=EVIL, link='https://example.org/"><img>')
    loaded = run(synthetic, tmp_path, evil)
    page, summary = render_html([loaded]), render_markdown([loaded])
    assert "<img" not in page + summary
    assert page.count("</script>") == 1
    assert "[x](javascript" not in summary
