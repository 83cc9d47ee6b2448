"""Rounds as tasks of an executor: the same cases and findings as in processes of this machine, and nothing silently lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from convfuzz.campaign.assignment import Assignment
from convfuzz.campaign.plan import Plan
from convfuzz.campaign.remote_slot import RemoteSlot, RoundDone, RoundTask, run_round
from convfuzz.campaign.rounds import BATCHES_PER_ROUND
from convfuzz.campaign.supervisor import Campaign
from convfuzz.campaign.worker_state import Position
from convfuzz.errors import ConvfuzzError
from convfuzz.record.events import CaseStarted
from convfuzz.record.journal import read_journal
from convfuzz.record.run_directory import Run
from convfuzz.record.run_lock import new_run_directory, resumed_run_directory
from convfuzz.system.json_records import decode, encode

from .kernel_sources import CORRECT
from .launch import Place

KERNELS = (
    CORRECT
    + """

def wrong(x, w, b, config):
    return correct(x, w, b, config) + (config.dims == 1)


def dies(x, w, b, config):
    import os
    if config.dims == 3:
        os._exit(3)
    return correct(x, w, b, config)
"""
)


class Forgetful(ThreadPoolExecutor):
    """Loses the first tasks that it is given."""

    def __init__(self, losses: int) -> None:
        super().__init__(1)
        self.losses = losses

    def submit(self, function: object, *arguments: object) -> Future[bytes]:  # type: ignore[override]
        """Return a task that is gone, or run it."""
        if not self.losses:
            return super().submit(function, *arguments)  # type: ignore[arg-type]
        self.losses -= 1
        gone: Future[bytes] = Future()
        gone.set_exception(RuntimeError("worker 7 was killed"))
        return gone


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    """Kernels of a file: a correct one, a wrong one, and one that ends its process."""
    (tmp_path / "kernels.py").write_text(KERNELS)
    return [f"{tmp_path / 'kernels.py'}::{function}" for function in ("correct", "wrong", "dies")]


def campaign(names: Sequence[str], folder: Path, executor: Executor | None, *, workers: int = 1, cases: int = 60) -> Run:
    """Run a campaign and read what it leaves."""
    plan = Plan(backends=names, strategy="smoke", seed=4, max_cases=cases, workers=workers)
    with new_run_directory(folder) as directory:
        Campaign(plan, directory, executor=executor).run()
    return Run.load(folder)


def cases(run: Run) -> list[list[str]]:
    """Return the cases of each journal, in their order."""
    journals = sorted(run.directory.glob("journal-[0-9]*.jsonl"))
    return [[event.case for event in read_journal(journal) if isinstance(event, CaseStarted)] for journal in journals]


def test_executor_changes_nothing(names: list[str], tmp_path: Path) -> None:
    """Two threads that hand rounds out do the very cases of two workers, with the same verdicts and findings."""
    with ThreadPoolExecutor(2) as executor:
        remote = campaign(names, tmp_path / "remote", executor, workers=2)
    local = campaign(names, tmp_path / "local", None, workers=2)
    assert cases(remote) == cases(local)
    assert remote.info.verdicts == local.info.verdicts
    assert {f.case for f in remote.findings} == {f.case for f in local.findings}
    assert {str(f.verdict) for f in remote.findings} == {"wrong", "crash"}


def test_rounds_follow_one_another(names: list[str], tmp_path: Path) -> None:
    """A share of more than one round is done in several tasks, each from where the last one ended."""
    most = 3 * BATCHES_PER_ROUND
    with ThreadPoolExecutor(1) as executor:
        remote = campaign(names[:1], tmp_path / "remote", executor, cases=most)
    local = campaign(names[:1], tmp_path / "local", None, cases=most)
    assert remote.summary.rounds == local.summary.rounds >= 2
    assert cases(remote) == cases(local)


def test_lost_round_is_said(names: list[str], tmp_path: Path) -> None:
    """A round that does not come back is counted with its reason, and the next one is done in its place."""
    with Forgetful(1) as executor:
        run = campaign(names[:1], tmp_path / "run", executor)
    assert run.summary.lost == {"RuntimeError: worker 7 was killed": 1}
    assert run.info.cases == 60


def test_closed_place_gives_its_round_up(names: list[str], tmp_path: Path) -> None:
    """After Ctrl-C nothing more is handed out, and the round in flight is not lost: whoever resumes does it again."""

    class Waits(ThreadPoolExecutor):
        handed_out = 0

        def submit(self, function: object, *arguments: object) -> Future[bytes]:  # type: ignore[override]
            del function, arguments
            self.handed_out += 1
            return Future()

    with Waits(1) as executor:
        slot = RemoteSlot(executor, Plan(backends=names, strategy="smoke", seed=4), tmp_path, 0, 60)
        slot.open(None)
        slot.close()
        assert list(slot.poll()) == []
        assert executor.handed_out == 1
    assert not (tmp_path / "journal-0.jsonl").exists()


def test_cluster_that_loses_everything_ends_the_run(names: list[str], tmp_path: Path) -> None:
    """Three rounds in a row that do not come back are no accident."""
    with Forgetful(99) as executor, pytest.raises(ConvfuzzError, match=r"3 rounds in a row did not come back: .*worker 7 was killed"):
        campaign(names[:1], tmp_path / "run", executor)


def test_killed_process_loses_its_round_only(names: list[str], tmp_path: Path) -> None:
    """A process pool that breaks cannot be used again: the run ends and says why, and it can be resumed."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        executor.submit(os.getpid).result()
        (process,) = executor._processes.values()
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(ConvfuzzError, match="BrokenProcessPool"):
            campaign(names[:1], tmp_path / "run", executor)
    with ThreadPoolExecutor(1) as executor, resumed_run_directory(tmp_path / "run"):
        plan = Plan(backends=names[:1], strategy="smoke", seed=4, max_cases=60)
        Campaign(plan, tmp_path / "run", executor=executor).run()
    assert Run.load(tmp_path / "run").info.cases == 60


def test_other_versions_are_refused(names: list[str]) -> None:
    """A cluster on which something has another version does nothing and says what it is."""
    plan = Plan(backends=names, strategy="smoke", seed=1)
    assignment = Assignment(plan=plan, directory="", worker=0, position=Position(round=0), cases=1)
    task = RoundTask(assignment=assignment, versions={"numpy": "1.0"})
    done = decode(run_round(encode(task)), RoundDone)
    assert "different versions" in done.refused
    assert "numpy was 1.0" in done.refused


def test_dask_on_this_machine(place: Place) -> None:
    """``--dask local`` does the rounds in Dask's processes, whose own workers may die."""
    pytest.importorskip("distributed", reason="the extra `dask` brings it")
    options = ("--workers", "2", "--max-cases", "40", "--strategy", "smoke", "--seed", "4")
    done = place.run(KERNELS.removeprefix(CORRECT), ["correct", "dies"], "--dask", "local", *options)
    assert done.status == 1, done.stderr
    assert done.info["cases"] == 40
    assert set(done.findings("dies").values()) == {"crash"}


def test_dask_worker_that_is_killed_in_a_round(place: Place) -> None:
    """Its process is gone with the round in flight; Dask has another one do it, and every case is there once."""
    pytest.importorskip("distributed", reason="the extra `dask` brings it")
    kills = """
import os, psutil, signal
from pathlib import Path

def kills(x, w, b, config):
    marker = Path(__file__).with_name("killed")
    if config.batch == 3 and not marker.exists():
        marker.touch()
        forkserver, dask_worker = psutil.Process().parents()[:2]
        os.kill(dask_worker.pid, signal.SIGKILL)
    return correct(x, w, b, config)
"""
    done = place.run(kills, ["kills"], "--dask", "local", "--max-cases", "60", "--strategy", "smoke", "--seed", "4")
    assert (place.folder / "killed").exists()
    assert done.status == 0, done.stdout + done.stderr
    assert done.info["cases"] == 60
    alone = place.run_warm(CORRECT, ["correct"], "--max-cases", "60", "--strategy", "smoke", "--seed", "4")
    assert cases(done.run) == cases(alone.run)


IMPATIENT = """
from convfuzz.campaign import dask_executor
dask_executor.ANSWER_SECONDS = 1.0
from convfuzz.__main__ import main
main()
"""


def test_scheduler_that_is_not_there(tmp_path: Path) -> None:
    """An address where nobody listens is said before anything runs."""
    pytest.importorskip("distributed", reason="the extra `dask` brings it")
    (tmp_path / "kernels.py").write_text(CORRECT)
    arguments = ("run", "--backends", "kernels.py::correct", "--dask", "tcp://127.0.0.1:1", "--max-cases", "4")
    command = [sys.executable, "-c", IMPATIENT, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 2
    assert "no scheduler answers there" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["kernels.py"]
