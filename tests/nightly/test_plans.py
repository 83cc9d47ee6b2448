"""What a night consists of, what a CI server is told, and how much of earlier nights is kept."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from .conftest import NIGHT, PLAN, ROOT, Repository


def seeds(repository: Repository, **variables: str) -> dict[str, int]:
    """Return the seed of each shard."""
    step = repository.step("plan", **variables)
    assert step.status == 0, step.output
    return {name: int(seed) for name, seed in re.findall(r"^(\S+): seed (\d+),", step.output, re.MULTILINE)}


def made_up(repository: Repository, night: int, journal_bytes: int = 0, **info: Any) -> None:
    """Write what a shard of a night has left, or the history has of it."""
    folder = info.pop("folder", "nightly-state/history")
    facts = {"seed": 1, "backends": ["kernels.py::right"], "comparisons": 9, "exit_status": 0, "stopped": "time", "cases": 9}
    facts |= {"canary": {"planted": 1, "caught": 1}, "started": float(night)} | info
    run = f"{folder}/{night}-mine-1"
    repository.write(f"{run}/run.json", json.dumps(facts))
    repository.write(f"{run}/journal-0.jsonl", "x" * journal_bytes)
    repository.write(f"{run}/journal-findings.jsonl", "")
    repository.write(f"{run}/findings/.keep", "")


def test_seeds_follow_from_the_night_and_the_shard(repository: Repository) -> None:
    """The same night has the same seeds again; each shard and each night has its own."""
    repository.plan("right", shards=3)
    first = seeds(repository)
    assert list(first) == ["mine-1", "mine-2", "mine-3"]
    assert seeds(repository) == first
    assert len({*first.values(), *seeds(repository, NIGHTLY_SEED="20261124").values()}) == 6


def test_the_night_is_that_of_the_server_unless_it_is_said(repository: Repository) -> None:
    """An empty NIGHTLY_SEED, as an empty field of a form gives it, is none; GitHub's run and GitLab's pipeline have a number."""
    github = seeds(repository, NIGHTLY_SEED="", GITHUB_RUN_ID="123", GITHUB_RUN_ATTEMPT="2")
    assert github == seeds(repository, NIGHTLY_SEED="", CI_PIPELINE_ID="123") == seeds(repository, NIGHTLY_SEED="123", GITHUB_RUN_ID="5")
    nowhere = repository.step("plan", NIGHTLY_SEED="")
    assert nowhere.status == 2
    assert "NIGHTLY_SEED has to be a number" in nowhere.output
    assert (
        repository.step("plan", NIGHTLY_SEED="1; rm").output == "nightly: NIGHTLY_SEED='1; rm' is not a whole number of at most 18 digits\n"
    )


def test_github_gets_the_shards_as_a_matrix(repository: Repository) -> None:
    """The step's output is one line of JSON."""
    repository.plan("right", shards=2)
    seeds(repository, GITHUB_OUTPUT=str(repository.path / "output"))
    assert repository.read("output") == 'shards=["mine-1", "mine-2"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shards = 1", "there is no [sets.NAME] table"),
        (PLAN + "[sets.'a b']\n", "the set 'a b' has to be named by small letters"),
        (PLAN.replace("shards = 1", "shards = 0"), "each set needs at least one shard"),
        (PLAN.replace("shards = 1", "shards = '1'"), "shards = '1' is not int"),
        (PLAN.replace("shards = 1", "shard = 1"), "unknown key 'shard'; known are sets, install, run, shards"),
        (
            PLAN.replace('["kernels.py::right"]', '"kernels.py::right"'),
            "sets.mine: backends = 'kernels.py::right' is not a list of strings",
        ),
        (PLAN.replace('["kernels.py::right"]', "[]"), "each set needs at least one shard and one backend"),
        (PLAN.replace("backends", "# "), "sets.mine: backends is missing"),
        (PLAN.replace('"--max-cases", "12"', '"--seed=3"'), "--seed=3 cannot be in run"),
        (PLAN + "[keep]\nnights = true\n", "keep: nights = True is not int"),
        ("keep = 3\n" + PLAN, "keep is 3 and not a table"),
        ("=", "nightly.toml cannot be read"),
    ],
)
def test_a_wrong_plan_is_refused(repository: Repository, text: str, message: str) -> None:
    """Exit status 2, with the file, the value and the rule."""
    repository.write("nightly/nightly.toml", text)
    step = repository.step("plan")
    assert step.status == 2
    assert step.output.startswith("nightly: ")
    assert message in step.output


def test_an_unknown_shard_is_refused(repository: Repository) -> None:
    """The known ones are named."""
    step = repository.step("shard", "mine-2")
    assert (step.status, step.output) == (
        2,
        f"nightly: there is no shard 'mine-2' in {repository.path}/nightly/nightly.toml; there are mine-1\n",
    )


def test_regressions_that_are_not_there_are_refused(repository: Repository) -> None:
    """A folder that was renamed is not a corpus without a failure."""
    repository.write("nightly/nightly.toml", PLAN.replace('"tests"', '"test"'))
    step = repository.step("replay")
    assert step.status == 2
    assert "regressions = 'test' is not a folder" in step.output
    assert not (repository.path / "night/replay.json").exists()


def test_a_shard_does_not_run_over_another_nights_files(repository: Repository) -> None:
    """A checkout that was not cleaned is no green night."""
    made_up(repository, int(NIGHT), folder="night/runs")
    step = repository.step("shard", "mine-1")
    assert step.status == 2
    assert "is there already" in step.output


def test_our_own_plan_is_sound(repository: Repository) -> None:
    """The plan in this repository is read, and its ledger and its constraints are there."""
    repository.write("nightly/nightly.toml", (ROOT / "nightly/nightly.toml").read_text())
    assert len(seeds(repository)) == 10
    assert (ROOT / "nightly/ledger.toml").is_file()
    assert (ROOT / "constraints.txt").is_file()


def test_the_documented_plan_is_sound(repository: Repository) -> None:
    """The example in docs/nightly.md is a whole plan, and its table has every key."""
    page = (ROOT / "docs/nightly.md").read_text()
    example, ledger = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    repository.write("nightly/nightly.toml", example)
    assert list(seeds(repository)) == ["mine-1", "mine-2"]
    assert ledger == "format = 1\n"
    table = "".join(line for line in page.splitlines() if line.startswith("| `"))
    keys = ("sets.NAME", "backends", "install", "run", "shards", "ledger", "regressions", "keep", "nights", "journal_mib", "findings")
    assert [key for key in keys if key not in table] == []


def test_the_history_does_not_grow_for_ever(repository: Repository) -> None:
    """Beyond so many nights the oldest go; before that the journals of the oldest, whose totals stay."""
    repository.write("nightly/nightly.toml", PLAN + "[keep]\nnights = 4\njournal_mib = 3\n")
    for night in (1, 2, 3, 4):
        made_up(repository, night, 2**20)
    repository.write("nightly-state/history/9-damaged/run.json", "{")
    made_up(repository, int(NIGHT), 2**20, folder="night/runs")
    assert repository.step("keep").status == 0
    assert repository.files("nightly-state/history") == ["2-mine-1", f"{NIGHT}-mine-1", "3-mine-1", "4-mine-1"]
    with_journals = [
        run for run in repository.files("nightly-state/history") if "journal-0.jsonl" in repository.files(f"nightly-state/history/{run}")
    ]
    assert with_journals == [f"{NIGHT}-mine-1", "3-mine-1", "4-mine-1"]
    assert repository.files("nightly-state/history/2-mine-1") == ["findings", "journal-findings.jsonl", "run.json"]


def test_the_corpus_does_not_grow_for_ever(repository: Repository) -> None:
    """Of new findings those that came back are taken on, the newest ones within the limit, and what is dropped is said."""
    repository.write("nightly/nightly.toml", PLAN + "[keep]\nfindings = 2\n")
    for number in range(4):
        counts = {"alone": {"failed": min(number, 1), "tried": 2}, "after": {"failed": 0, "tried": 0}}
        repository.write(f"night/findings/0000000{number}.convfuzz.json", json.dumps({"confirmation": counts}))
    step = repository.step("keep")
    assert step.status == 0
    kept = repository.files("nightly-state/findings")
    assert len(kept) == 2
    assert "00000000.convfuzz.json" not in kept
    assert re.fullmatch(r"0000000\d\.convfuzz\.json is dropped: 2 newer findings are kept\n", step.output)


def test_github_is_told_why_in_its_own_words(repository: Repository) -> None:
    """The summary goes to the job's page and the first reason into an annotation, whatever is in it."""
    made_up(repository, int(NIGHT), folder="night/runs", backends=["a%0A\n::set-output x```y"])
    repository.write("night/replay.json", '{"regressions": {}, "findings": {}}')
    summary = repository.path / "summary.md"
    repository.step("report", GITHUB_STEP_SUMMARY=str(summary))
    assert summary.read_text() == repository.read("night/summary.md")
    assert "\n````text\n" in summary.read_text()
    gate = repository.step("gate", GITHUB_ACTIONS="true")
    assert gate.status == 1
    (command,) = [line for line in gate.output.splitlines() if line.startswith("::")]
    assert command.startswith(
        "::error title=The night is red::2 reasons, the first: shard mine-1 ran seed 1 on a%250A ::set-output x```y: "
    )


def test_pip_gets_what_the_plan_says(repository: Repository) -> None:
    """A shard installs its set's, the replay that of all sets, and the report no framework; a failure is the step's."""
    text = PLAN.replace('install = ["convfuzz"]\n\n', 'install = ["--no-index", "base-of-all"]\n\n')
    repository.write("nightly/nightly.toml", text.replace('install = ["convfuzz"]\nb', 'install = ["--no-index", "of-the-set"]\nb'))
    for what, wanted in (("mine-1", "of-the-set"), ("replay", "of-the-set"), ("report", "base-of-all")):
        step = repository.step("install", what)
        assert step.status == 1
        assert f"-m pip install --no-index {wanted}\n" in step.output
