"""Findings and run.json as files from outside: data that are validated, with a clear word about what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from convfuzz.errors import UnreadableFile
from convfuzz.record import finding as findings
from convfuzz.record import run_directory
from convfuzz.record.confirmation import MOST_STEPS, Confirmation, Recurrence, Step, Tally
from convfuzz.record.finding import Element, Finding, alike, decode_finding, encode_finding
from convfuzz.record.run_directory import Canary, FindingLine, RunInfo, decode_run_info
from convfuzz.system.json_records import Real, encode_indented
from convfuzz.verdicts import Discrepancy, Verdict

FINDING = Finding(
    fingerprint="0123abcd",
    verdict=Verdict.NON_FINITE,
    backend="torch:native",
    case="conv1d_c1_o1_i3_k3_f32@integers.0",
    first_case="conv2d_n2_c8_o16_g2_i17x19_k3_s2x1_p1_b_f32@normal.42",
    features=["kernel=even"],
    confirmation=Confirmation(
        alone=Tally(0, 5), after=Tally(4, 5), preceding=[Step("torch", "conv1d_c1_o1_i3_k3_f32")], preceding_is_minimal=True
    ),
    discrepancy=Discrepancy(elements=3, max_abs=Real("inf"), index=(0, 0, 1), actual=Real("-inf")),
    elements=[Element((0, 0, 1), Real(2), Real("-inf"))],
    versions={"torch": "2.13"},
)

RUN = RunInfo(
    seed=7,
    strategy="default",
    backends=["torch"],
    arguments={"time": "60s", "nested": [1, None]},
    versions={"numpy": "2"},
    machine={"cpu": "one"},
    started=1.5,
    tool_version="0.1.0",
    stopped="time",
    exit_status=1,
    cases=3,
    verdicts={"torch": {"agree": 2, "wrong": 1}},
    canary=Canary(2, 2),
    findings=[FindingLine("0123abcd", Verdict.WRONG, "torch", "conv1d_c1_o1_i3_k3_f32", Real("inf"))],
)

NO_JSON = [
    b"",
    b"{",
    b"\x00",
    b"\xff\xfe",
    b"\x80\x04K\x01.",
    b"import os",
    b'{"format": 1,}',
    b'{"format": NaN}',
    b"[]",
    b"1",
    b'"x"',
    b"null",
]
DEEP = [b"[" * 100_000, b'{"a":' * 100_000, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"]

KINDS: dict[str, tuple[Callable[[bytes, str], Any], bytes]] = {
    "finding": (decode_finding, encode_finding(FINDING)),
    "run.json": (decode_run_info, encode_indented(RUN)),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def changed(kind: str, **changes: Any) -> bytes:
    """Return a good file with some fields replaced."""
    return json.dumps(json.loads(KINDS[kind][1]) | changes).encode()


def refuse(kind: str, data: bytes, message: str) -> None:
    """Assert that a file is refused with a message that begins with where it came from."""
    with pytest.raises(UnreadableFile) as caught:
        KINDS[kind][0](data, "from/outside.json")
    assert str(caught.value).startswith("from/outside.json ")
    assert message in str(caught.value)


def test_round_trip() -> None:
    """A finding and a run come back equal."""
    assert decode_finding(encode_finding(FINDING), "here") == FINDING
    assert decode_run_info(encode_indented(RUN), "here") == RUN


def test_findings_written_before_there_was_a_confirmation() -> None:
    """A file without a confirmation is read, as one of a finding that was not confirmed."""
    data = json.loads(encode_finding(FINDING))
    del data["confirmation"]
    assert decode_finding(json.dumps(data).encode(), "here").confirmation.recurrence is Recurrence.NOT_CONFIRMED


def test_findings_that_look_alike_within_a_framework_are_one_group() -> None:
    """Modes and variants that fail on one case in one way; not another framework, another pass, or what depends on a history."""
    alone = structs.replace(FINDING, confirmation=Confirmation())
    listed = [
        alone,
        structs.replace(alone, backend="openvino"),
        structs.replace(alone, backend="torch+split", fingerprint="1"),
        structs.replace(alone, backend="torch:nn", in_pass="grad_bias"),
        structs.replace(FINDING, fingerprint="2"),
        structs.replace(alone, backend="a.py::f", case="conv1d_c1_o1_i1_k1_f32"),
        structs.replace(alone, backend="b/c.py::g", case="conv1d_c1_o1_i1_k1_f32"),
    ]
    groups = [[finding.backend for finding in group] for group in alike(listed)]
    assert groups == [["torch:native", "torch+split"], ["openvino"], ["torch:nn"], ["torch:native"], ["a.py::f", "b/c.py::g"]]


def test_max_abs() -> None:
    """A finding's max-abs is its discrepancy's, and zero where there was no output to compare."""
    assert FINDING.max_abs == float("inf")
    crash = json.loads(encode_finding(FINDING))
    crash["discrepancy"] = None
    assert decode_finding(json.dumps(crash).encode(), "here").max_abs == 0.0


@every_kind
@pytest.mark.parametrize("data", NO_JSON, ids=range(len(NO_JSON)))
def test_no_json(kind: str, data: bytes) -> None:
    """What is no JSON object is refused as not being one of its kind."""
    refuse(kind, data, f"is not a {kind}")


@every_kind
@pytest.mark.parametrize("data", DEEP, ids=range(len(DEEP)))
def test_deep_nesting(kind: str, data: bytes) -> None:
    """Brackets nested deeper than any stack are refused like other junk."""
    refuse(kind, data, f"is not a {kind}")


@every_kind
@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5, [1]])
def test_another_format_version(kind: str, version: object) -> None:
    """Another format version is refused with both versions, before anything else is looked at."""
    refuse(kind, changed(kind, format=version), "this convfuzz reads format 1")
    refuse(kind, json.dumps({"format": version}).encode(), "this convfuzz reads format 1")


@every_kind
def test_no_format_version(kind: str) -> None:
    """A file without a format version is of no known version."""
    refuse(kind, b"{}", "format None")


@pytest.mark.parametrize(("kind", "module"), [("finding", findings), ("run.json", run_directory)])
def test_too_large(kind: str, module: Any) -> None:
    """A file beyond the limit is refused by its size, one just within it is read."""
    good = KINDS[kind][1]
    padded = good + b" " * (module.MOST_BYTES - len(good))
    KINDS[kind][0](padded, "here")
    refuse(kind, padded + b" ", f"has {module.MOST_BYTES + 1} bytes")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("verdict", "fine"),
        ("verdict", 1),
        ("backend", None),
        ("count", "1"),
        ("count", 1.5),
        ("features", "kernel=even"),
        ("features", [1]),
        ("versions", {"torch": 2}),
        ("elements", [[0, 1.0, 2.0]]),
        ("elements", [{"index": [0.5], "expected": 0, "actual": 0}]),
        ("discrepancy", {"elements": 1, "max_abs": "huge"}),
        ("discrepancy", {"max_abs": 1.0}),
        ("discrepancy", []),
        ("case", 5),
        ("case", "conv9d"),
        ("case", "conv1d_c1_o1_i3_k3@normal.9999999999999999999"),
        ("first_case", "; rm -rf /"),
        ("companion", "$(true)"),
        ("companion", None),
        ("boundary", ["fails"]),
        ("dense", 1),
        ("reason", 5),
        ("confirmation", "confirmed"),
        ("confirmation", {"alone": {"failed": 3, "tried": 2}}),
        ("confirmation", {"alone": {"failed": -1, "tried": 2}}),
        ("confirmation", {"after": {"failed": "0", "tried": 2}}),
        ("confirmation", {"history": ["conv1d_c1_o1_i1_k1_f32"]}),
        ("confirmation", {"history": [{"backend": "torch", "case": "$(reboot)"}]}),
        ("confirmation", {"history": [{"backend": "torch", "case": "conv1d_c1_o1_i1_k1_f32"}] * (MOST_STEPS + 1)}),
    ],
)
def test_findings_of_other_types(field: str, value: object) -> None:
    """A field of another type, an unknown verdict and a case that does not parse are refused."""
    refuse("finding", changed("finding", **{field: value}), "is not a finding")


@pytest.mark.parametrize("field", ["fingerprint", "verdict", "backend", "case", "first_case"])
def test_findings_lack_nothing(field: str) -> None:
    """A finding without one of its essential fields is refused with the field's name."""
    data = json.loads(encode_finding(FINDING))
    del data[field]
    refuse("finding", json.dumps(data).encode(), field)


@pytest.mark.parametrize(
    "name", ["", "0123abc", "0123abcde", "0123ABCD", "0123abcg", "../../ab", "0123abc\n", "\u0661123abcd", 12345678, None]
)
def test_fingerprints(name: object) -> None:
    """A fingerprint, which becomes a file's name, is eight lower-case hex digits and nothing else."""
    refuse("finding", changed("finding", fingerprint=name), "is not a finding")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", "7"),
        ("seed", 1.5),
        ("backends", "torch"),
        ("backends", [1]),
        ("started", "now"),
        ("exit_status", "0"),
        ("cases", None),
        ("verdicts", {"torch": 3}),
        ("verdicts", {"torch": {"agree": "2"}}),
        ("backend_s", {"torch": "fast"}),
        ("canary", {"planted": 1}),
        ("findings", [{"fingerprint": "0123abcd"}]),
        ("findings", ["0123abcd"]),
        ("arguments", []),
        ("machine", {"cpu": 1}),
    ],
)
def test_runs_of_other_types(field: str, value: object) -> None:
    """A field of another type is refused."""
    refuse("run.json", changed("run.json", **{field: value}), "is not a run.json")


@pytest.mark.parametrize("field", ["seed", "strategy", "backends", "arguments", "versions", "machine", "started", "tool_version"])
def test_runs_lack_nothing(field: str) -> None:
    """A run without one of its essential fields is refused with the field's name."""
    data = json.loads(encode_indented(RUN))
    del data[field]
    refuse("run.json", json.dumps(data).encode(), field)


def test_numbers_that_no_type_holds() -> None:
    """Whole numbers beyond every float are refused like other values that do not fit."""
    good = encode_finding(FINDING)
    assert b'"max_abs": "inf"' in good
    for digits in (400, 5000):
        refuse("finding", good.replace(b'"max_abs": "inf"', b'"max_abs": 1' + b"0" * digits), "is not a finding")
    run = encode_indented(RUN)
    refuse("run.json", run.replace(b'"max_abs": "inf"', b'"max_abs": 1' + b"0" * 400), "is not a run.json")


@every_kind
def test_a_cut_file(kind: str) -> None:
    """A good file cut anywhere is refused and raises nothing else."""
    data = KINDS[kind][1].rstrip()
    for length in range(0, len(data), 7):
        refuse(kind, data[:length], f"is not a {kind}")
