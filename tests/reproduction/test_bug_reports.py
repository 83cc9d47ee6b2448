"""A bug report says what a maintainer asks first, in the framework's own words, and text from outside stays text in it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from campaign.kernel_sources import kernel_source

from convfuzz import Case, Finding, Verdict
from convfuzz.backends import resolve
from convfuzz.checking.checker import Checker, fold_check
from convfuzz.processes.program import run_program
from convfuzz.record.confirmation import Confirmation, Step, Tally
from convfuzz.reproduction import Printed, bug_report, draft, draft_of_finding, reproduction_script, tensor_files
from convfuzz.system.json_records import Real
from convfuzz.verdicts import Discrepancy

from .planted import Bug, code_of, finding_of, report_of

MACHINE = {"Python": "3.11.7", "system": "Linux x86_64", "processor": "Some CPU", "instruction sets": "avx2 fma"}
SPARSE = Bug("wrong", "conv2d_c2_o3_i5x4_k3_p1_f32@x27=2_w17=-3", "torch.nn.functional:conv2d=doubled")
INVALID = Bug("accepted-invalid", "conv2d_c2_o3_i2_k3_f32", "torch.nn.functional:conv2d=accepting")
RAISES = Bug("error", "conv2d_c2_o3_i5_k3_f32", "torch.nn.functional:conv2d=raising")


@pytest.fixture(autouse=True)
def _torch() -> None:
    pytest.importorskip("torch", reason="the reports are torch's")


def outside(report: str) -> str:
    """Return what of a report is no code block."""
    return re.sub(r"(?ms)^(`{3,})\w+\n.*?^\1$", "", report)


def test_report_of_a_wrong_result() -> None:
    """Title, expected value with its products, actual value, code, confirmation, boundary and versions are there."""
    confirmation = Confirmation(alone=Tally(5, 5))
    finding = msgspec.structs.replace(
        finding_of(SPARSE), confirmation=confirmation, companion="conv1d_c1_o1_i1_k1_f32", boundary="fails at batch 16, works at 15"
    )
    report = bug_report(finding, draft(finding, resolve("torch")), MACHINE)
    assert report.startswith("# torch.nn.functional.conv2d: wrong result (fails at batch 16, works at 15)\n")
    assert "**Expected:** y\\[0, 0, 0, 2\\] is 2 × -3 = -6.0" in report
    assert "where -12.0 is returned" in report
    assert "torch.nn.functional.conv2d(x, w, b, stride=(1, 1), padding=(1, 1)" in code_of(report)
    assert "x[0, 1, 1, 3] = 2\n" in code_of(report)
    for fact in ("- torch: `2.", "- Python: `3.11.7`", "- processor: `Some CPU`", "- instruction sets: `avx2 fma`"):
        assert fact in report
    assert "It fails at batch 16, works at 15." in report
    assert "confirmed: failed in 5 of 5 fresh processes" in report
    assert f"`convfuzz check {SPARSE.line} --backends torch`" in report


def test_report_of_rounding_says_where_the_tolerance_comes_from() -> None:
    """The tolerance is in the code and its derivation in one line of the report."""
    report = report_of(finding_of(Bug("imprecise", "conv2d_c4_o2_i6_k3_f32", "torch.nn.functional:conv2d=rounded_inputs")))
    assert re.search(r"^# torch\.nn\.functional\.conv2d: imprecise result as with bfloat16 inputs \(in float32\)$", report, re.MULTILINE)
    assert re.search(r"assert abs\(got - expected\) <= \d\.\d+e-0\d$", code_of(report), re.MULTILINE)
    assert "u = 2^-24 (float32 accumulation)" in report
    assert "n = 36" in report


def test_report_of_exact_data_says_so() -> None:
    """Small integers leave no tolerance, and the report says why."""
    report = report_of(finding_of(Bug("wrong", "conv2d_c4_o2_i6_k3_f32@integers.1", "torch.nn.functional:conv2d=doubled")))
    assert "assert got == expected\n" in code_of(report)
    assert "No rounding: the operands are small integers" in report


def test_report_of_an_invalid_call_states_the_rule() -> None:
    """The rule that the arguments break is what is expected to be said, and the values do not matter."""
    report = report_of(finding_of(INVALID))
    expected = next(line for line in report.splitlines() if line.startswith("**Expected:**"))
    assert expected.endswith(f"as its first axes: {Case.parse(INVALID.line).config.invalid_reason}.")
    assert "**Actual:** The call is accepted: returned shape" in report
    assert "np.ones((3, 2, 3, 3), dtype=np.float32)" in code_of(report)


def test_report_of_a_crash_shows_what_the_process_left() -> None:
    """Signal and trace are in the report once its code has run, and what called the code is not."""
    finding = finding_of(Bug("crash", RAISES.line, RAISES.plant))
    printed = Printed(
        'Fatal Python error: Aborted\n  File "/home/me/v/lib/python3/site-packages/torch/x.py", line 1', "killed by SIGABRT", failed=True
    )
    report = bug_report(finding, draft(finding, resolve("torch")), MACHINE, printed)
    assert "# torch.nn.functional.conv2d: the process dies (in float32)" in report
    assert "(killed by SIGABRT):" in report
    assert 'File "…/site-packages/torch/x.py", line 1' in report
    assert "/home/me" not in report


def test_report_says_that_its_code_did_not_fail() -> None:
    """A failure that does not come back in the code's own run is not claimed to."""
    finding = finding_of(SPARSE)
    drafted = draft(finding, resolve("torch"))
    assert "did not fail" in bug_report(finding, drafted, MACHINE, Printed("fine", "exit status 0", failed=False))
    assert "did not fail" not in bug_report(finding, drafted, MACHINE, Printed("not fine", "exit status 1", failed=True))


def test_code_runs_what_comes_first_and_what_comes_and_goes_often() -> None:
    """Runs that have to come before are in the code, and a failure that is flaky is tried many times."""
    before = Step("torch", "conv2d_c1_o1_i3_k3_f32")
    depends = msgspec.structs.replace(
        finding_of(SPARSE), confirmation=Confirmation(alone=Tally(0, 5), after=Tally(5, 5), preceding=[before], preceding_is_minimal=True)
    )
    code = code_of(report_of(depends))
    assert "def earlier_1():" in code
    assert code.index("\nran_before()") < code.index("\ny = run(*operands)")
    flaky = msgspec.structs.replace(finding_of(SPARSE), confirmation=Confirmation(alone=Tally(2, 8)))
    assert "for _ in range(20):" in code_of(report_of(flaky))


def test_long_code_is_folded() -> None:
    """Code of many lines, such as that of drawn data, does not hide the rest of the report; it is all there."""
    report = report_of(finding_of(Bug("wrong", "conv2d_c8_o3_i20_k5_f32@normal.3", "torch.nn.functional:conv2d=doubled")))
    assert report.index("<details>") < report.index("```python") < report.index("</details>")
    ast.parse(code_of(report))
    assert "<details>" not in report_of(finding_of(SPARSE))


KERNEL = "import numpy as np\n\n\ndef {name}(x, w, b, config): return np.zeros(config.output_shape, x.dtype)\n"


def test_report_of_a_kernel_that_no_program_finds() -> None:
    """Where the call cannot be written down, the case line and the command are what there is, and the rest of the report too."""
    line = "conv1d_c1_o1_i3_k3_f32@integers.1"
    found = Discrepancy(elements=1, max_abs=Real(3.0), index=(0, 0, 0), expected=Real(3), actual=Real(0), over=1)
    finding = Finding(
        fingerprint="0123abcd", verdict=Verdict.WRONG, backend="tests.py::<shadowed>.local", case=line, first_case=line, discrepancy=found
    )
    report = bug_report(finding, draft_of_finding(finding), MACHINE)
    assert report.startswith("# tests.py::&lt;shadowed&gt;.local: wrong result (in float32)\n")
    assert "## Code" not in report
    assert "The element at \\[0, 0, 0\\] of the output is 3.0." in report
    assert f"convfuzz check {line} --backends 'tests.py::<shadowed>.local'" in report


def test_report_of_a_kernel_in_a_file(tmp_path: Path) -> None:
    """A kernel's report is titled by its file and function, without the folders, and its code loads it from where it lies."""
    path = tmp_path / "k.py"
    path.write_text(KERNEL.format(name="zeros"))
    backend = resolve(f"{path}::zeros")
    line = "conv1d_c1_o1_i3_k3_f32@x0=1_w0=1"
    found = Discrepancy(elements=1, max_abs=Real(1.0), index=(0, 0, 0), expected=Real(1), actual=Real(0), over=1)
    finding = Finding(fingerprint="0123abcd", verdict=Verdict.WRONG, backend=backend.name, case=line, first_case=line, discrepancy=found)
    report = bug_report(finding, draft(finding, backend), MACHINE)
    assert report.startswith("# k.py:\\:zeros: wrong result (in float32)\n")
    assert repr(str(path)) in code_of(report)


EVIL = "</details>```\n````\n# @everyone #12 <script>alert(1)</script> ![x](http://example.com) [ ] | \x1b[31m\u202e"


@pytest.mark.parametrize("field", ["reason", "model", "boundary", "features", "versions", "backend", "environment", "printed"])
def test_text_from_outside_stays_text(field: str) -> None:
    """Whatever a framework or a kernel says, it makes no markup, no HTML, no mention and no heading, and ends no code block."""
    finding = msgspec.structs.replace(finding_of(RAISES), companion="conv1d_c1_o1_i1_k1_f32", boundary="fails, works")
    values: dict[str, object] = {"features": [EVIL], "versions": {EVIL: EVIL}}
    drafted = draft(finding, resolve("torch"))
    if field not in ("environment", "printed"):
        finding = msgspec.structs.replace(finding, **{field: values.get(field, EVIL)})
        drafted = draft_of_finding(finding) if field == "backend" else draft(finding, resolve("torch"))
    machine = {EVIL: EVIL} if field == "environment" else MACHINE
    printed = Printed(EVIL, EVIL, failed=True) if field == "printed" else None
    report = bug_report(finding, drafted, machine, printed)
    text = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", re.sub(r"\\.", "", outside(report)))
    headings = [line for line in outside(report).splitlines() if line.startswith("#")]
    assert headings[1:] == [h for h in ("## Code", "## When it happens", "## Versions") if h != "## Code" or field != "backend"]
    for told in ("<script", "</details>", "@everyone", "#12", "![", "](", "\x1b", "\u202e"):
        assert told not in text
    if field != "backend":
        ast.parse(code_of(report))


@pytest.mark.parametrize(
    ("backend", "title"),
    [
        ("torch+split", "torch.nn.functional.conv2d for one output kernel at a time: wrong result"),
        ("torch+padded", "torch.nn.functional.conv2d, on an input that is padded already: wrong result"),
        ("torch+adjoint", "torch.nn.functional.conv_transpose2d, its input gradient as the opposite operation: wrong result"),
        ("torch:nn", "torch.nn.Conv2d: wrong result"),
    ],
)
def test_title_names_what_is_called(backend: str, title: str) -> None:
    """Whoever reads the title of a variant's report knows which function was called, and how."""
    finding = msgspec.structs.replace(finding_of(SPARSE), backend=backend)
    assert bug_report(finding, draft(finding, resolve(backend)), MACHINE).startswith(f"# {title} (in float32)\n")


def test_code_sets_the_environment_of_its_mode_first() -> None:
    """A mode that needs environment variables has them in its code before the framework is imported, and its function in the title."""
    name = "torch:avx2"
    resolve("torch")  # so that the mode runs in a process of its own
    finding = msgspec.structs.replace(finding_of(SPARSE), backend=name)
    report = bug_report(finding, draft(finding, resolve(name)), MACHINE)
    assert report.startswith("# torch.nn.functional.conv2d: wrong result")
    code = code_of(report)
    assert code.index('os.environ["ATEN_CPU_CAPABILITY"]'.replace('"', "'")) < code.index("import torch")
    assert "kernels for processors without AVX-512" in report


def test_error_s_own_words_are_a_block() -> None:
    """What a framework raises is shown as it is."""
    report = report_of(finding_of(RAISES))
    assert "**Actual:** The call fails with:\n\n````text\nValueError: planted: ```" in report


def test_expected_infinity_reads_as_a_number() -> None:
    """Inf is source in the code and a number in the sentence."""
    line = "conv1d_c1_o1_i1_k1_f32@x0=inf_w0=-1"
    found = Discrepancy(elements=1, max_abs=Real(0.0), index=(0, 0, 0), expected=Real("-inf"), actual=Real(1), non_finite=1)
    finding = Finding(fingerprint="0123abcd", verdict=Verdict.NON_FINITE, backend="torch", case=line, first_case=line, discrepancy=found)
    report = report_of(finding)
    assert "**Expected:** y\\[0, 0, 0\\] is inf × -1 = -inf.\n" in report
    assert "At \\[0, 0, 0\\], 1.0 is returned where -Inf is right." in report
    assert 'expected = float(y[0, 0, 0]), float("-inf")\n' in code_of(report)


def test_report_of_what_was_not_reduced_says_so_first_and_keeps_its_data_in_files(tmp_path: Path) -> None:
    """The first line says it, the code is short, and with the files beside it the code shows the bug."""
    source = kernel_source("return correct(x, w, b, config) + 1")
    (tmp_path / "k.py").write_text(source)
    backend = resolve(f"{tmp_path / 'k.py'}::kernel")
    case = Case.parse("conv2d_n2_c5_o6_i9_k3_f32@normal.3")
    result = fold_check(case, Checker([backend]).events(case)).results[0]
    reduced = Finding(
        fingerprint="0123abcd", verdict=result.verdict, backend=backend.name, case=str(case), first_case=str(case),
        reason=result.reason, discrepancy=result.discrepancies["forward"],
    )  # fmt: skip
    finding = msgspec.structs.replace(reduced, reduction="budget spent")
    drafted, files = draft(finding, backend), tensor_files(finding)
    assert bug_report(finding, drafted, MACHINE).startswith("**Not reduced:**")
    assert not bug_report(reduced, draft(reduced, backend), MACHINE).startswith("**Not reduced:**")
    assert tensor_files(reduced) == {}
    assert sorted(files) == ["0123abcd-w.npy", "0123abcd-x.npy"]
    assert 2 * len(drafted.code.splitlines()) < len(draft(reduced, backend).code.splitlines())
    printed = run_program(drafted.code, beside=files)
    assert printed.failed
    assert "AssertionError" in printed.text
    script = reproduction_script(finding, backend)
    assert script is not None
    assert "not reduced" in script.splitlines()[1]
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "0123abcd.py").write_text(script)
    done = subprocess.run([sys.executable, str(tmp_path / "0123abcd.py")], check=False, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
