"""Campaigns with a ledger: what is tolerated does not fail a run, what is quarantined does not run, what is fixed is reported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from convfuzz.record.finding import decode_finding
from convfuzz.record.ledger_file import add_entry, entry_of
from convfuzz.record.run_directory import Run
from convfuzz.reports import render_html, render_markdown
from convfuzz.verdicts import Verdict

from .launch import Finished, Place

KERNELS = """

import os
from pathlib import Path


def swapped(x, w, b, config):
    y = correct(x, w, b, config)
    return y + 1 if len(set(config.stride)) > 1 else y


def dies(x, w, b, config):
    if config.dilation != (1,) * config.dims:
        Path("launched").touch()
        os.kill(os.getpid(), 11)
    return correct(x, w, b, config)
"""
SECOND_BUG = KERNELS.replace("    return y + 1 if", "    y = 2 * y if config.dims == 3 else y\n    return y + 1 if")
FIXED = KERNELS.replace("return y + 1 if len(set(config.stride)) > 1 else y", "return y")
CASES = [
    "conv2d_n2_c2_o2_i9_k3_s1x2_f32@integers.1",
    "conv2d_c1_o1_i7_k3_f32@integers.2",
    "conv2d_c1_o1_i9_k3_d2_f32@integers.3",
    "conv3d_c1_o1_i4_k2_f32@integers.4",
    "conv2d_c3_o2_i9_k3_s1x2_b_f32@integers.5",
]
LINK = "https://example.org/issues/1"
REASON = "strides <i>are</i> [red]swapped[/]"


def ledger_of(finished: Finished, functions: Sequence[str] = ("swapped", "dies"), name: str = "ledger.toml") -> Path:
    """Write a ledger of a campaign's findings on some kernels: crashes are quarantined, all else is tolerated."""
    path = finished.directory.parent / name
    for file in sorted((finished.directory / "findings").iterdir()):
        finding = decode_finding(file.read_bytes(), file.name)
        if finding.backend.rpartition("::")[2] in functions:
            action = "quarantine" if finding.verdict is Verdict.CRASH else "tolerate"
            add_entry(path, entry_of(finding, action, reason=REASON, link=LINK))  # type: ignore[arg-type]
    return path


@pytest.fixture(scope="module")
def before(session_place: Place) -> Finished:
    """A campaign without a ledger over a kernel that is wrong and one that ends its process."""
    return session_place.run_warm(KERNELS, ["swapped", "dies"], cases=CASES)


@pytest.fixture(scope="module")
def after(session_place: Place, before: Finished) -> Finished:
    """The same campaign with all of its findings in a ledger, which is gone when the run is over."""
    ledger = ledger_of(before)
    (ledger.parent / "launched").unlink()
    finished = session_place.run_warm(KERNELS, ["swapped", "dies"], "--ledger", str(ledger), cases=CASES)
    ledger.unlink()
    return finished


def test_without_a_ledger_both_are_findings(before: Finished) -> None:
    """What the tests below excuse is there: one wrong kernel, one that crashes."""
    assert before.status == 1
    assert sorted(f["verdict"] for f in before.info["findings"]) == ["crash", "wrong"]


def test_a_run_with_known_findings_only_is_clean(before: Finished, after: Finished) -> None:
    """Exit status 0, in ``run.json`` too; the tolerated finding has its file and its script, and every failure is counted."""
    assert (after.status, after.info["exit_status"]) == (0, 0), after.stdout + after.stderr
    (finding,) = after.info["findings"]
    assert finding in before.info["findings"]
    assert after.info["known"] == [finding["fingerprint"]]
    assert before.info["known"] == []
    assert (after.directory / "findings" / f"{finding['fingerprint']}.json").is_file()
    assert (after.directory / "repro" / f"{finding['fingerprint']}.py").is_file()
    assert after.verdicts("swapped") == {"agree": 3, "wrong": 2}
    (tolerated,) = [line for line in after.info["ledger"] if line["entry"]["action"] == "tolerate"]
    assert (tolerated["matched"], tolerated["stale"]) == (2, False)


def test_a_known_finding_is_printed_as_such(after: Finished) -> None:
    """The terminal shows reason and link as they are written, markup included."""
    assert f"known: {REASON} · {LINK}" in after.stdout
    assert "Nothing new: 1 known cause." in after.stdout
    assert "known finding" in after.stdout


def test_a_quarantined_case_is_not_launched(after: Finished) -> None:
    """The kernel did not run on it, neither in the campaign nor in a reduction, and the case is counted apart from skips."""
    assert not (after.directory.parent / "launched").exists()
    assert after.verdicts("dies") == {"agree": 4, "unsupported": 1}
    ((name, counts),) = after.info["quarantined"].items()
    assert name == "kernels.py::dies"
    assert list(counts.values()) == [1]
    assert after.info["skipped"] == {}
    assert "quarantined by the ledger: kernels.py::dies 1" in after.stdout
    assert "skipped as unsupported" not in after.stdout


def test_reports_need_no_ledger(after: Finished) -> None:
    """A report made when the ledger is gone says what is known, why, and what was kept from running."""
    run = Run.load(after.directory)
    page, summary = render_html([run]), render_markdown([run])
    assert "Nothing new in 2 backends: 1 known to the ledger" in page
    assert "strides &lt;i&gt;are&lt;/i&gt; [red]swapped[/]" in page
    assert f'href="{LINK}"' in page
    assert "kept 1 case from running" in page
    assert "tolerated 2 failures" in page
    assert "<i>are</i>" not in page + summary
    assert "\n**Known**\n\n- " in summary


def test_a_second_bug_fails_the_run(before: Finished, place: Place) -> None:
    """A failure of another kind in the same kernel is outside the ledger: exit status 1, and only the known one is marked."""
    ledger = ledger_of(before, name="second.toml")
    finished = place.run_warm(SECOND_BUG, ["swapped"], "--ledger", str(ledger), cases=CASES)
    assert (finished.status, finished.info["exit_status"]) == (1, 1)
    run = finished.run
    known = {finding.case: run.summary.tolerated(finding.fingerprint) is not None for finding in run.findings}
    assert sorted(known.values()) == [False, True]
    assert [line.split("_")[0] for line, is_known in known.items() if not is_known] == ["conv3d"]
    assert "1 new cause of failure in 1 backend, and 1 known to the ledger" in render_html([run])


def test_a_fixed_bug_is_an_unexpected_pass(before: Finished, place: Place) -> None:
    """Its entry is stale and can go; the run is clean, and says so on the terminal, in ``run.json`` and in the report."""
    ledger = ledger_of(before, ["swapped"], name="fixed.toml")
    finished = place.run_warm(FIXED, ["swapped"], "--ledger", str(ledger), cases=CASES)
    assert finished.status == 0
    words = "unexpected pass: its own case passes, as did 2 of 2 cases with its features; the entry can go"
    assert f"{words} · {LINK}" in finished.stdout
    assert [line["stale"] for line in finished.info["ledger"]] == [True]
    assert words in render_html([finished.run])


def test_an_entry_that_nothing_was_drawn_for_is_not_stale(before: Finished, place: Place) -> None:
    """Its own case is run again at the end, and it still fails."""
    ledger = ledger_of(before, name="unmet.toml")
    finished = place.run_warm(KERNELS, ["swapped"], "--ledger", str(ledger), cases=CASES[1:2])
    assert finished.status == 0
    (use,) = finished.run.summary.uses.values()
    assert use.said == "not met in this run; its own case still fails"
    assert "stale" not in finished.stdout


def test_a_run_that_is_all_quarantined_proves_nothing(before: Finished, place: Place) -> None:
    """Nothing was compared, which is never green."""
    ledger = ledger_of(before, name="all.toml")
    finished = place.run_warm(KERNELS, ["dies"], "--ledger", str(ledger), cases=CASES[2:3])
    assert finished.status == 2
    assert "This run proves nothing: nothing was compared." in finished.stdout


FRAGILE = """

import os
from pathlib import Path


def fragile(x, w, b, config):
    if set(config.kernel_size) == {1}:
        Path("launched").touch()
        os.abort()
    return correct(x, w, b, config) + (len(set(config.stride)) > 1)
"""


def test_a_reduction_stays_out_of_the_quarantine(place: Place) -> None:
    """The simplest cases of a wrong result would be quarantined ones: they are not tried, and the result is kept as it is."""
    (place.folder / "ledger.toml").write_text(
        "format = 1\n[[entry]]\naction = 'quarantine'\nfingerprint = '0123abcd'\nbackend = 'kernels.py::fragile'\n"
        "verdict = 'crash'\ncase = 'conv1d_c1_o1_i1_k1_f32'\nfeatures = ['kernel=1x1']\nreason = 'aborts'\nlink = 'http://a.b'\n"
    )
    finished = place.run_warm(FRAGILE, ["fragile"], "--ledger", "ledger.toml", cases=CASES[:2])
    assert finished.status == 1
    ((line, verdict),) = finished.findings("fragile").items()
    assert verdict == "wrong"
    assert "_k1_" not in line
    assert not (place.folder / "launched").exists()


def test_an_entry_of_a_run_json_from_elsewhere_is_validated(after: Finished, tmp_path: Path) -> None:
    """A link that is no address does not get into a report by way of ``run.json``."""
    text = (after.directory / "run.json").read_text()
    (tmp_path / "run.json").write_text(text.replace(LINK, "javascript:alert(1)"))
    with pytest.raises(ValueError, match=r"link 'javascript:alert\(1\)' is not an http or https address"):
        Run.load(tmp_path)
