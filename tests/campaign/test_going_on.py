"""The parts of resuming and surviving: positions in journals, plans of resumed runs, and logs that stay small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from convfuzz.campaign.pair_coverage import PairCoverage
from convfuzz.campaign.plan import Plan, different_versions
from convfuzz.campaign.worker_state import Position, WorkerState
from convfuzz.case import Case
from convfuzz.checking.limits import Limits
from convfuzz.errors import UnreadableFile, UsageError
from convfuzz.processes.output_log import MOST_BYTES, OutputLog
from convfuzz.record.events import BackendEnded, BackendStarted, CaseEnded, CaseStarted, Event, JournalOpened, RoundEnded, RoundStarted
from convfuzz.record.run_directory import RunInfo
from convfuzz.system.json_records import decode, encode
from convfuzz.verdicts import Verdict

FIRST, SECOND = "conv1d_c1_o1_i3_k3_f32@integers.0", "conv1d_c2_o1_i3_k3_f32@integers.0"


def ended(backend: str) -> BackendEnded:
    """Make the end of a backend."""
    return BackendEnded(backend=backend, verdict=Verdict.AGREE, seconds=0.0)


STORY: list[Event] = [
    JournalOpened(1, "1", 0.0),
    RoundStarted(1, 7, 0.0),
    CaseStarted(FIRST, 0.0),
    BackendStarted("a"),
    ended("a"),
    ended("declines"),
    BackendStarted("b"),
    ended("b"),
    CaseEnded(),
    CaseStarted(SECOND, 0.0),
    BackendStarted("a"),
    ended("a"),
    BackendStarted("b"),
]


def state(events: list[Event]) -> WorkerState:
    """Fold the journal of the second of two workers."""
    folded = WorkerState(Position(round=1), workers=2)
    for event in events:
        folded.add(event)
    return folded


@pytest.mark.parametrize(
    ("events", "begun", "in_flight", "ended_on_it", "running"),
    [(0, 0, False, [], None), (3, 1, True, [], None), (4, 1, True, [], "a"), (6, 1, True, ["a", "declines"], None),
     (9, 1, False, ["a", "declines", "b"], None), (13, 2, True, ["a"], "b")],
)  # fmt: skip
def test_position(events: int, begun: int, ended_on_it: list[str], running: str | None, *, in_flight: bool) -> None:
    """A case is in flight from its start to its end; what has ended on it is told from what has only started."""
    worker = state(STORY[:events])
    at = worker.position
    assert (worker.begun, at.in_flight, worker.running) == (begun, in_flight, running)
    assert at.ended == ended_on_it
    assert (at.round, len(at.ratios)) == (1, begun)


def test_position_behind_a_round() -> None:
    """A round that is over leads to the worker's next one; one that was cut short, or taken over, does not."""
    cut_short = [*STORY, CaseEnded(), RoundEnded(1, 2, 0.0, cut_short=True), RoundStarted(1, 7, 0.0)]
    assert state(cut_short).position.ratios == [0.0, 0.0]
    next_one = state([*STORY, CaseEnded(), RoundEnded(1, 2, 0.0)])
    assert (next_one.position.round, next_one.position.ratios, next_one.begun) == (3, [], 2)
    both = PairCoverage()
    for line in (FIRST, SECOND):
        both.add(Case.parse(line).config)
    assert next_one.position.coverage == both.counts()
    assert len(both) > 0


def test_position_survives_the_way_to_another_machine() -> None:
    """A position that was written as JSON and read leads to the same state as the original, cases of the next round included."""
    events = [RoundEnded(1, 2, 0.0), RoundStarted(3, 7, 0.0), CaseStarted(FIRST, 0.0)]
    here = state([*STORY, CaseEnded(), events[0]])
    there = WorkerState(decode(encode(here.position), Position), workers=2)
    for event in events[1:]:
        here.add(event)
        there.add(event)
    assert here.position == there.position


def test_position_in_a_story_without_beginning() -> None:
    """The end of a backend without a case is refused."""
    with pytest.raises(UnreadableFile, match="before any case"):
        state([ended("a")])


def info(**arguments: Any) -> RunInfo:
    """Make the facts of a run that took 40 seconds of its 60."""
    asked = {
        "backends": ["a", "b"], "strategy": "smoke", "time": 60.0, "max_cases": 100, "seed": None, "workers": 2,
        "case_timeout": 5.0, "memory_limit": 0.5, "ledger": "mine.toml", "known": "tolerate",
    }  # fmt: skip
    return RunInfo(
        seed=3, strategy="smoke", backends=["a", "b"], arguments=asked | arguments, versions={}, machine={}, started=1.0,
        tool_version="0", elapsed_s=40.0,
    )  # fmt: skip


def test_plan_of_a_resumed_run_is_its_own() -> None:
    """Without new limits all is as it was, and what the plan makes of the arguments is what they were."""
    plan = Plan.resuming(info())
    assert (plan.backends, plan.strategy, plan.seed, plan.workers) == (["a", "b"], "smoke", 3, 2)
    assert (plan.seconds, plan.max_cases, plan.limits) == (60.0, 100, Limits(case_timeout=5.0, memory=2**29))
    assert plan.arguments == info().arguments


@pytest.mark.parametrize(
    ("limits", "seconds", "max_cases"),
    [({"further_seconds": 30.0}, 70.0, None), ({"max_cases": 500}, None, 500), ({"further_seconds": 1.0, "max_cases": 5}, 41.0, 5)],
)
def test_new_limits_take_the_place_of_the_old(limits: dict[str, Any], seconds: float | None, max_cases: int | None) -> None:
    """Time is further time, cases are the new total, and what is not given anew is no limit any more."""
    plan = Plan.resuming(info(), **limits)
    assert (plan.seconds, plan.max_cases) == (seconds, max_cases)
    assert (plan.arguments["time"], plan.arguments["max_cases"], plan.arguments["ledger"]) == (seconds, max_cases, "mine.toml")


def test_plan_is_what_its_arguments_say() -> None:
    """A plan that was made by hand comes back from the arguments that ``run.json`` keeps of it, whether or not a seed was given."""
    for given in (True, False):
        limits = Limits(case_timeout=1.5, memory=100 * 2**20)
        plan = Plan(backends=["a", "b"], strategy="smoke", seed=3, seed_is_given=given, max_cases=7, workers=3, limits=limits)
        assert plan.arguments["seed"] == (3 if given else None)
        kept = msgspec.structs.replace(info(), arguments=json.loads(encode(plan.arguments)))
        assert Plan.resuming(kept) == plan


@pytest.mark.parametrize(
    "arguments",
    [
        {"workers": "2"},
        {"workers": None},
        {"memory_limit": []},
        {"memory_limit": 1e300},
        {"time": "60s"},
        {"max_cases": 1.5},
        {"seed": "3"},
    ],
)
def test_arguments_from_outside_are_checked(arguments: dict[str, Any]) -> None:
    """Arguments of other types are refused by their name."""
    with pytest.raises(UnreadableFile, match=next(iter(arguments))):
        Plan.resuming(info(**arguments))


@pytest.mark.parametrize("arguments", [{"workers": 0}, {"memory_limit": -1.0}, {"case_timeout": 0.0}, {"max_cases": 0}])
def test_arguments_from_outside_are_possible(arguments: dict[str, Any]) -> None:
    """Arguments that no campaign can have are refused as they are on the command line."""
    with pytest.raises(UsageError, match=next(iter(arguments))):
        Plan.resuming(info(**arguments))


def test_versions_that_differ() -> None:
    """Each version that has changed, come or gone is named with both; the same ones are no difference."""
    assert different_versions({"a": "1", "b": "2"}, {"b": "2", "a": "1"}) == ""
    told = different_versions({"a": "1", "b": "2"}, {"b": "3", "c": "4"})
    assert told == "a was 1 and is not there, b was 2 and is 3, c was not there and is 4"


def test_log_keeps_its_end(tmp_path: Path) -> None:
    """A log beyond the limit is cut to its end and says how much is gone; a process that goes on printing appends to that."""
    log = OutputLog(tmp_path / "worker.log")
    log.limit()
    assert log.last_words() == ""
    with log.path.open("ab") as printing:
        printing.write(b"x" * (MOST_BYTES - 1) + b"\n")
        printing.flush()
        log.limit()
        assert log.path.stat().st_size == MOST_BYTES
        printing.write(b"the end\n")
        printing.flush()
        log.limit()
        printing.write(b"Fatal Python error: it died\n")
    lines = log.path.read_text().splitlines()
    assert lines[0] == f"[convfuzz dropped about {MOST_BYTES + 8 - 2**16:,} bytes of output here]"
    assert lines[-2:] == ["the end", "Fatal Python error: it died"]
    assert log.path.stat().st_size < 2**17
    assert log.last_words() == "Fatal Python error: it died"


def test_last_words_are_the_last_process_s(tmp_path: Path) -> None:
    """What an earlier process died of is not said of the next one."""
    log = OutputLog(tmp_path / "worker.log")
    log.path.write_text("Fatal Python error: Segmentation fault\n")
    log.begin()
    assert log.last_words() == ""
    with log.path.open("a") as printing:
        printing.write("y" * 100_000 + "\nquietly\n")
    assert log.last_words().endswith("quietly")
    assert "Fatal" not in log.last_words()
    assert len(log.last_words()) <= 2000
