"""What a report says of how the backends compute."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from convfuzz.record.arithmetic import Arithmetic, Change
from convfuzz.record.run_directory import Run, decode_run_info
from convfuzz.record.tree_picture import Branch
from convfuzz.reports import render_html, render_markdown
from convfuzz.system.markdown import cell

EVIL = "</script><img src=x onerror=\"alert('x')\"> | `"
CASE = "conv2d_n8_c16_o16_i8_k3_p1_b_f32"
SHEET = Arithmetic(
    backend="torch",
    case=CASE,
    line="one after the other; in float32; changes with batch",
    rows=(("order", "sequential: one after the other"), ("declare", "Numerics()"), ("subnormals", "kept")),
    changes=(Change("the number of samples in the batch", same=False, case=CASE), Change("a second run", same=True)),
    tree="0…143 + b",
    outline=(Branch(0, "in turn", "", 3), Branch(1, "run", "0", 1), Branch(1, "alike", "… 143 more", 1), Branch(1, "run", "b", 1)),
    declare="Numerics(inputs='tfloat32')",
    coarser=("inputs='tfloat32'",),
    not_understood=("outputs round in no way known here",),
    measured="2026-11-28",
)
LEFT_OUT = Arithmetic(backend="tensorflow", unmeasured="no time was left")


@pytest.fixture
def run(synthetic: ModuleType, tmp_path: Path) -> Run:
    """A run that measured one of its backends."""
    return Run.load(synthetic.write_campaign(tmp_path / "run", cases=30, arithmetic=[SHEET, LEFT_OUT]))


def test_the_page_shows_a_sheet(run: Run) -> None:
    """A backend's line, rows, tree and its picture, changes with their case, declaration and doubts are on the page."""
    page = render_html([run])
    section = page[page.index('<section id="arithmetic"') :].partition("</section>")[0]
    for said in (SHEET.line, "subnormals", "0…143 + b", "Measured on 2026-11-28", "the number of samples in the batch: no."):
        assert said in section
    for said in ("a second run: yes, in every trial", "more than is declared today", "Not understood: outputs round", "not measured"):
        assert said in section
    assert 'class="sum-tree"' in section
    assert "<style" not in section  # which the page's policy does not allow
    assert '<a href="#arithmetic">' in page


def test_the_summary_has_a_row_for_each(run: Run) -> None:
    """So has the Markdown summary, with the declaration."""
    summary = render_markdown([run])
    assert "| torch | one after the other; in float32; changes with batch | `Numerics(inputs='tfloat32')` |" in summary
    assert "not measured: no time was left" in summary


def test_a_run_without_sheets_has_no_section(full: Run, full_page: str) -> None:
    """A run of before there were any, or a short one, is shown as it was."""
    assert full.info.arithmetic == []
    assert 'id="arithmetic"' not in full_page
    assert "Arithmetic" not in render_markdown([full])


def test_the_latest_that_was_measured_is_shown(synthetic: ModuleType, run: Run, tmp_path: Path) -> None:
    """Of several runs the latest sheet of a backend counts, and one that was measured before one that was not."""
    later = Arithmetic(backend="torch", line="pairwise; in float32"), Arithmetic(backend="tensorflow", unmeasured="killed")
    other = Run.load(synthetic.write_campaign(tmp_path / "later", cases=30, arithmetic=list(later), started=run.info.started + 100.0))
    unmeasured = Arithmetic(backend="torch", unmeasured="no time was left")
    last = Run.load(synthetic.write_campaign(tmp_path / "last", cases=30, arithmetic=[unmeasured], started=run.info.started + 200.0))
    summary = render_markdown([last, other, run])
    assert "pairwise; in float32" in summary
    assert SHEET.line not in summary


def test_words_from_elsewhere_stay_words(synthetic: ModuleType, tmp_path: Path) -> None:
    """What a hostile run.json says of arithmetic is text, in the page and in the picture."""
    evil = Arithmetic(
        backend="torch",
        case=CASE,
        line=EVIL,
        rows=((EVIL, EVIL),),
        changes=(Change(EVIL, same=False, case=EVIL),),
        tree=EVIL,
        outline=(Branch(0, "pair", EVIL, 2), Branch(1, "run", EVIL, 1), Branch(1, "run", EVIL, 1)),
        declare=EVIL,
        coarser=(EVIL,),
        not_understood=(EVIL,),
        measured=EVIL,
    )
    run = Run.load(synthetic.write_campaign(tmp_path, cases=30, arithmetic=[evil]))
    assert "<img" not in render_html([run])
    assert render_markdown([run]).replace(cell(EVIL), "").count("<img") == 0  # but for the code of what to declare


def test_an_old_run_is_still_read(full: Run) -> None:
    """A run.json without the field has no sheets."""
    text = (full.directory / "run.json").read_text()
    assert '"arithmetic": []' in text
    assert decode_run_info(text.replace('"arithmetic": [],', "").encode(), "run.json").arithmetic == []
