"""The history over nights on the page: what it says of findings and of each backend's versions."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from convfuzz.record.events import Recheck
from convfuzz.record.nights import History, Night, Replayed, read_history, write_replays
from convfuzz.record.run_directory import Run, RunInfo
from convfuzz.reports import render_html, render_markdown
from convfuzz.reports.sections.trends import view
from convfuzz.system.json_records import Real

DAY = 86_400.0
KERNEL = "kernels.py::my_conv"


@pytest.fixture(scope="module")
def folder(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three nights: two findings, one of which is fixed in the third, under a new version of torch."""
    root = tmp_path_factory.mktemp("nights")
    one, two, three = synthetic.findings()[:3]
    for night, (found, torch) in enumerate((([one, two], "2.12.0"), ([one, three], "2.12.0"), ([one], "2.13.0"))):
        info = {
            "started": synthetic.STARTED + night * DAY,
            "versions": synthetic.VERSIONS | {"torch": torch},
            "backend_versions": {"torch": {"torch": torch}},
            "worst_ratios": {"torch": Real(0.25 * (night + 1)), KERNEL: Real(4e5)},
            "verdicts": {"torch": {"agree": 100}, KERNEL: {"agree": 90, "wrong": 10}},
            "backend_s": {"torch": 0.5, KERNEL: 0.25},
        }
        synthetic.write_campaign(root / f"night-{night}", cases=10, found=found, seed=night, **info)
    write_replays(root / "night-2" / "replays.json", [Replayed(two.fingerprint, two.backend, two.case, Recheck.FIXED)])
    return root


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    """The page of the three nights together."""
    return render_html([Run.load(folder / f"night-{night}") for night in range(3)])


def trends_of(page: str) -> str:
    """Return the section on trends, without its tags."""
    match = re.search(r'<section id="trends".*?</section>', page, re.DOTALL)
    assert match is not None
    return " ".join(re.sub(r"<[^>]+>", " ", match[0]).split())


def test_one_run_has_no_trends(full_page: str) -> None:
    """A single night has no history, and no link to one."""
    assert 'id="trends"' not in full_page
    assert "#trends" not in full_page


def test_the_first_sentence_says_what_the_last_night_has(page: str) -> None:
    """How many nights, and how many findings of each standing in the last one."""
    assert "3 nights, 2025-11-23 to 2025-11-25. The last one: 1 known, 1 fixed, 1 not met." in trends_of(page)
    assert "In the last of 3 nights: 1 known, 1 fixed, 1 not met." in page[: page.index("</header>")]


def test_each_finding_has_its_nights(page: str, synthetic: ModuleType) -> None:
    """A row says what the finding is now, and on how many nights it was there."""
    words = trends_of(page)
    one, two, three = (finding.fingerprint for finding in synthetic.findings()[:3])
    assert re.search(rf"{one} known wrong {KERNEL}  ?3 of 3|{one} known", words)
    assert f"{two} fixed" in words
    assert f"{three} not met" in words
    assert 'aria-label="known 11-23, fixed 11-25"' in page


def test_steps_are_marked_and_named(page: str) -> None:
    """The change of a version stands below the chart with the night that has it first."""
    assert "11-25 torch 2.12.0 → 2.13.0" in trends_of(page)


def test_each_version_of_a_backend_is_added_up(page: str) -> None:
    """Worst ratio and speed by version: all nights of one version are one row."""
    words = trends_of(page)
    assert "torch torch 2.12.0 2 200 0.5 200" in words
    assert "torch torch 2.13.0 1 100 0.75 200" in words


def test_a_history_is_read_from_totals_alone(folder: Path, synthetic: ModuleType, tmp_path: Path) -> None:
    """The trends of a run beside a folder of nights need none of their journals."""
    for night in ("a", "b"):
        directory = synthetic.write_campaign(tmp_path / night, cases=5, started=synthetic.STARTED - (5 if night == "a" else 4) * DAY)
        (directory / "journal-w0.jsonl").unlink()
    run = Run.load(folder / "night-2")
    nights, _ = read_history(tmp_path)
    words = trends_of(render_html([run], History((*nights, Night.of("tonight", [run.info])))))
    assert "3 nights, 2025-11-18 to 2025-11-25" in words
    assert "The last one: 1 new" in words


def infos(synthetic: ModuleType, number: int, **changes: Any) -> list[RunInfo]:
    """Return the totals of many nights."""
    info = synthetic.run_info(synthetic.findings(), **changes)
    return [msgspec.structs.replace(info, started=synthetic.STARTED + night * DAY) for night in range(number)]


def test_more_nights_than_fit_are_counted(full: Run, synthetic: ModuleType) -> None:
    """The last 90 nights are shown, and it is said that there are more; the section stays small."""
    history = History(tuple(Night.of(f"n{i}", [info]) for i, info in enumerate(infos(synthetic, 120))))
    page = render_html([full], history)
    assert "The last 90 of 120 nights." in trends_of(page)
    assert len(page.encode()) < 1_000_000


def test_nights_without_figures_leave_a_gap(synthetic: ModuleType, full: Run) -> None:
    """A night in which a backend did not run, or of before its worst ratio was kept, breaks the line and is no zero."""
    with_ratio = {"verdicts": {"torch": {"agree": 5}}, "worst_ratios": {"torch": Real(0.5)}, "backend_s": {"torch": 1.0}}
    nights = [*infos(synthetic, 1, **with_ratio), *infos(synthetic, 2, backends=[])[1:], *infos(synthetic, 3, **with_ratio)[2:]]
    trends = view(_merged(full), History(tuple(Night.of(f"n{i}", [info]) for i, info in enumerate(nights))))
    assert trends is not None
    (row,) = [row for row in trends.backends if row.backend == "torch"]
    assert row.label == "worst error over tolerance 0.5 to 0.5, cases a second 5 to 5 over 3 nights"
    lines = re.findall(r'<path[^>]*stroke="var\(--accent\)"[^>]*>', row.ratios)
    assert len(lines) == 2


def _merged(run: Run) -> Any:
    from convfuzz.reports.merged import Merged  # noqa: PLC0415 - for one test

    return Merged.of([run])


def test_names_of_nights_are_escaped(full: Run, synthetic: ModuleType) -> None:
    """The name of a folder is text."""
    history = History(tuple(Night.of("<img src=x>", [info]) for info in infos(synthetic, 2)))
    page = render_html([full], history)
    assert "<img" not in page


def test_unreadable_nights_are_named(full: Run, synthetic: ModuleType) -> None:
    """What of the history could not be read is said on the page."""
    history = History(tuple(Night.of(f"n{i}", [info]) for i, info in enumerate(infos(synthetic, 2))), ("n7/run.json is no run",))
    assert "n7/run.json is no run" in trends_of(render_html([full], history))


def test_the_markdown_summary_says_what_is_new(folder: Path, synthetic: ModuleType) -> None:
    """The job's page has the first sentence, each finding that is new, back or fixed, and versions that changed."""
    runs = [Run.load(folder / f"night-{night}") for night in range(3)]
    text = render_markdown(runs).replace("\\", "")
    assert "**Trends** 3 nights, 2025-11-23 to 2025-11-25" in text
    assert f"- fixed: {synthetic.findings()[1].fingerprint} kernels.py" in text
    assert "- versions: torch 2.12.0 → 2.13.0" in text
    assert "Trends" not in render_markdown(runs[:1])
