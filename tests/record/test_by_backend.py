"""What a run says of each framework and kernel in its first lines."""

from __future__ import annotations

from convfuzz.record.by_backend import by_backend
from convfuzz.record.cause import causes_of
from convfuzz.record.counts import BackendSummary, FindingSummary
from convfuzz.record.coverage import ENDS_ITS_PROCESS
from convfuzz.record.finding import Finding
from convfuzz.record.summary import Summary
from convfuzz.verdicts import Verdict

LINE = "conv1d_c1_o1_i1_k1_f32"


def lines(failed: dict[str, int], *findings: Finding, known: dict[str, str] | None = None) -> list[str]:
    """Return the lines of a run in which each backend was compared on ten cases and failed on so many."""
    summary = Summary()
    for name, count in failed.items():
        summary.backends[name] = one = BackendSummary()
        one.verdicts.update({Verdict.AGREE: 10 - count, Verdict.WRONG: count})
        one.coverage.configs.update(range(5))
    for f in findings:
        summary.findings[f.fingerprint] = FindingSummary(f.fingerprint, f.backend, f.verdict, f.case, "", "forward", 0.0, f.count)
    found = {f.fingerprint: f for f in findings}
    return [str(line) for line in by_backend(failed, summary, causes_of(findings, known or {}), found)]


def finding(fingerprint: str, backend: str, case: str = LINE) -> Finding:
    """Return a finding."""
    return Finding(fingerprint=fingerprint, verdict=Verdict.WRONG, backend=backend, case=case, first_case=case)


def test_kernels_come_first_under_their_short_names() -> None:
    """A kernel is called by its function, or by its file too where another one has that name."""
    assert lines({"torch": 0, "here/a.py::f": 0}) == [
        "f: no finding in 10 compared cases of 5 configurations",
        "torch: no finding in 10 compared cases of 5 configurations",
    ]
    assert [line.partition(": ")[0] for line in lines({"x/a.py::f": 0, "x/b.py::f": 0})] == ["a.py::f", "b.py::f"]


def test_modes_of_a_framework_share_a_line() -> None:
    """A cause in several modes counts once, and each mode says what it was compared on."""
    said = lines({"torch": 1, "torch+split": 1}, finding("01234567", "torch"), finding("12345678", "torch+split"))
    assert said == ["torch: 1 cause in 10 compared cases of 5 configurations, torch+split in 10 of 5"]


def test_what_is_known_is_said() -> None:
    """All, some or none of the causes are known."""
    two = finding("01234567", "torch"), finding("12345678", "torch", "conv2d_c1_o1_i1_k1_f32")
    for known, said in (
        ({}, "2 causes in"),
        ({"01234567": "https://a"}, "2 causes, 1 of them known, in"),
        ({"01234567": "https://a", "12345678": "https://b"}, "2 causes, all known, in"),
    ):
        assert lines({"torch": 2}, *two, known=known) == [f"torch: {said} 10 compared cases of 5 configurations"]


def test_what_was_not_examined_is_no_clean_run() -> None:
    """Failures that have become no finding are said, with and without causes beside them."""
    assert lines({"torch": 3}) == ["torch: no finding yet, 3 failures not examined, in 10 compared cases of 5 configurations"]
    assert lines({"torch": 3}, finding("01234567", "torch"))[0].startswith("torch: 1 cause, 2 failures not examined, in ")


def test_nothing_compared_is_said() -> None:
    """A backend that has not computed anything has no finding that counts."""
    assert [str(line) for line in by_backend(["a.py::f"], Summary(), [], {})] == ["f: nothing was compared"]


def test_what_was_left_out_as_deadly_is_said_and_not_compared() -> None:
    """Cases that are known to end the process are neither compared nor declined, and the line counts them."""
    summary = Summary()
    summary.backends["a.py::f"] = one = BackendSummary()
    one.verdicts.update({Verdict.AGREE: 10, Verdict.UNSUPPORTED: 1203})
    one.skips.update({f"{ENDS_ITS_PROCESS}: run now and then only": 1200, "no groups": 3})
    one.coverage.configs.update(range(5))
    assert (one.compared, one.spared, one.declined) == (10, 1200, 3)
    assert [str(line) for line in by_backend(["a.py::f"], summary, [], {})] == [
        "f: no finding in 10 compared cases of 5 configurations; 1,200 cases left out, known to end its process"
    ]
