"""The Markdown summary of a job."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import ModuleType

import msgspec

from convfuzz.record.run_directory import Run
from convfuzz.reports import markdown, render_markdown


def test_the_summary_has_verdict_findings_matrix_and_command(full: Run) -> None:
    """One glance says what was found, a second what it was found on, a third how to run it again."""
    text = render_markdown([full])
    assert text.startswith(f"## ❌ {len(full.causes)} causes of failure in 5 backends\n")
    assert "caught 12 of 12 times" in text
    name = next(f.fingerprint for f in full.findings if f.case.startswith("conv2d_c2_o2_g2"))
    assert f"| {name} | wrong | kernels.py::my_conv | `conv2d_c2_o2_g2_i5_k3_p2_d2_f32@normal.3` | 2.43 |" in text
    assert "| reference | · |" in text
    assert "convfuzz run --backends kernels.py::my_conv,torch" in text
    assert markdown([full]) == text.encode()


def test_the_summary_names_passes_and_what_was_not_run(full: Run) -> None:
    """A finding in a gradient says so in its row; results per pass and cases that nobody ran are counted."""
    text = render_markdown([full])
    assert "| wrong in grad_weight | kernels.py" in text
    assert "Max-abs discrepancies of the forward pass, every dtype" in text
    passes = sum((found.passes for found in full.summary.backends.values()), Counter[str]())
    assert f"Results compared: {passes['forward']:,} forward, {passes['grad_input']:,} grad_input" in text
    assert "Run on no backend: 4 cases: tensors and results take more than 4 GiB." in text


def test_an_empty_run_is_not_green(empty: Run) -> None:
    """Nothing compared has a warning sign and no check mark."""
    text = render_markdown([empty])
    assert text.startswith("## ⚠️ Nothing was compared")
    assert "✅" not in text


def test_text_from_outside_stays_in_its_cell(synthetic: ModuleType, tmp_path: Path) -> None:
    """A name with pipes, line breaks, markup or code fences breaks neither the table nor the page."""
    evil = msgspec.structs.replace(synthetic.findings()[0], backend="a|b\n# c <img src=x> @d ```")
    text = render_markdown([Run.load(synthetic.write_campaign(tmp_path, cases=5, found=[evil], backends=["x```y"]))])
    assert "<img" not in text
    assert "\n# c" not in text
    row = next(line for line in text.splitlines() if evil.fingerprint in line)
    assert row.replace("\\|", "").count("|") == 9
    assert "````sh" in text
