"""The history over nights: what each night says of a finding, from run.json alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from convfuzz.errors import UnreadableFile, UsageError
from convfuzz.record.cause import Cause
from convfuzz.record.confirmation import Confirmation, Tally
from convfuzz.record.events import Recheck
from convfuzz.record.finding import Finding
from convfuzz.record.ledger import Entry
from convfuzz.record.nights import History, Night, Replayed, Standing, nights_of, read_history, read_replays, write_replays
from convfuzz.record.run_directory import FindingLine, LedgerLine, RunInfo, UpstreamLine, write_run_info
from convfuzz.record.summary import Summary
from convfuzz.system.json_records import Real
from convfuzz.verdicts import Verdict

DAY = 86_400.0
ONE, TWO = "11111111", "22222222"


def line(fingerprint: str, case: str = "conv1d_c1_o1_i1_k1_f32", *, reduction: str = "") -> FindingLine:
    """Return a finding as run.json lists it."""
    return FindingLine(fingerprint, Verdict.WRONG, "torch", case, Real(1.0), reduction)


def unreduced(fingerprint: str, case: str) -> FindingLine:
    """Return a finding that there was no time to reduce."""
    return line(fingerprint, case, reduction="budget spent")


def info(day: int, *found: FindingLine, torch: str = "2.12.0", **changes: Any) -> RunInfo:
    """Return the totals of the run of one night."""
    fields: dict[str, Any] = {
        "seed": day, "strategy": "default", "backends": ["torch"], "arguments": {}, "versions": {"torch": torch, "numpy": "2.3"},
        "backend_versions": {"torch": {"torch": torch}}, "machine": {}, "started": DAY * (100 + day), "tool_version": "0.1",
        "stopped": "time", "cases": 100, "backend_s": {"torch": 2.0, "reference": 1.0}, "worst_ratios": {"torch": Real(0.5 + day)},
        "verdicts": {"torch": {"agree": 90, "wrong": 10, "unsupported": 7}}, "findings": list(found),
    }  # fmt: skip
    return RunInfo(**(fields | changes))


def nights(*runs: RunInfo, replays: dict[int, list[Replayed]] | None = None) -> History:
    """Return a history of a run a night, with what was run again in some of them."""
    return History(tuple(Night.of(f"night {n}", [one], (replays or {}).get(n, [])) for n, one in enumerate(runs)))


def replayed(fingerprint: str, outcome: Recheck, case: str = "conv1d_c1_o1_i1_k1_f32") -> Replayed:
    """Return a record of a replay."""
    return Replayed(fingerprint, "torch", case, outcome)


def standings(history: History, fingerprint: str) -> list[str]:
    """Return what each night says of a finding."""
    (track,) = [track for track in history.tracks if track.line.fingerprint == fingerprint]
    return [str(standing) for standing in track.standings]


def test_a_finding_is_new_once_and_known_from_then_on() -> None:
    """The first night is where the history begins; later ones are new when no night before had them."""
    history = nights(info(0, line(ONE)), info(1, line(ONE), line(TWO)), info(2, line(TWO)))
    assert standings(history, ONE) == ["known", "known", "not met"]
    assert standings(history, TWO) == ["not met", "new", "known"]


def test_not_met_is_not_fixed() -> None:
    """A night that has not drawn a finding's case says nothing of it, however many there are."""
    history = nights(info(0, line(ONE)), *(info(day) for day in range(1, 9)))
    assert standings(history, ONE) == ["known"] + ["not met"] * 8
    assert history.tracks[0].now is Standing.NOT_MET


def test_fixed_takes_a_replay_that_passes() -> None:
    """A finding is fixed in the night whose replay of it passes, stays so while it is not met, and is back when it is there again."""
    runs = [info(0, line(ONE)), info(1), info(2), info(3)]
    replays = {1: [replayed(ONE, Recheck.FIXED)]}
    history = nights(*runs, replays=replays)
    assert standings(history, ONE) == ["known", "fixed", "not met", "not met"]
    assert history.tracks[0].now is Standing.FIXED
    history = nights(*runs[:3], info(3, line(ONE)), replays=replays)
    assert standings(history, ONE) == ["known", "fixed", "not met", "back"]


@pytest.mark.parametrize(
    ("outcome", "standing"), [(Recheck.STILL_FAILING, "known"), (Recheck.ERROR, "not met"), (Recheck.CHANGED, "not met")]
)
def test_other_replays_do_not_fix(outcome: Recheck, standing: str) -> None:
    """A replay that fails shows that the finding is there although it was not drawn; any other shows nothing."""
    assert standings(nights(info(0, line(ONE)), info(1), replays={1: [replayed(ONE, outcome)]}), ONE) == ["known", standing]


def test_a_ledgers_recheck_that_passes_fixes() -> None:
    """The ledger's own run of an entry's case counts as a replay."""
    entry = Entry(
        action="tolerate",
        fingerprint=ONE,
        backend="torch",
        verdict=Verdict.WRONG,
        case="conv1d_c1_o1_i1_k1_f32",
        reason="r",
        link="https://example.org/1",
    )
    history = nights(info(0, line(ONE)), info(1, ledger=[LedgerLine(entry, 0, stale=True, recheck=Recheck.FIXED)]))
    assert standings(history, ONE) == ["known", "fixed"]
    history = nights(info(0, line(ONE)), info(1, ledger=[LedgerLine(entry, 0, stale=True, recheck=Recheck.CHANGED)]))
    assert standings(history, ONE) == ["known", "not met"]


def test_flaky_and_tolerated_findings() -> None:
    """What comes and goes is flaky every night; what the ledger tolerates is known from its first."""
    history = nights(info(0), info(1, line(ONE), line(TWO), flaky=[ONE], known=[TWO]), info(2, line(ONE), flaky=[ONE]))
    assert standings(history, ONE) == ["not met", "flaky", "flaky"]
    assert standings(history, TWO) == ["not met", "known", "not met"]


def test_totals_name_what_is_flaky() -> None:
    """A run's totals name the findings that come and go, whether they came back sometimes or never; a confirmed one is none."""
    tallies = {ONE: Tally(2, 8), TWO: Tally(0, 5), "33333333": Tally(5, 5)}
    case = "conv1d_c1_o1_i1_k1_f32"
    found = [
        Finding(
            fingerprint=name, verdict=Verdict.WRONG, backend="torch", case=case, first_case=case, confirmation=Confirmation(alone=tally)
        )
        for name, tally in tallies.items()
    ]
    assert info(0).with_totals(Summary(), found, elapsed_s=1.0).flaky == [ONE, TWO]


def test_steps_are_versions_that_changed_since_they_were_last_seen() -> None:
    """A step is between two nights that have the version; a night without it in between hides none, and a new backend is none."""
    without = info(1, versions={"numpy": "2.3"})
    history = nights(
        info(0),
        without,
        info(2, torch="2.13.0", tool_version="0.2"),
        info(3, torch="2.13.0", versions={"torch": "2.13.0", "jax": "0.5"}, tool_version="0.2"),
    )
    told = [[str(change) for change in changes] for changes in history.version_changes()]
    assert told == [
        [],
        [],
        ["convfuzz 0.1 → 0.2", "torch 2.12.0 → 2.13.0"],
        [],
    ]


def test_a_night_of_several_runs_is_their_sum() -> None:
    """Shards of one night add up: cases, findings, seconds inside a backend, the worst ratio of all."""
    night = Night.of("sharded", [info(0, line(ONE)), info(0, line(ONE), line(TWO), worst_ratios={"torch": Real(8.0)})])
    assert night.cases == 200
    assert set(night.findings) == {ONE, TWO}
    torch = night.backends["torch"]
    assert (torch.compared, torch.seconds, torch.worst_ratio, torch.rate, torch.version) == (200, 4.0, 8.0, 50.0, "torch 2.12.0")


def test_runs_at_one_time_are_shards_of_one_night(tmp_path: Path) -> None:
    """Runs that overlap are one night, whatever their order; one that begins when the others have ended is the next."""
    directories = [tmp_path / name for name in ("c", "a", "b")]
    times = [(200.0, 50.0), (0.0, 100.0), (90.0, 30.0)]
    infos = [info(0, started=DAY + started, elapsed_s=elapsed) for started, elapsed in times]
    expected = [("a and 1 more", 2), ("c", 1)]
    assert [(night.name, len(night.runs)) for night in nights_of(directories, infos)] == expected
    for directory, one in zip(directories, infos, strict=True):
        write(directory, one)
    assert [(night.name, len(night.runs)) for night in read_history(tmp_path)[0]] == expected


def write(folder: Path, run: RunInfo) -> Path:
    """Write a run directory that has no journals: a history needs none."""
    folder.mkdir(parents=True)
    write_run_info(folder, run)
    return folder


def test_a_folder_of_nights_is_read(tmp_path: Path) -> None:
    """Run directories, and folders of the runs of one night with a record of replays beside them; other things are passed over."""
    write(tmp_path / "1", info(0, line(ONE)))
    write(tmp_path / "2" / "a", info(1))
    write(tmp_path / "2" / "b", info(1, line(TWO)))
    (tmp_path / "notes").mkdir()
    write_replays(tmp_path / "2" / "replays.json", [replayed(ONE, Recheck.FIXED)])
    found, left_out = read_history(tmp_path)
    assert left_out == []
    history = History(tuple(found))
    assert [night.name for night in history.nights] == ["1", "2"]
    assert standings(history, ONE) == ["known", "fixed"]
    assert len(history.nights[1].runs) == 2


def test_tonight_is_not_counted_twice(tmp_path: Path) -> None:
    """A night that has one of tonight's runs is left to the caller, by whatever path it was named."""
    write(tmp_path / "1", info(0))
    tonight = write(tmp_path / "2", info(1))
    found, _ = read_history(tmp_path, [tmp_path / "1" / ".." / tonight.name])
    assert [night.name for night in found] == ["1"]


def test_a_damaged_night_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    """One unreadable file does not take the history with it."""
    write(tmp_path / "1", info(0))
    (write(tmp_path / "2", info(1)) / "run.json").write_text("{")
    found, (said,) = read_history(tmp_path)
    assert [night.name for night in found] == ["1"]
    assert "2/run.json" in said


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    """Trends over nothing are a mistake in the command."""
    with pytest.raises(UsageError, match="holds no run directory"):
        read_history(tmp_path)
    with pytest.raises(UsageError, match="is not a folder of runs"):
        read_history(tmp_path / "missing")


@pytest.mark.parametrize(
    "content",
    [
        {"format": 2, "replays": []},
        {"format": 1},
        {"format": 1, "replays": [{"fingerprint": "<b>", "backend": "", "case": "", "outcome": "fixed"}]},
    ],
)
def test_a_record_of_replays_is_validated(tmp_path: Path, content: dict[str, Any]) -> None:
    """Another format, a missing list and what is no fingerprint are refused with the file's name."""
    (tmp_path / "replays.json").write_text(json.dumps(content))
    with pytest.raises(UnreadableFile, match=r"replays\.json"):
        read_replays(tmp_path / "replays.json")


def test_an_older_runs_totals_are_read(tmp_path: Path) -> None:
    """A run.json of before these fields has no worst ratio, and is a night all the same."""
    write(tmp_path / "1", info(0))
    path = tmp_path / "1" / "run.json"
    old = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("worst_ratios", "backend_versions")}
    path.write_text(json.dumps(old))
    (night,), _ = read_history(tmp_path)
    assert night.backends["torch"].worst_ratio is None


def one_cause(*names: str) -> list[Cause]:
    """Return what a night's experiments have shown: these findings have one cause."""
    return [Cause(cause=names[0], lead=names[0], members=list(names))]


def test_findings_of_one_cause_are_one_line_of_the_history() -> None:
    """What any night has shown to be one is one in all of them: another way in which it shows is not new, and the last lead speaks."""
    history = nights(info(0, line(ONE)), info(1, line(TWO)), info(2, line(ONE), line(TWO), causes=one_cause(TWO, ONE)))
    (track,) = history.tracks
    assert (track.line.fingerprint, set(track.members)) == (TWO, {ONE, TWO})
    assert [str(standing) for standing in track.standings] == ["known"] * 3
    assert history.counts(2).total() == 1


def test_a_cause_is_fixed_where_all_that_was_run_again_passes() -> None:
    """One of its findings that still fails keeps it known."""
    runs = [info(0, line(ONE), line(TWO), causes=one_cause(ONE, TWO)), info(1)]
    passes, fails = replayed(ONE, Recheck.FIXED), replayed(TWO, Recheck.STILL_FAILING)
    assert standings(nights(*runs, replays={1: [passes]}), ONE) == ["known", "fixed"]
    assert standings(nights(*runs, replays={1: [passes, fails]}), ONE) == ["known", "known"]


def test_what_is_known_upstream_is_not_new() -> None:
    """The first night that meets it says that it is known."""
    upstream = [UpstreamLine(TWO, "planes", "Planes are off.", "docs/findings.md#planes")]
    assert standings(nights(info(0), info(1, line(TWO), upstream=upstream)), TWO) == ["not met", "known"]


STRIDED, NO_CHANNELS = "conv2d_n9_c3_o4_i17_k3_s2_f32", "conv2d_n9_c0_o4_i17_k3_f32"


def by_case(history: History) -> dict[str, list[str]]:
    """Return what each night says of each cause, by its lead's case."""
    return {track.line.case: [str(standing) for standing in track.standings] for track in history.tracks}


def test_what_was_not_reduced_is_not_joined_by_its_fingerprint() -> None:
    """A stride bug and a bug of empty channels share a fingerprint while neither is reduced: the second one is unclear, not known."""
    history = nights(info(0, unreduced(ONE, STRIDED)), info(1, unreduced(ONE, NO_CHANNELS)), info(2, line(ONE)))
    assert by_case(history) == {
        STRIDED: ["known", "not met", "not met"],
        NO_CHANNELS: ["not met", "unclear", "not met"],
        "conv1d_c1_o1_i1_k1_f32": ["not met", "not met", "new"],
    }
    assert history.counts(1)[Standing.UNCLEAR] == 1


def test_what_was_not_reduced_is_new_where_nothing_failed_so_before() -> None:
    """The first failure of a backend's verdict cannot be an old one, whether it was reduced or not."""
    assert by_case(nights(info(0), info(1, unreduced(ONE, STRIDED)))) == {STRIDED: ["not met", "new"]}


def test_what_was_not_reduced_is_known_by_its_own_case_and_by_its_cause() -> None:
    """The same case is the same failure; so is one that experiments, or what is known upstream, have joined to a reduced one."""
    again = nights(info(0, unreduced(ONE, STRIDED)), info(1, unreduced(ONE, STRIDED)))
    assert by_case(again) == {STRIDED: ["known", "known"]}
    shown = nights(info(0, line(TWO)), info(1, unreduced(ONE, STRIDED), line(TWO), causes=one_cause(TWO, ONE)))
    assert [(track.members, [str(one) for one in track.standings]) for track in shown.tracks] == [((TWO, ONE), ["known", "known"])]
    planes = [UpstreamLine(ONE, "planes", "Planes are off.", "docs/findings.md#planes")]
    known = nights(info(0, unreduced(ONE, STRIDED), upstream=planes), info(1, unreduced(ONE, NO_CHANNELS), upstream=planes))
    assert by_case(known) == {NO_CHANNELS: ["known", "known"]}


def test_shards_of_a_night_keep_what_they_did_not_reduce_apart() -> None:
    """Two runs of one night whose unreduced findings share a fingerprint have two causes."""
    night = Night.of("sharded", [info(0, unreduced(ONE, STRIDED), flaky=[ONE]), info(0, unreduced(ONE, NO_CHANNELS))])
    assert by_case(History((night,))) == {STRIDED: ["flaky"], NO_CHANNELS: ["known"]}


def test_a_replay_of_what_was_not_reduced_fixes_its_own_case_only() -> None:
    """Another failure that shares its fingerprint is not fixed by it."""
    first = info(0, unreduced(ONE, STRIDED))
    assert by_case(nights(first, info(1), replays={1: [replayed(ONE, Recheck.FIXED, STRIDED)]})) == {STRIDED: ["known", "fixed"]}
    assert by_case(nights(first, info(1), replays={1: [replayed(ONE, Recheck.FIXED, NO_CHANNELS)]})) == {STRIDED: ["known", "not met"]}
