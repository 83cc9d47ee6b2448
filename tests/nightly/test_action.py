"""The composite action: its rules, and its script run as a runner would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action.yml"
KERNELS = """
import convfuzz

def right(x, w, b, config):
    return convfuzz.reference(config, x, w, b).y.astype(x.dtype)

def wrong(x, w, b, config):
    return right(x, w, b, config) + 1
"""


def load() -> dict[str, Any]:
    """Read the action."""
    read: dict[str, Any] = yaml.safe_load(ACTION.read_text())
    return read


def step(name: str) -> dict[str, Any]:
    """Return one of its steps."""
    (found,) = [one for one in load()["runs"]["steps"] if one["name"] == name]
    return dict(found)


def fuzz(folder: Path, **inputs: str) -> tuple[str, dict[str, str], str]:
    """Run the step that fuzzes with these inputs; return what it prints, its outputs and the job's summary."""
    environment = dict(os.environ)
    for name, expression in step("Fuzz")["env"].items():
        (given,) = re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", expression).groups()  # type: ignore[union-attr]
        environment[name] = inputs.get(given, load()["inputs"][given]["default"])
    files = {name: folder / name.lower() for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    environment |= {name: str(path) for name, path in files.items()}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    shell = ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step("Fuzz")["run"]]
    done = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
    summary = files["GITHUB_STEP_SUMMARY"]
    return done.stdout, outputs, summary.read_text() if summary.exists() else ""


@pytest.mark.parametrize("kernel", ["right", "wrong"])
def test_step_fuzzes_and_leaves_summary_and_sarif(tmp_path: Path, kernel: str) -> None:
    """The step passes with findings too, so that the report is kept; the status is an output, and the summary has the verdict."""
    (tmp_path / "kernels.py").write_text(KERNELS)
    _, outputs, summary = fuzz(tmp_path, backends=f"kernels.py::{kernel}", time="3s", strategy="smoke")
    status = json.loads((tmp_path / "convfuzz-run" / "run.json").read_text())["exit_status"]
    assert outputs == {"status": str(status)}
    assert (status == 1) == (kernel == "wrong")  # else 0, or 2 where so short a run proves too little
    assert summary.startswith("## ")
    results = json.loads((tmp_path / "convfuzz-run" / "report.sarif").read_text())["runs"][0]["results"]
    assert bool(results) == (kernel == "wrong")
    assert {result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in results} <= {"kernels.py"}
    assert (tmp_path / "convfuzz-run" / "report.html").is_file()


def test_run_that_is_refused_says_so(tmp_path: Path) -> None:
    """An input that cannot be is an exit status of 2, without a report."""
    printed, outputs, summary = fuzz(tmp_path, backends="kernels.py::gone; echo pasted")
    assert outputs == {"status": "2"}
    assert summary == ""
    assert "pasted" not in printed


def test_input_that_begins_with_a_dash_is_no_option(tmp_path: Path) -> None:
    """Whatever an input is, it is the value of its option."""
    printed, outputs, summary = fuzz(tmp_path, backends="--help", time="--version", out="--out")
    assert (outputs, summary) == ({"status": "2"}, "")
    assert "Usage" not in printed
    assert "version" not in printed


def test_summary_is_not_of_an_earlier_run(tmp_path: Path) -> None:
    """Where the run directory holds a run already, the step is refused and leaves no summary of that one."""
    (tmp_path / "convfuzz-run").mkdir()
    (tmp_path / "convfuzz-run" / "run.json").write_text("{}")
    (tmp_path / "kernels.py").write_text(KERNELS)
    _, outputs, summary = fuzz(tmp_path, backends="kernels.py::right", time="3s", strategy="smoke")
    assert (outputs, summary) == ({"status": "2"}, "")


def test_inputs_reach_scripts_by_the_environment_only() -> None:
    """No expression is pasted into a script, every input is used, and the action that it uses is pinned by commit."""
    steps = load()["runs"]["steps"]
    assert all("${{" not in one.get("run", "") for one in steps)
    text = ACTION.read_text()
    assert all(f"inputs.{name}" in text for name in load()["inputs"])
    for one in steps:
        if "uses" in one:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", one["uses"])


def test_last_step_ends_with_the_status_of_the_run() -> None:
    """The step that judges comes after the one that keeps the report."""
    assert [one["name"] for one in load()["runs"]["steps"]] == ["Fuzz", "Keep the run directory", "Judge"]
    done = subprocess.run(["/bin/bash", "-c", step("Judge")["run"]], env={"STATUS": "1"}, check=False)
    assert done.returncode == 1


def test_documentation_lists_every_input() -> None:
    """``docs/github-action.md`` has each input with its default."""
    page = (ROOT / "docs" / "github-action.md").read_text()
    for name, one in load()["inputs"].items():
        (row,) = re.findall(rf"^\| `{name}` \| (.*?) \|", page, re.MULTILINE)
        assert not one["default"] or row == f"`{one['default']}`"
