"""Kernels that crash, hang, eat memory or leave: each gets its verdict, and nobody else does."""

from __future__ import annotations

import pytest

from .launch import Finished, Place, told

HOSTILE = """
import ctypes
import os
import sys
import time


def before(x, w, b, config):
    return correct(x, w, b, config)


def behind(x, w, b, config):
    return correct(x, w, b, config)


def aborts(x, w, b, config):
    if config.in_channels == 3:
        os.abort()
    return correct(x, w, b, config)


def segfaults(x, w, b, config):
    if config.in_channels == 3:
        ctypes.string_at(0)
    return correct(x, w, b, config)


def leaves(x, w, b, config):
    if config.in_channels == 3:
        os._exit(0)
    return correct(x, w, b, config)


def exits(x, w, b, config):
    if config.in_channels == 3:
        sys.exit(0)
    return correct(x, w, b, config)


def interrupts(x, w, b, config):
    if config.in_channels == 3:
        raise KeyboardInterrupt
    return correct(x, w, b, config)


def hangs(x, w, b, config):
    if config.in_channels == 3:
        while True:
            time.sleep(0.1)
    return correct(x, w, b, config)


held = []


def grows(x, w, b, config):
    if config.in_channels == 3:
        for _ in range(20):  # 1.25 GiB at most, for the sake of the machine
            held.append(bytearray(b"x" * 2**26))
            time.sleep(0.05)
        time.sleep(1)
    return correct(x, w, b, config)
"""
HARMLESS = "conv2d_c2_o2_i5_k3_p1_f32@integers.0"
DEADLY = "conv2d_c3_o2_i5_k3_p1_b_f32@integers.0"
CASES = (HARMLESS, DEADLY, f"{HARMLESS[:-1]}1")
SLOWLY_DEADLY = (HARMLESS, "conv1d_c3_o1_i2_k1_f32@integers.0", f"{HARMLESS[:-1]}1")
"""The second is nearly minimal: to find out that it hangs takes a second each time."""
DEADLY_KERNELS = {"aborts": "crash", "segfaults": "crash", "leaves": "crash", "exits": "error", "interrupts": "error"}


@pytest.fixture(scope="module")
def crashed(session_place: Place) -> Finished:
    """A campaign of three cases in which five kernels die of the second one."""
    return session_place.run_warm(HOSTILE, ["before", *DEADLY_KERNELS, "behind"], "--seed", "1", cases=CASES)


@pytest.fixture(scope="module")
def hung(session_place: Place) -> Finished:
    """A campaign of three cases in which a kernel never ends on the second one."""
    return session_place.run_warm(
        HOSTILE, ["before", "hangs", "behind"], "--seed", "1", "--case-timeout", "1s", "--time", "50s", cases=SLOWLY_DEADLY
    )


@pytest.fixture(scope="module")
def grown(session_place: Place) -> Finished:
    """A campaign of three cases in which a kernel takes more memory than the limit on the second one."""
    options = ("--seed", "1", "--memory-limit", "0.75", "--case-timeout", "8s", "--time", "50s")
    return session_place.run(HOSTILE, ["before", "grows", "behind"], *options, cases=SLOWLY_DEADLY)


@pytest.mark.parametrize(("kernel", "verdict"), DEADLY_KERNELS.items())
def test_death_is_the_kernel_s_verdict(crashed: Finished, kernel: str, verdict: str) -> None:
    """A kernel that aborts, reads address 0, leaves or raises what is no Exception fails on that case alone."""
    assert crashed.verdicts(kernel) == {"agree": 2, verdict: 1}
    assert set(crashed.findings(kernel).values()) == {verdict}


@pytest.mark.parametrize("fixture", ["crashed", "hung", "grown"])
@pytest.mark.parametrize("kernel", ["before", "behind"])
def test_correct_kernel_beside_a_deadly_one_is_accused_of_nothing(fixture: str, kernel: str, request: pytest.FixtureRequest) -> None:
    """The kernels before and behind the deadly one are judged on every case, and agree."""
    done: Finished = request.getfixturevalue(fixture)
    assert done.verdicts(kernel) == {"agree": 3}
    assert done.findings(kernel) == {}


@pytest.mark.parametrize(("fixture", "cases"), [("crashed", CASES), ("hung", SLOWLY_DEADLY), ("grown", SLOWLY_DEADLY)])
def test_cases_are_counted_once(fixture: str, cases: tuple[str, ...], request: pytest.FixtureRequest) -> None:
    """A case whose worker died is one case, and the run does as many as it was asked for."""
    done: Finished = request.getfixturevalue(fixture)
    assert (done.status, done.info["cases"], done.info["stopped"]) == (1, 3, "max-cases")
    assert [line[1] for line in told(done.directory) if line[0] == "case"] == list(cases)


def test_case_goes_on_behind_the_kernel_that_died(crashed: Finished) -> None:
    """After a death the same case goes on with the backends behind, each started once."""
    lines = told(crashed.directory)
    begin = lines.index(("case", DEADLY))
    end = lines.index(("case", CASES[2]))
    assert [line[1] for line in lines[begin + 1 : end] if line[0] == "start"] == ["before", *DEADLY_KERNELS, "behind"]
    assert [line[1:] for line in lines[begin + 1 : end] if line[0] == "end"] == [
        ("before", "agree"), *DEADLY_KERNELS.items(), ("behind", "agree"),
    ]  # fmt: skip


@pytest.mark.parametrize(("kernel", "signal"), [("aborts", "SIGABRT"), ("segfaults", "SIGSEGV"), ("leaves", "exit status 0")])
def test_reason_says_what_ended_the_process(crashed: Finished, kernel: str, signal: str) -> None:
    """A crash's reason names the signal or the exit status."""
    (finding,) = [f for f in crashed.run.findings if f.backend.endswith(f"::{kernel}")]
    assert signal in finding.reason


@pytest.mark.parametrize("kernel", DEADLY_KERNELS)
def test_crash_is_reduced_like_any_other_failure(crashed: Finished, kernel: str) -> None:
    """The minimal case of a crash keeps what kills, three input channels, and nothing else."""
    assert set(crashed.findings(kernel)) == {"conv1d_c3_o1_i1_k1_f32@zeros"}


def test_hang_is_a_timeout(hung: Finished) -> None:
    """A kernel that never ends is killed after the limit, and its finding is reduced."""
    assert hung.verdicts("hangs") == {"agree": 2, "timeout": 1}
    (finding,) = hung.run.findings
    assert (finding.verdict, finding.case.partition("@")[0]) == ("timeout", "conv1d_c3_o1_i1_k1_f32")
    assert "no result after 1 s" in finding.reason


def test_growth_beyond_the_limit_is_memory(grown: Finished) -> None:
    """A kernel that takes more memory than the limit is killed for it."""
    assert grown.verdicts("grows") == {"agree": 2, "memory": 1}
    assert set(grown.findings("grows").values()) == {"memory"}


def test_memory_limit_holds_while_a_finding_is_reduced(grown: Finished) -> None:
    """The limit is kept in the reduction too, so that a memory finding comes back there and is reduced."""
    (finding,) = grown.run.findings
    assert finding.reduction == "minimal"
    assert finding.case.partition("@")[0] == "conv1d_c3_o1_i1_k1_f32"


@pytest.mark.parametrize("fixture", ["crashed", "hung", "grown"])
def test_report_and_scripts_are_written_all_the_same(fixture: str, request: pytest.FixtureRequest) -> None:
    """A run with deaths in it ends like any other: report, findings, and a script for each."""
    done: Finished = request.getfixturevalue(fixture)
    assert (done.directory / "report.html").stat().st_size > 1000
    for finding in done.info["findings"]:
        assert (done.directory / "repro" / f"{finding['fingerprint']}.py").is_file()


def test_kernel_file_that_ends_the_process_is_a_usage_error(place: Place) -> None:
    """A kernel whose import kills the process is reported before anything runs, and leaves no run directory."""
    done = place.run("\nimport os\nos._exit(7)\n", ["correct"], "--max-cases", "3", "--strategy", "smoke")
    assert done.status == 2
    assert "exit status 7" in done.stderr
    assert "Traceback" not in done.stderr


def test_declaration_that_raises_does_not_end_the_campaign(place: Place) -> None:
    """A kernel whose ``supports`` raises is an ``error`` of that kernel; the campaign and its neighbour go on."""
    kernels = """
import convfuzz

@convfuzz.backend(supports=lambda config: 1 / 0)
def undecided(x, w, b, config):
    return correct(x, w, b, config)

def behind(x, w, b, config):
    return correct(x, w, b, config)
"""
    done = place.run_warm(kernels, ["undecided", "behind"], "--seed", "1", cases=CASES)
    assert (done.status, done.info["cases"]) == (1, 3)
    assert done.verdicts("behind") == {"agree": 3}
    assert done.verdicts("undecided") == {"error": 3}
