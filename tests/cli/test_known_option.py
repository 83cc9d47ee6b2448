"""``convfuzz run --known``: what is known upstream is labelled, comes last, and need not make the run fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from campaign.kernel_sources import CORRECT

from cli.conftest import Call
from convfuzz.campaign import supervisor
from convfuzz.judging.models import MODELS
from convfuzz.record import run_directory
from convfuzz.record.known_upstream import Bug, KnownUpstream, Sign
from convfuzz.record.run_directory import Run
from convfuzz.reports import html, junit, markdown
from convfuzz.verdicts import Verdict

LINK = "https://github.com/pytorch/pytorch/issues/1"
PLANES = Bug(
    name="planes-are-off",
    framework="The test's",
    package="nothing",
    seen="1.0",
    title="Planes are off by one.",
    threads=(LINK,),
    found_by="its reporter",
    commands=("conv2d_c1_o1_i1_k1_f32 --backends torch",),
    sign=(
        Sign(
            backends=("flat.py::wrong_in_2d",),
            verdicts=(Verdict.WRONG, Verdict.NON_FINITE, Verdict.IMPRECISE),
            models=("", *MODELS),
            features=("dims=2",),
            case="conv2d_c1_o1_i1_k1_f32@integers.0",
        ),
    ),
)
ARGUMENTS = ("--strategy", "smoke", "--max-cases", "30", "--seed", "3")


KERNEL = f"""\
{CORRECT}


def wrong_in_2d(x, w, b, config):
    return correct(x, w, b, config) + (config.dims == 2)
"""


@pytest.fixture
def known(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bug is known upstream: of the kernel in flat.py, which is wrong in two dimensions."""
    Path("flat.py").write_text(KERNEL)
    for module in (supervisor, run_directory):
        monkeypatch.setattr(module, "known_upstream", lambda: KnownUpstream((PLANES,)))


def ran(call: Call, kernels: str, *arguments: str) -> tuple[int, str, dict[str, Any]]:
    """Run a campaign; return its exit status, what it printed, and its run.json."""
    called = call("run", "--backends", kernels, *ARGUMENTS, "--out", "out", *arguments)
    return called.status, called.stdout, json.loads(Path("out", "run.json").read_text())


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(("mode", "status"), [("show", 1), ("tolerate", 0)])
def test_what_is_known_is_labelled(call: Call, mode: str, status: int) -> None:
    """Terminal, run.json and every report name it; only with ``tolerate`` the run does not fail for it."""
    exits, printed, info = ran(call, "flat.py::wrong_in_2d", "--known", mode)
    assert exits == info["exit_status"] == status, printed
    assert f"known: pytorch #1: Planes are off by one. · {LINK}" in printed
    assert "Nothing new: " in printed
    assert info["arguments"]["known"] == mode
    assert {(line["name"], line["title"], line["link"]) for line in info["upstream"]} == {(PLANES.name, PLANES.title, LINK)}
    fingerprints = sorted(line["fingerprint"] for line in info["findings"])
    assert sorted(line["fingerprint"] for line in info["upstream"]) == fingerprints
    (cause,) = info["causes"]
    assert (sorted(cause["members"]), cause["known"]) == (fingerprints, LINK)
    assert cause["lead"] == cause["cause"] == cause["members"][0]
    assert "wrong_in_2d: 1 cause, known, in 30 compared cases" in printed
    runs = [Run.load(Path("out"))]
    assert "Nothing new in 1 backend: 1 known upstream" in html(runs).decode()
    assert f'<a href="{LINK}" rel="noreferrer noopener">pytorch #1</a>' in html(runs).decode()
    assert "Planes are off by one. · https" in markdown(runs).decode()
    assert junit(runs).decode().count("<skipped" if status == 0 else "<failure") == 1
    assert "known: pytorch #1: Planes are off by one." in junit(runs).decode()


@pytest.mark.usefixtures("known")
def test_what_is_new_fails_the_run_and_comes_first(call: Call) -> None:
    """Beside a kernel with a bug of its own the exit status is 1, and what is known stands below."""
    exits, printed, info = ran(call, "flat.py::wrong_in_2d,kernels.py::wrong", "--known", "tolerate")
    assert exits == 1
    assert "1 new cause, and 1 known below:" in printed
    known_ones = {line["fingerprint"] for line in info["upstream"]}
    order = [line["fingerprint"] for line in info["findings"]]
    closing = printed[printed.index("canary caught") :]
    places = {name: closing.index(name) for name in order if name in closing}
    assert max(at for name, at in places.items() if name not in known_ones) < min(at for name, at in places.items() if name in known_ones)


@pytest.mark.usefixtures("known")
def test_it_can_be_ignored(call: Call) -> None:
    """Then nothing is looked up."""
    exits, printed, info = ran(call, "flat.py::wrong_in_2d", "--known", "ignore")
    assert exits == 1
    assert "known: " not in printed
    assert info["upstream"] == []


def test_what_a_newer_version_no_longer_shows_is_gone(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug that was seen with an older version is tried at the end; terminal, run.json and the page say that it is gone."""
    (sign,) = PLANES.sign
    old = msgspec.structs.replace(PLANES, package="numba", seen="0.1", sign=(msgspec.structs.replace(sign, backends=("reference",)),))
    monkeypatch.setattr(supervisor, "known_upstream", lambda: KnownUpstream((old,)))
    exits, printed, info = ran(call, "reference")
    assert exits == 0
    (gone,) = info["gone"]
    assert (gone["name"], gone["package"], gone["seen"]) == (PLANES.name, "numba", "0.1")
    said = f"planes-are-off no longer shows with numba {gone['installed']} (seen with 0.1): Planes are off by one."
    assert f"gone upstream: {said}" in printed
    assert f"Gone upstream: {said}" in html([Run.load(Path("out"))]).decode()
