"""The report for readers who see, hear or move otherwise: axe-core's rules, and the keyboard."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
ALIKE = """() => {
    const grounds = new Map(), seen = new Map();
    const ground = element => {
        if (element === null) return "";
        if (!grounds.has(element)) {
            const {backgroundColor, backgroundImage, opacity, filter, position} = getComputedStyle(element);
            const own = [backgroundColor, backgroundImage, opacity, filter, position].join();
            grounds.set(element, `${own}|${ground(element.parentElement)}`);
        }
        return grounds.get(element);
    };
    for (const element of document.querySelectorAll("body *")) {
        if (element.childElementCount || !element.textContent.trim()) continue;
        const {color, fill, fontSize, fontWeight, textShadow} = getComputedStyle(element);
        const ink = [color, fill, fontSize, fontWeight, textShadow];
        const look = [element.closest("section")?.id, element.tagName, ...ink, ground(element)].join("/");
        seen.set(look, (seen.get(look) ?? 0) + 1);
        element.toggleAttribute("data-alike", seen.get(look) > 2);
    }
    return [...seen.values()];
}"""
"""Marks text that looks as two texts before it do in the same section: one ink, one size, and one ground under it, layer by layer.

Contrast takes ten times what all other rules take, and of thousands of cells it says the same.
"""


@pytest.fixture(scope="module")
def axe() -> str:
    """The source of axe-core, from the package that carries it."""
    found = find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        said = "the package axe-playwright-python, which carries axe-core, is not installed"
        if os.environ.get("CONVFUZZ_REQUIRE_BROWSER") == "1":
            pytest.fail(said, pytrace=False)
        pytest.skip(said)
    return Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8")


LAYOUT = """() => [...document.querySelectorAll("body *")].map(element => {
    const {x, y, width, height} = element.getBoundingClientRect(), {display, visibility} = getComputedStyle(element);
    return [x, y, width, height, display, visibility].join();
}).join(";")"""
"""Where everything is, and whether it is shown."""
GROUND = "getComputedStyle(document.body).backgroundColor"
VIOLATIONS = """async ([tags, colours]) => {
    const rules = axe.getRules(["cat.color"]).filter(rule => rule.tags.some(tag => tags.includes(tag))).map(rule => rule.ruleId);
    const found = await axe.run({include: ["html"]}, {runOnly: colours ? rules : tags, resultTypes: ["violations"]});
    const told = found.violations.map(v => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map(node => node.html.slice(0, 120))}`);
    return [[found.violations, found.passes, found.incomplete, found.inapplicable].flat().map(rule => rule.id), told];
}"""


def violations(page: Any, *, colours: bool = False) -> tuple[set[str], list[str]]:
    """Run all rules, or those about colours, on a page that has axe-core; return which have run, and what breaks them."""
    assert len(page.evaluate(ALIKE)) > 100
    page.evaluate("axe.configure({rules: [{id: 'color-contrast', selector: ':not([data-alike])'}]})")
    rules, found = page.evaluate(VIOLATIONS, [TAGS, colours])
    return set(rules), found


@pytest.mark.parametrize("trends", [False, True], ids=["one run", "many nights"])
@pytest.mark.parametrize("width", [1280, 400])
def test_axe_finds_nothing(open_report: Any, axe: str, width: int, *, trends: bool) -> None:
    """No rule of WCAG 2.2 AA is broken, contrast included, in either scheme, wide or narrow, with everything unfolded.

    The dark scheme differs from the light one in colours alone, and is asked about these.
    """
    page = open_report(trends=trends, color_scheme="light", viewport={"width": width, "height": 900}, bypass_csp=True).page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.evaluate(axe)
    rules, found = violations(page)
    assert found == []
    assert {"color-contrast", "link-in-text-block", "target-size"} <= rules
    layout, ground = page.evaluate(LAYOUT), page.evaluate(GROUND)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(GROUND) != ground
    assert page.evaluate(LAYOUT) == layout
    rules, found = violations(page, colours=True)
    assert found == []
    assert rules == {"color-contrast", "link-in-text-block"}


def test_the_help_dialog_passes_too(open_report: Any, axe: str) -> None:
    """The open dialog breaks no rule either."""
    page = open_report(bypass_csp=True).page
    page.keyboard.press("?")
    page.evaluate(axe)
    found = page.evaluate("axe.run('#help').then(r => r.violations.map(v => v.id))")
    assert found == []


def test_the_keyboard_reaches_everything_and_shows_where_it_is(open_report: Any) -> None:
    """Tab visits the skip link first, then links, buttons and folds, each with an outline that can be seen."""
    page = open_report().page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the findings"
    seen = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        outline = page.evaluate("""() => {
            const style = getComputedStyle(document.activeElement);
            return [document.activeElement.tagName, style.outlineStyle, parseFloat(style.outlineWidth)];
        }""")
        seen.add(outline[0])
        assert outline[1] != "none"
        assert outline[2] >= 1
    assert {"A", "BUTTON", "INPUT"} <= seen
