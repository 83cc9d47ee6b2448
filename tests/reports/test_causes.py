"""Causes in the reports of a run: page, terminal, JUnit XML and Markdown count the same ones."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import msgspec
import pytest
from rich.console import Console

from convfuzz.cli.tables import print_run
from convfuzz.record.cause import Cause
from convfuzz.record.outcome import exit_status
from convfuzz.record.run_directory import Run, UpstreamLine, write_run_info
from convfuzz.reports import junit, render_html, render_markdown
from convfuzz.reports.merged import Merged

KERNEL = "kernels.py::my_conv"
THREAD = "https://github.com/pytorch/pytorch/issues/1"


def printed(run: Run) -> str:
    """Return what the terminal shows at the end of a run."""
    text = io.StringIO()
    print_run(Console(file=text, width=300, highlight=False), run)
    return text.getvalue()


@pytest.fixture
def run(synthetic: ModuleType, tmp_path: Path) -> Run:
    """A run with three causes: a kernel's with three findings, another of that kernel, and one of PyTorch that is known."""
    found = [
        synthetic.finding("conv1d_c1_o1_i2_k1_s2_f32@integers.0", backend=KERNEL),
        synthetic.finding("conv1d_c1_o1_i2_k1_s2_f32@special.0", backend=KERNEL, verdict=synthetic.Verdict.NON_FINITE),
        synthetic.finding("conv1d_c1_o1_i2_k1_s2_f64_grad@integers.0", backend=KERNEL, in_pass="grad_weight"),
        synthetic.finding("conv2d_c2_o2_g2_i1_k1_f32@integers.0", backend=KERNEL),
        synthetic.finding("conv1d_c1_o1_i2_k1_f16@normal.0", backend="torch", verdict=synthetic.Verdict.IMPRECISE),
    ]
    names = [one.fingerprint for one in found]
    upstream = [UpstreamLine(names[4], "planes", "Planes are off by one.", THREAD)]
    told = [Cause(cause=names[0], lead=names[0], members=names[:3])]
    return Run.load(
        synthetic.write_campaign(
            tmp_path, found=found, backends=["torch", KERNEL], known={names[4]: "planes"}, cases=40, upstream=upstream, causes=told
        )
    )


def test_all_agree_on_the_count(run: Run) -> None:
    """Three causes, one of them known, are three on the page, in the terminal, in JUnit XML and in Markdown, by the same leads."""
    leads = [cause.lead for cause in run.causes]
    assert [len(cause.members) for cause in run.causes] in ([1, 3, 1], [3, 1, 1])
    assert [bool(cause.known) for cause in run.causes] == [False, False, True]
    new, known = leads[:2], leads[2:]
    page, terminal, summary = render_html([run]), printed(run), render_markdown([run])

    assert "<title>2 new causes of failure in 1 backend, and 1 known upstream · convfuzz</title>" in page
    assert re.findall(r'<td class="id"><a href="#(\w+)">', page) == new
    assert re.findall(r'<ul class="known">\s*<li><span class="id"><a href="#(\w+)">', page) == known
    assert re.findall(r'<details class="finding" id="(\w+)"', page) == leads

    assert re.findall(r"^([0-9a-f]{8})  ", terminal, re.MULTILINE) == leads

    assert summary.startswith("## ❌ 2 new causes of failure in 1 backend, and 1 known upstream\n")
    assert re.findall(r"^\| ([0-9a-f]{8})", summary, re.MULTILINE) == new
    assert re.findall(r"^- ([0-9a-f]{8}) ", summary, re.MULTILINE) == known

    tests = [test for test in ET.fromstring(junit([run])).iter("testcase") if re.match(r"[0-9a-f]{8}:", test.attrib["name"])]  # noqa: S314 - our own
    named = {test.attrib["name"].partition(":")[0]: test[0].tag for test in tests}
    assert named == dict.fromkeys(new, "failure") | dict.fromkeys(known, "skipped")


def test_the_first_lines_say_it_by_backend(run: Run) -> None:
    """The user's kernel comes first, whatever the order of the backends; what is known is said to be."""
    for text in (render_html([run]), printed(run), render_markdown([run])):
        kernel, torch = re.search(r"my_conv: 2 causes, .* in |my_conv: 2 causes in ", text), re.search(r"torch: 1 cause, known, in ", text)
        assert kernel is not None
        assert torch is not None
        assert kernel.start() < torch.start()


def test_members_are_folded_under_their_lead(run: Run) -> None:
    """Each other finding of a cause is named below its lead, with its case, and is no entry of its own."""
    cause = next(cause for cause in run.causes if len(cause.members) == 3)
    texts = [render_html([run]).replace("<wbr>", ""), printed(run), junit([run]).decode()]
    for finding in run.findings:
        if finding.fingerprint in cause.members[1:]:
            assert all(finding.fingerprint in text and finding.case in text for text in texts)
    assert f"| {cause.lead} + 2 |" in render_markdown([run])


def test_what_looks_the_same_in_several_modes_has_one_command(synthetic: ModuleType, tmp_path: Path) -> None:
    """The terminal names the other modes of a framework that fail alike on the minimal case, and the command runs them all."""
    found = [synthetic.finding("conv1d_c1_o1_i3_k3_f32@integers.0", backend=name) for name in ("torch", "torch:nn")]
    text = printed(Run.load(synthetic.write_campaign(tmp_path, cases=5, found=found, backends=["torch", "torch:nn"])))
    assert f"the same on torch:nn ({found[1].fingerprint})" in text
    assert "convfuzz check conv1d_c1_o1_i3_k3_f32@integers.0 --backends torch,torch:nn" in text
    assert "of the same cause" not in text


def test_a_known_cause_is_one_line(run: Run) -> None:
    """The terminal has its fingerprint, what it is and the link, and no command."""
    name = run.causes[-1].lead
    (line,) = [line for line in printed(run).splitlines() if name in line]
    assert line == f"{name}  torch: imprecise · known: pytorch #1: Planes are off by one. · {THREAD}"


def test_the_code_in_a_title_is_code(run: Run) -> None:
    """What a title has between backticks is code on the page and in Markdown, and where there is no markup the backticks are left out."""
    (upstream,) = run.info.upstream
    title = "`conv3d` with <SAME> of `a*b`."
    write_run_info(run.directory, msgspec.structs.replace(run.info, upstream=[msgspec.structs.replace(upstream, title=title)]))
    run = Run.load(run.directory)
    assert "<code>conv3d</code> with &lt;SAME&gt; of <code>a*b</code>." in render_html([run])
    assert "`conv3d` with &lt;SAME&gt; of `a*b`. · " in render_markdown([run])
    assert "pytorch #1: conv3d with <SAME> of a*b." in printed(run)
    assert "pytorch #1: conv3d with &lt;SAME&gt; of a*b." in junit([run]).decode()
    assert "`a*b`" not in render_html([run])


def test_what_is_known_of_a_framework_beside_a_kernel_does_not_fail(synthetic: ModuleType, tmp_path: Path) -> None:
    """It stands there for comparison; without a kernel, with --known ignore, or of the kernel itself, the run fails for it."""
    found = synthetic.finding("conv1d_c1_o1_i2_k1_f16@normal.0", backend="torch", verdict=synthetic.Verdict.IMPRECISE)
    for number, (backends, of, status) in enumerate(
        ([[KERNEL, "torch"], "torch", 0], [["torch", "torch+split"], "torch", 1], [[KERNEL, "torch"], KERNEL, 1])
    ):
        one = msgspec.structs.replace(found, backend=of)
        directory = tmp_path / str(number)
        synthetic.write_campaign(directory, backends=backends, found=[one], known={one.fingerprint: "planes"}, cases=0)
        summary = Run.load(directory).summary
        for name in backends:
            summary.backends[name] = synthetic.compared(one=name == of)
        summary.comparisons = 3
        assert exit_status(summary, "time") == status
        assert exit_status(summary, "time", "tolerate") == 0


def test_a_run_from_before_there_were_causes(run: Run) -> None:
    """Its causes are what looks alike; a fingerprint that no finding has is passed over."""
    write_run_info(run.directory, msgspec.structs.replace(run.info, causes=[]))
    assert len(Run.load(run.directory).causes) == 5
    gone = Cause(cause="01234567", lead="01234567", members=["01234567", run.findings[0].fingerprint])
    write_run_info(run.directory, msgspec.structs.replace(run.info, causes=[gone]))
    assert len(Run.load(run.directory).causes) == 5


def test_runs_together_have_the_causes_that_either_has_shown(run: Run, synthetic: ModuleType, tmp_path: Path) -> None:
    """Merged with a run of the same findings that made no experiments, the causes stay what they are."""
    again = synthetic.write_campaign(tmp_path / "again", found=list(run.findings), backends=["torch", KERNEL], cases=10)
    page = render_html([run, Run.load(again)])
    assert re.findall(r'<td class="id"><a href="#(\w+)">', page) == [cause.lead for cause in run.causes[:2]]


def test_what_was_not_reduced_is_not_joined_across_runs(synthetic: ModuleType, tmp_path: Path) -> None:
    """Findings of one fingerprint that no reduction has reached are two where their cases differ, each with its own script."""
    stride = synthetic.finding("conv2d_c4_o8_i17_k3_s2_f32@normal.1", reduction="budget spent")
    channels = synthetic.finding("conv2d_c0_o8_i17_k3_f32@normal.2", reduction="interrupted")
    same = {"fingerprint": "0123abcd"}
    stride, channels = (msgspec.structs.replace(one, **same) for one in (stride, channels))
    reduced = synthetic.finding("conv2d_c1_o1_i1_k1_d2_f32")
    nights = [[stride, reduced], [channels, reduced], [stride, reduced]]
    runs = [Run.load(synthetic.write_campaign(tmp_path / str(n), cases=2, found=found)) for n, found in enumerate(nights)]
    merged = Merged.of(runs)
    assert {(found.finding.fingerprint, found.finding.case, found.runs) for found in merged.findings} == {
        ("0123abcd", stride.case, 2),
        ("0123abcd-2", channels.case, 1),
        (reduced.fingerprint, reduced.case, 3),
    }
    assert channels.case in (merged.by_fingerprint["0123abcd-2"].script() or "")
    assert len(merged.causes) == 3
    page = render_html(runs)
    assert 'id="0123abcd-2"' in page
    assert "repro/0123abcd-2" not in page
    names = [case.get("name") or "" for case in ET.fromstring(junit(runs)).iter("testcase")]  # noqa: S314 - our own
    assert sum(name.startswith(("0123abcd:", "0123abcd-2:")) for name in names) == 2
