"""The report as a reader meets it: in a browser, with keys, without scripts, in the dark, on paper."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from convfuzz.record.run_directory import Run

ROWS = "#findings-table tbody tr"
COPIED = "navigator.clipboard.readText()"


def until(page: Any, expression: str) -> None:
    """Wait until ``expression`` is true; the page's policy forbids Playwright's own way, which evaluates text inside it."""
    patience = time.monotonic() + 5.0
    while not page.evaluate(expression):
        assert time.monotonic() < patience, f"still false: {expression}"
        page.wait_for_timeout(20)


def column(page: Any, number: int) -> list[str]:
    """Return the visible text of a column of the table of findings."""
    texts: list[str] = page.eval_on_selector_all(
        f"{ROWS}:not([hidden]) td:nth-child({number})", "cells => cells.map(c => c.innerText.trim())"
    )
    return texts


@pytest.mark.parametrize("trends", [False, True], ids=["one run", "many nights"])
def test_nothing_complains_and_nothing_is_fetched(open_report: Any, *, trends: bool) -> None:
    """The page loads from one file, without a message on the console."""
    opened = open_report(trends=trends)
    opened.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    opened.page.wait_for_timeout(100)
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [opened.page.url]


def test_a_column_sorts_and_says_so(open_report: Any) -> None:
    """A click on a header sorts by number, largest first, a second one the other way; aria-sort follows."""
    page = open_report().page
    header = page.locator("#findings-table th", has_text="Count")
    header.get_by_role("button").click()
    counts = [int(text.replace(",", "")) for text in column(page, 8)]
    assert counts == sorted(counts, reverse=True)
    assert header.get_attribute("aria-sort") == "descending"
    header.get_by_role("button").click()
    counts = [int(text.replace(",", "")) for text in column(page, 8)]
    assert counts == sorted(counts)
    assert header.get_attribute("aria-sort") == "ascending"
    assert page.locator("#findings-table th[aria-sort]").count() == 1


def test_text_columns_sort_by_text(open_report: Any) -> None:
    """Backends sort by name."""
    page = open_report().page
    page.locator("#findings-table th", has_text="Backend").get_by_role("button").click()
    names = column(page, 3)
    assert names == sorted(names, key=lambda name: re.sub(r"\W", "", name))


def test_the_filter_hides_rows_and_sections(open_report: Any, run: Run) -> None:
    """Every word has to occur in the row; the section of a hidden row is hidden too, and the count is said."""
    page = open_report().page
    page.get_by_label("Filter").fill("tensorflow conv2d")
    until(page, "document.getElementById('shown').textContent !== ''")
    assert column(page, 3) == ["tensorflow", "tensorflow"]
    assert page.locator("details.finding:visible").count() == 2
    assert page.locator("#shown").inner_text() == f"2 of {len(run.findings)}"
    page.get_by_label("Filter").fill("")
    until(page, "document.getElementById('shown').textContent === ''")
    assert page.locator("details.finding:visible").count() == len(run.findings)


def test_the_filter_knows_passes(open_report: Any) -> None:
    """A pass is a word to filter by, also where it is part of none of the case."""
    page = open_report().page
    page.get_by_label("Filter").fill("grad_weight")
    until(page, "document.getElementById('shown').textContent !== ''")
    assert [" ".join(text.split()) for text in column(page, 2)] == ["wrong in grad_weight"]


def test_a_deep_link_opens_its_finding(open_report: Any, run: Run) -> None:
    """The address with a fingerprint shows that finding open and in view."""
    finding = run.findings[-1]
    page = open_report(f"#{finding.fingerprint}").page
    section = page.locator(f"[id='{finding.fingerprint}']")
    assert section.evaluate("element => element.open")
    until(
        page,
        f"""() => {{
        const box = document.getElementById('{finding.fingerprint}').getBoundingClientRect();
        return box.top >= -1 && box.top < innerHeight;
    }}""",
    )


def test_a_link_in_the_table_opens_its_finding(open_report: Any, run: Run) -> None:
    """A click on a fingerprint opens the section and puts it in the address."""
    page = open_report().page
    fingerprint = run.findings[4].fingerprint
    page.locator(f"#findings-table a[href='#{fingerprint}']").click()
    until(page, f"document.getElementById('{fingerprint}').open")
    assert page.url.endswith(f"#{fingerprint}")


def test_keys_move_open_and_close(open_report: Any) -> None:
    """J and k move between findings, o opens one, x all, / goes to the filter where letters are letters, ? lists them."""
    page = open_report().page
    now = "document.querySelector('.finding.now')?.id"
    page.keyboard.press("j")
    first = page.evaluate(now)
    page.keyboard.press("j")
    assert page.evaluate(now) not in (None, first)
    page.keyboard.press("k")
    assert page.evaluate(now) == first
    page.keyboard.press("o")
    assert not page.evaluate("document.querySelector('.finding.now').open")
    page.keyboard.press("x")
    assert page.locator("details.finding:not([open])").count() == 0
    page.keyboard.press("/")
    page.keyboard.type("jx?")
    assert page.get_by_label("Filter").input_value() == "jx?"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Keys").is_visible()
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog", name="Keys").is_visible()


def test_copying_gives_the_case_itself(open_report: Any, run: Run) -> None:
    """The button beside a case, the one on a command and the key c put the exact text on the clipboard."""
    page = open_report(permissions=["clipboard-read", "clipboard-write"]).page
    finding = run.findings[0]
    row = page.locator(ROWS).first
    row.hover()
    row.get_by_role("button").click()
    until(page, "document.getElementById('said').textContent === 'Copied'")
    assert page.evaluate(COPIED) == finding.case
    page.locator(f"[id='{finding.fingerprint}'] pre.command button").click()
    until(page, f"{COPIED}.then(text => text === 'convfuzz check {finding.case} --backends {finding.backend}')")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("c")
    until(page, f"{COPIED}.then(text => text === '{run.findings[1].case}')")


@pytest.mark.parametrize("trends", [False, True], ids=["one run", "many nights"])
@pytest.mark.parametrize("width", [1280, 400, 320])
def test_the_page_never_scrolls_sideways(open_report: Any, width: int, *, trends: bool) -> None:
    """Wide tables scroll inside themselves, also with everything open."""
    page = open_report(trends=trends, viewport={"width": width, "height": 800}).page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_scheme_follows_the_system(open_report: Any) -> None:
    """Dark is dark, charts included: they take their ink from the page."""
    light, dark = (open_report(color_scheme=scheme).page for scheme in ("light", "dark"))
    ground = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    ink = "getComputedStyle(document.querySelector('.chart svg text')).fill.match(/\\d+/g).slice(0, 3).map(Number)"
    assert min(light.evaluate(ground)) > 200
    assert max(dark.evaluate(ground)) < 60
    assert max(light.evaluate(ink)) < 100
    assert min(dark.evaluate(ink)) > 180


def test_without_scripts_everything_is_there_and_nothing_is_dead(open_report: Any, run: Run) -> None:
    """With scripts off all rows and sections are there, sections unfold, and no button or field promises what it cannot do."""
    page = open_report(java_script_enabled=False).page
    assert page.locator(ROWS).count() == len(run.findings)
    assert page.locator("button:visible, input:visible").count() == 0
    section = page.locator("details.finding").nth(1)
    section.locator("summary").first.click()
    assert section.locator("h4").first.is_visible()
    assert page.locator("table.matrix").first.is_visible()
    assert page.locator(".chart svg").first.is_visible()


def test_paper_shows_what_the_screen_folds_away(open_report: Any) -> None:
    """Printing unfolds every finding and leaves the controls out; afterwards the page is as it was."""
    page = open_report().page
    before = page.locator("details[open]").count()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("details:not([open])").count() == 0
    assert page.locator("nav:visible, button:not(th button):visible, input:visible").count() == 0
    assert page.locator("#findings-table th").first.inner_text() == "Finding"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == before


def test_trends_are_there_without_scripts(open_report: Any) -> None:
    """With scripts off the bars, a strip for each finding and the lines of each backend are drawn, and the nights unfold."""
    page = open_report("#trends", trends=True, java_script_enabled=False).page
    trends = page.locator("#trends")
    assert trends.locator(".nights svg").is_visible()
    assert trends.locator("table.tracks .strip").first.is_visible()
    assert trends.locator(".spark svg").first.is_visible()
    trends.locator("summary", has_text="Night by night").click()
    assert trends.get_by_role("row").filter(has_text="2025-11-12").first.is_visible()


def test_a_finding_of_the_trends_leads_to_its_section(open_report: Any) -> None:
    """A fingerprint in the history is a link where the page has that finding, and opens it."""
    page = open_report(trends=True).page
    link = page.locator("#trends table.tracks").first.locator("a").last
    fingerprint = link.inner_text()
    link.click()
    until(page, f"document.getElementById('{fingerprint}').open")


def test_the_map_of_errors_is_a_picture_that_takes_its_colour_from_the_page(open_report: Any) -> None:
    """The cells that are off are drawn in the page's own red, in both schemes, within the width of a telephone."""
    strokes = set()
    for scheme in ("light", "dark"):
        page = open_report(color_scheme=scheme, viewport={"width": 400, "height": 800}).page
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        picture = page.locator("figure svg.map").first
        box = picture.bounding_box()
        assert box is not None
        assert box["width"] > 50
        assert box["x"] + box["width"] <= 400
        strokes.add(picture.locator("path").first.evaluate("path => getComputedStyle(path).stroke"))
    assert len(strokes) == 2


@pytest.mark.parametrize("trends", [False, True], ids=["one run", "many nights"])
def test_paper_loses_nothing_at_its_edge(open_report: Any, *, trends: bool) -> None:
    """On a sheet of A4 no table reaches beyond the margin, where nobody can scroll."""
    page = open_report(trends=trends, viewport={"width": 720, "height": 1000}).page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    beyond = page.eval_on_selector_all(
        "table", "tables => tables.filter(t => t.getBoundingClientRect().right > innerWidth).map(t => t.caption?.innerText ?? t.className)"
    )
    assert beyond == []
