#!/usr/bin/env python3
"""The steps of a night of fuzzing on a CI server: docs/nightly.md.

It needs nothing but the standard library and the command ``convfuzz``, whose files it reads as any other program would.
Only ``gate`` fails because of findings; the steps before it fail if they could not do their own work.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import gate
import memory
from plan import NIGHT, Plan, PlanError, Shard, night_number

CONFIG = Path(__file__).with_name("nightly.toml")
REPLAYS, REPLAYS_IN_RUN = NIGHT / "replays", "replays.json"
CONVFUZZ = (sys.executable, "-m", "convfuzz")
MOST_SUMMARY_BYTES = 1_000_000
"""GitHub takes 1 MiB and drops a longer summary as a whole."""
_REPLAY_SECONDS = 900
_REPLAYED = {0: "fixed", 1: "still failing"}


def plan(config: Plan) -> int:
    """Print the shards; on GitHub they become the step's output `shards`, a list for a matrix."""
    night = night_number()
    print(f"night {night}")
    for shard in config.of_night(night):
        print(f"{shard.name}: seed {shard.seed}, {', '.join(shard.of.backends)}")
    _append_to("GITHUB_OUTPUT", f"shards={json.dumps([shard.name for shard in config.of_night(night)])}\n")
    return 0


def install(config: Plan, what: str) -> int:
    """Install what a shard needs, what all of them need (`replay`), or what reports need (`report`)."""
    chosen = {"report": [config.install], "replay": [one.install for one in config.sets.values()]}
    wanted = chosen[what] if what in chosen else [_shard(config, what).of.install]
    for arguments in wanted:
        status = _run([sys.executable, "-m", "pip", "install", *arguments])
        if status:
            return status
    return 0


def replay(config: Plan) -> int:
    """Run the regression corpus again: the repository's own finding files, then what earlier nights have found."""
    if config.regressions and not Path(config.regressions).is_dir():
        raise PlanError(f"{CONFIG}: regressions = {config.regressions!r} is not a folder of this repository")
    ledger = ["--ledger", config.ledger] if config.ledger else []
    corpora = {"regressions": [Path(config.regressions)] if config.regressions else [], "findings": [memory.FINDINGS]}
    outcomes: gate.Replayed = {"regressions": {}, "findings": {}}
    REPLAYS.mkdir(parents=True, exist_ok=True)
    for name, folders in corpora.items():
        for file in sorted(file for folder in folders for file in folder.rglob("*.convfuzz.json")):
            record = ["--record", str(REPLAYS / f"{len(outcomes[name])}-{name}.json")]
            status = _run([*CONVFUZZ, "replay", *ledger, *record, str(file)], seconds=_REPLAY_SECONDS)
            outcomes[name][str(file)] = _REPLAYED.get(status, "error")
    gate.REPLAY.write_text(json.dumps(outcomes, indent=2), encoding="utf-8")
    return 0


def shard(config: Plan, name: str) -> int:
    """Run one shard. Findings are left to the gate; a run that does not end by itself fails this step."""
    one = _shard(config, name)
    if one.directory.exists():
        raise PlanError(f"{one.directory} is there already: remove {NIGHT} to run the night again")
    one.directory.parent.mkdir(parents=True, exist_ok=True)
    ledger = ["--ledger", config.ledger] if config.ledger else []
    run = ["--backends", ",".join(one.of.backends), *config.run, *one.of.run, "--seed", str(one.seed), *ledger, "--out", str(one.directory)]
    status = _run([*CONVFUZZ, "run", *run])
    info = gate.read_run(one)
    return 0 if info and info["exit_status"] in (0, 1, 2) else status or 1


def report(config: Plan) -> int:
    """Merge the shards that came back: HTML, JUnit XML, Markdown, and the files of each new finding in a folder."""
    night = night_number()
    shards = config.of_night(night)
    site, markdown = NIGHT / "site", NIGHT / "runs.md"
    site.mkdir(parents=True, exist_ok=True)
    runs = _render([one.directory for one in shards if gate.read_run(one)], "junit", gate.JUNIT)
    if runs:
        _record_replays(runs[0] / REPLAYS_IN_RUN)
    trends = ["--history", str(memory.HISTORY)] if memory.runs() else []
    is_complete = bool(runs and _render(runs, "html", site / "index.html", trends) and _render(runs, "markdown", markdown, trends))
    _collect_new(runs)
    found = markdown.read_text(encoding="utf-8") if markdown.exists() else "No run came back.\n"
    summary = f"{gate.summary(shards, night)}\n{found}"
    if len(summary.encode()) > MOST_SUMMARY_BYTES:
        summary = f"{summary.encode()[:MOST_SUMMARY_BYTES].decode(errors='ignore')}\n\n…cut off here; the HTML report has all of it.\n"
    (NIGHT / "summary.md").write_text(summary, encoding="utf-8")
    _append_to("GITHUB_STEP_SUMMARY", summary)
    return 0 if is_complete else 1


def keep(config: Plan) -> int:
    """Keep what the next nights need, within limits: findings to run again, and runs for the trends."""
    memory.keep_findings(config.keep)
    memory.keep_runs(config.of_night(night_number()), config.keep)
    return 0


def judge(config: Plan) -> int:
    """Fail for every reason not to trust the code under test, and for every reason not to trust this night."""
    reasons = gate.reasons(config.of_night(night_number()))
    for reason in reasons:
        print(f"- {reason}")
    if reasons and os.environ.get("GITHUB_ACTIONS") == "true":
        text = f"{len(reasons)} reasons, the first: {reasons[0]}" if len(reasons) > 1 else reasons[0]
        print(f"::error title=The night is red::{text.replace('%', '%25')}")
    print("red" if reasons else f"green: {', '.join(one.name for one in config.of_night(night_number()))}")
    return 1 if reasons else 0


# -- parts of the steps ---------------------------------------------------------------------------------------------------


def _shard(config: Plan, name: str) -> Shard:
    shards = {one.name: one for one in config.of_night(night_number())}
    if name not in shards:
        raise PlanError(f"there is no shard {name!r} in {CONFIG}; there are {', '.join(shards)}")
    return shards[name]


def _run(command: Sequence[str], *, seconds: float | None = None) -> int:
    """Run a command to its end. Ctrl-C or a cancelling server reaches it too, and it gets time to save its results."""
    print(f"$ {shlex.join(command)}", flush=True)
    process, interrupt = subprocess.Popen(command), None
    while True:
        try:
            status = process.wait(seconds)
        except KeyboardInterrupt as error:
            interrupt = error
        except subprocess.TimeoutExpired:
            print(f"stopped after {seconds:g} s")
            process.kill()
        else:
            break
    if interrupt:
        raise interrupt
    return status


def _append_to(variable: str, text: str) -> None:
    """Append to the file that GitHub names; do nothing on other servers."""
    if os.environ.get(variable):
        with Path(os.environ[variable]).open("a", encoding="utf-8") as file:
            file.write(text)


def _render(runs: list[Path], form: str, out: Path, trends: Sequence[str] = ()) -> list[Path]:
    """Render a report of runs, and return of which: one that cannot be read, damaged or of another version, costs no other."""
    report = [*CONVFUZZ, "report", "--format", form, "--out", str(out), *trends]
    if not runs or not _run([*report, *map(str, runs)]):
        return runs
    readable = [run for run in runs if not _run([*report, str(run)])]
    if readable and not _run([*report, *map(str, readable)]):
        return readable
    out.unlink(missing_ok=True)
    return []


def _record_replays(out: Path) -> None:
    """Copy what this night's replays recorded into one of its runs, where the trends look for it."""
    records = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(REPLAYS.glob("*.json"))]
    if records:
        out.write_text(json.dumps(records[0] | {"replays": [one for record in records for one in record["replays"]]}), encoding="utf-8")


def _collect_new(runs: Sequence[Path]) -> None:
    """Put the files of each new finding together: the finding, ready to be a regression test, its script and its bug report."""
    folder = NIGHT / "findings"
    folder.mkdir(exist_ok=True)
    for fingerprint in gate.new_findings():
        run = next((run for run in runs if (run / "findings" / f"{fingerprint}.json").is_file()), None)
        if run is not None:
            shutil.copy2(run / "findings" / f"{fingerprint}.json", folder / f"{fingerprint}.convfuzz.json")
            for file in (run / "repro").glob(f"{fingerprint}.*"):
                shutil.copy2(file, folder)


def main() -> int:
    """Do one step."""
    steps: dict[str, Callable[..., int]] = {
        "plan": plan, "install": install, "replay": replay, "shard": shard, "report": report, "keep": keep, "gate": judge,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    for name, step in steps.items():
        command = commands.add_parser(name, help=step.__doc__, description=step.__doc__)
        if name in ("install", "shard"):
            command.add_argument("what", metavar="SHARD" if name == "shard" else "SHARD|replay|report")
    given = parser.parse_args()
    try:
        config = Plan.read(CONFIG)
        return steps[given.step](config, given.what) if "what" in given else steps[given.step](config)
    except PlanError as error:
        print(f"nightly: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
