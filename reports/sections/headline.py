"""The first lines of a report: what the runs found, and whether they could have found anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from convfuzz.record.outcome import ended_early, shortcomings
from convfuzz.reports.formatting import listed, plural, seconds
from convfuzz.reports.merged import Merged
from convfuzz.system.safe_text import one_line
from convfuzz.verdicts import Verdict

Tone = Literal["bad", "doubt", "good"]

MEANING = {
    Verdict.CRASH: "the process died inside the backend",
    Verdict.TIMEOUT: "the backend did not return in time",
    Verdict.MEMORY: "the backend grew past the memory limit",
    Verdict.CORRUPTED_INPUT: "the backend wrote into its inputs",
    Verdict.WRONG_SHAPE: "the result has another shape than the definition gives it",
    Verdict.WRONG_DTYPE: "the result has another dtype than was asked for",
    Verdict.NON_FINITE: "NaN or Inf where the reference has none, or the reverse",
    Verdict.WRONG: "an error that no order of summation and no known arithmetic explains",
    Verdict.ERROR: "an exception on a valid configuration",
    Verdict.ACCEPTED_INVALID: "a result for a configuration that is not a convolution",
    Verdict.IMPRECISE: "an error beyond the declared arithmetic, explained by a coarser one",
    Verdict.NONDETERMINISTIC: "two runs on the same inputs differ",
}
"""What each failing verdict means, in words."""

MOST_BACKENDS = 6
"""How many backends the first lines name."""
DIED = (Verdict.CRASH, Verdict.TIMEOUT, Verdict.MEMORY, Verdict.CORRUPTED_INPUT)
DOUBTFUL = (Verdict.ACCEPTED_INVALID, Verdict.IMPRECISE, Verdict.NONDETERMINISTIC)


@dataclass(frozen=True)
class Line:
    """A sentence and how alarming it is; the page gives each tone a shape as well as a colour."""

    text: str
    tone: Tone


def kind(verdict: Verdict) -> str:
    """Return the group of a verdict that shares a mark: ``died``, ``wrong`` or ``doubt``."""
    return "died" if verdict in DIED else "doubt" if verdict in DOUBTFUL else "wrong"


def verdict_line(merged: Merged) -> Line:
    """Return the report's first sentence."""
    known = [f"{count:,} known {where}" for count, where in _known(merged)]
    if merged.new:
        of = {merged.by_fingerprint[name].finding.backend for cause in merged.new for name in cause.members}
        found = f"{plural(len(merged.new), 'new cause' if known else 'cause')} of failure in {plural(len(of), 'backend')}"
        return Line(" and ".join([found + "," * bool(known), *known]), "bad")
    if not merged.summary.comparisons:
        return Line("Nothing was compared: this proves nothing", "doubt")
    compared = sum(1 for backend in merged.summary.backends.values() if backend.compared)
    seen = merged.summary.canary_caught == merged.summary.canary_planted
    short = shortcomings(merged.summary)
    little = f"; this proves little about {plural(len(short), 'backend')}" if short else ""
    found = f"Nothing new in {plural(compared, 'backend')}: {listed(known)}" if known else f"No findings in {plural(compared, 'backend')}"
    is_open = not all(line.is_sound for line in merged.by_backend)
    return Line(f"{found}{little}", "good" if seen and not short and not is_open else "doubt")


def _known(merged: Merged) -> list[tuple[int, str]]:
    """Return how many causes are known to whom."""
    ledger = sum(bool(cause.known) and merged.known(merged.by_fingerprint[cause.lead]) is not None for cause in merged.causes)
    counted = [(ledger, "to the ledger"), (len(merged.causes) - len(merged.new) - ledger, "upstream")]
    return [(count, where) for count, where in counted if count]


def backend_lines(merged: Merged) -> list[Line]:
    """Return what was found of each framework and kernel, the user's kernels first; of many, those with something new."""
    lines = list(merged.by_backend)
    if len(lines) > MOST_BACKENDS:
        lines = sorted(lines, key=lambda line: (line.is_sound, not line.causes))[: MOST_BACKENDS - 1]
    sound: Tone = "good" if merged.summary.comparisons and merged.summary.canary_caught == merged.summary.canary_planted else "doubt"
    shown = [Line(one_line(str(line)), sound if line.is_sound else "bad") for line in lines]
    if len(lines) < len(merged.by_backend):
        shown.append(Line(f"{len(merged.by_backend) - len(lines)} others: see Coverage", sound))
    return shown


def extent_line(merged: Merged) -> str:
    """Return what the verdict rests on beside the comparisons: runs, time, and what was drawn and not run."""
    parts = [plural(len(merged.runs), "run")] if len(merged.runs) > 1 else []
    parts.append(plural(merged.summary.cases, "case"))
    if sampled := merged.summary.sampled:
        parts.append(f"{plural(sampled, 'comparison')} on a sample of a large layer's elements")
    if skipped := merged.summary.skipped.total():
        parts.append(f"{plural(skipped, 'case')} not run")
    return " · ".join([*parts, seconds(merged.elapsed)])


def canary_line(merged: Merged) -> Line:
    """Return whether the deliberately wrong backend was caught: the evidence that a finding could have been made."""
    planted, caught = merged.summary.canary_planted, merged.summary.canary_caught
    if not planted:
        return Line("No canary was planted: nothing shows that a wrong backend would have been caught.", "doubt")
    times = f"{caught:,} of {plural(planted, 'time')}"
    if caught < planted:
        return Line(f"The planted canary was caught only {times}: a wrong backend can have passed unseen.", "bad")
    return Line(f"The planted canary was caught {times}.", "good")


def state_lines(merged: Merged) -> list[Line]:
    """Return what is unusual about how the runs ended: still going, interrupted, failed."""
    lines = []
    for run in merged.runs:
        which = f" ({run.directory.name})" if len(merged.runs) > 1 else ""
        info = run.info
        if not info.stopped:
            running = f" It was last inside {run.summary.running}, on {run.summary.case}." if run.summary.running else ""
            lines.append(Line(f"This run{which} goes on, or died: the page shows what its journals hold so far.{running}", "doubt"))
        elif ended_early(info.stopped):
            lines.append(Line(f"This run{which} was interrupted; everything up to there is saved.", "doubt"))
        elif info.stopped.startswith("error"):
            lines.append(Line(f"This run{which} ended with an {info.stopped}", "bad"))
    lines += [Line(f"This proves {one_line(said)}.", "bad") for said in shortcomings(merged.summary)]
    stale = sum(use.is_stale for use in merged.summary.uses.values())
    if stale:
        lines.append(Line(f"The ledger is stale: {plural(stale, 'tolerated failure')} did not come back.", "doubt"))
    gone = {bug.name: bug for run in merged.runs for bug in run.info.gone}
    lines += [Line(f"Gone upstream: {one_line(bug.said)}", "good") for bug in gone.values()]
    if merged.summary.comparisons == 0 and merged.findings:
        lines.append(Line("Nothing was compared beyond these findings.", "doubt"))
    return lines
