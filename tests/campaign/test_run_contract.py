"""What a campaign leaves behind: its run directory, its totals and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from convfuzz import Case
from convfuzz.record.events import FindingKept
from convfuzz.record.journal import read_journal

from .conftest import KERNELS
from .launch import Finished, Place, told


def test_run_directory_holds_what_is_promised(found: Finished) -> None:
    """``run.json``, journals, one file, script and bug report per finding, and the report are there, and nothing is a pickle."""
    names = {path.relative_to(found.directory).as_posix() for path in found.directory.rglob("*") if path.is_file()}
    prints = {finding["fingerprint"] for finding in found.info["findings"]}
    expected = {"run.json", "report.html", "journal-0.jsonl", "journal-findings.jsonl"}
    expected |= {name for p in prints for name in (f"findings/{p}.json", f"repro/{p}.py", f"repro/{p}.md")}
    assert expected <= names
    assert all(name in {"worker-0.log", ".lock"} or Path(name).match("sandbox*.log") for name in names - expected)
    assert all(not (found.directory / name).read_bytes().startswith(b"\x80") for name in names)


def test_bug_reports_show_what_their_code_printed(found: Finished) -> None:
    """A campaign runs the code of each report in a process of its own; the report shows the end of it and knows the machine."""
    for finding in found.info["findings"]:
        report = (found.directory / "repro" / f"{finding['fingerprint']}.md").read_text()
        assert "(exit status 1):" in report
        assert '  File "repro.py", line' in report
        assert "AssertionError" in report
        assert "confirmed: failed in" in report
        assert f"- numpy: `{found.info['versions']['numpy']}`" in report
        assert f"- processor: `{found.info['machine']['processor']}`" in report
        assert f"bug report: {found.directory / 'repro' / finding['fingerprint']}.md" in found.stdout


def test_run_json_has_the_promised_keys(found: Finished) -> None:
    """Format version, versions, machine, arguments, seed and totals are in ``run.json`` under their names."""
    info = found.info
    assert info["format"] == 1
    assert info["seed"] == 5
    assert info["strategy"] == "smoke"
    assert info["arguments"] == {
        "backends": ["kernels.py::right", "kernels.py::wrong", "kernels.py::doubled"],
        "strategy": "smoke", "time": None, "max_cases": 60, "seed": 5, "workers": 1,
        "case_timeout": 20.0, "memory_limit": 4.0, "ledger": None, "known": "show",
    }  # fmt: skip
    assert {"convfuzz", "python", "numpy", "numba", "hypothesis"} <= set(info["versions"])
    assert {"processor", "cores", "memory", "system"} <= set(info["machine"])
    assert info["stopped"] == "max-cases"
    assert set(info["backend_s"]) == {"reference", "kernels.py::right", "kernels.py::wrong", "kernels.py::doubled"}
    assert all(seconds > 0 for seconds in info["backend_s"].values())
    assert 0 < info["elapsed_s"] < (found.directory / "run.json").stat().st_mtime - info["started"] + 1
    for finding in info["findings"]:
        assert set(finding) == {"fingerprint", "verdict", "backend", "case", "max_abs"}


def test_totals_are_those_of_the_journal(found: Finished) -> None:
    """Cases, comparisons and verdict counts are what the journal tells, no more and no less."""
    lines = told(found.directory)
    ends = Counter((line[1], line[2]) for line in lines if line[0] == "end")
    counted = {(name.rpartition("::")[2], verdict): n for name, counts in found.info["verdicts"].items() for verdict, n in counts.items()}
    assert found.info["cases"] == sum(line[0] == "case" for line in lines) == 60
    assert counted == ends
    assert found.info["comparisons"] == sum(n for (_, verdict), n in ends.items() if verdict != "unsupported")


def test_start_is_written_before_the_end(found: Finished) -> None:
    """Every backend's start is in the journal before its end, one at a time."""
    running = None
    for kind, name, *_ in told(found.directory):
        if kind == "start":
            assert running is None
            running = name
        elif kind == "end":
            assert running == name
            running = None


def test_correct_kernel_is_accused_of_nothing(found: Finished) -> None:
    """A correct kernel beside wrong ones agrees on every case."""
    assert found.verdicts("right") == {"agree": 60}
    assert found.findings("right") == {}


def test_wrong_kernels_are_found_each_on_its_own_minimal_case(found: Finished) -> None:
    """A kernel that is always wrong shrinks to the simplest case there is; one that needs unequal strides keeps those."""
    assert found.findings("doubled") == {"conv1d_c1_o1_i1_k1_f32@x0=1_w0=1": "wrong"}
    (case,) = found.findings("wrong")
    config = Case.parse(case).config
    assert len(set(config.stride)) == 2
    assert (config.dims, config.in_channels, config.out_channels, config.kernel_size) == (2, 1, 1, (1, 1))


def test_failures_are_grouped_and_counted(found: Finished) -> None:
    """Each failing verdict is counted in exactly one finding, in the journal, the finding's file and the summary."""
    run = found.run
    kept = [event for event in read_journal(found.directory / "journal-findings.jsonl") if isinstance(event, FindingKept)]
    per_finding: Counter[str] = Counter()
    for event in kept:
        per_finding[event.fingerprint] += 1 + sum(per_finding.pop(absorbed, 0) for absorbed in event.absorbs)
    assert {f.fingerprint: f.count for f in run.findings} == per_finding
    for function in ("wrong", "doubled"):
        failing = 60 - found.verdicts(function).get("agree", 0)
        assert sum(f.count for f in run.findings if f.backend.endswith(f"::{function}")) == failing > 1
    assert len(run.findings) == 2


def test_finding_file_is_the_evidence(found: Finished) -> None:
    """A finding's file has its minimal and its first case, the discrepancy, the worst elements and the versions."""
    for line in found.info["findings"]:
        finding = json.loads((found.directory / "findings" / f"{line['fingerprint']}.json").read_text())
        assert {k: finding[k] for k in ("fingerprint", "verdict", "backend", "case")} == {k: v for k, v in line.items() if k != "max_abs"}
        assert ["case", finding["first_case"]] in [list(told_line) for told_line in told(found.directory)]
        assert finding["discrepancy"]["max_abs"] == line["max_abs"] > 0
        assert finding["elements"]
        assert finding["reduction"] == "minimal"
        assert "numpy" in finding["versions"]


def test_scripts_of_a_run_show_their_bug(found: Finished) -> None:
    """Every script that a run writes exits 1."""
    for finding in found.info["findings"]:
        script = found.directory / "repro" / f"{finding['fingerprint']}.py"
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "BUG is there" in done.stdout


def test_report_names_every_finding(found: Finished) -> None:
    """The report of a run is written and shows its findings."""
    page = (found.directory / "report.html").read_text()
    assert all(finding["fingerprint"] in page for finding in found.info["findings"])


def test_what_a_kernel_prints_stays_out_of_the_user_s_sight(found: Finished) -> None:
    """A kernel's own output goes to the worker's log, not to the terminal."""
    assert "NOISE" not in found.stdout + found.stderr
    assert "NOISE" in (found.directory / "worker-0.log").read_text()


def test_findings_are_printed_with_how_to_repeat_them(found: Finished) -> None:
    """The close of a run names each finding, the command that checks its case, its script, and the report."""
    for finding in found.info["findings"]:
        assert f"convfuzz check {finding['case']} --backends {finding['backend']}" in found.stdout
        assert f"repro/{finding['fingerprint']}.py" in found.stdout
    assert "report.html" in found.stdout


def test_same_seed_same_cases_and_verdicts(found: Finished, place: Place) -> None:
    """The same seed draws the same cases and comes to the same verdicts, whatever ran before."""
    again = place.run_warm(KERNELS, ["right", "wrong", "doubled"], "--seed", "5", "--max-cases", "60", "--strategy", "smoke")
    assert told(again.directory) == told(found.directory)
    assert again.info["findings"] == found.info["findings"]


def test_another_seed_draws_other_cases(found: Finished, clean: Finished) -> None:
    """Two workers of one seed, and two seeds, draw different cases."""
    first, second = ({line for line in told(clean.directory, worker) if line[0] == "case"} for worker in (0, 1))
    assert first - second
    assert second - first


def test_max_cases_is_exact_with_two_workers(clean: Finished) -> None:
    """25 cases in two workers are 25 cases, 13 and 12."""
    assert clean.info["cases"] == 25
    assert sorted(sum(line[0] == "case" for line in told(clean.directory, worker)) for worker in (0, 1)) == [12, 13]


def test_exit_status_0_and_no_findings(clean: Finished) -> None:
    """A clean run exits 0, says so, and has an empty list of findings."""
    assert (clean.status, clean.info["exit_status"], clean.info["findings"]) == (0, 0, [])
    assert "No findings." in clean.stdout


def test_exit_status_1_with_findings(found: Finished) -> None:
    """A run with findings exits 1."""
    assert (found.status, found.info["exit_status"]) == (1, 1)


@pytest.mark.parametrize("fixture", ["clean", "found"])
def test_canary_is_planted_and_caught(fixture: str, request: pytest.FixtureRequest) -> None:
    """Every campaign plants the wrong backend, catches it each time, and shows it in no list of backends."""
    done: Finished = request.getfixturevalue(fixture)
    canary = done.info["canary"]
    assert canary["planted"] == canary["caught"] >= 1
    assert "canary caught" in done.stdout
    assert not any("canary" in name for name in done.info["verdicts"])


def test_run_that_compares_nothing_is_not_green(place: Place) -> None:
    """A campaign whose only kernel declines every case exits 2 and says that it proves nothing."""
    kernels = """
import convfuzz

@convfuzz.backend(supports=lambda config: "never")
def declines(x, w, b, config): ...
"""
    done = place.run_warm(kernels, ["declines"], "--max-cases", "1", "--workers", "2", "--strategy", "smoke", "--seed", "1")
    assert (done.status, done.info["exit_status"], done.info["comparisons"]) == (2, 2, 0)
    assert done.info["skipped"] == {"kernels.py::declines": {"never": 1}}
    assert done.info["cases"] == 1, "one case for two workers is one case"
    assert "proves nothing: nothing was compared" in done.stdout


def test_time_limit_ends_the_run(place: Place) -> None:
    """A run with a time limit ends by it and says so."""
    done = place.run_warm(KERNELS, ["right"], "--time", "1s", "--strategy", "smoke", "--seed", "1")
    assert (done.status, done.info["stopped"]) == (0, "time")
    assert 0.9 < done.info["elapsed_s"] < 10
