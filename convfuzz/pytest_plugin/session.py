"""The controlling process of a session: it owns the run directory and turns it into findings and a report at the end."""

from __future__ import annotations

import contextlib
import shlex
import shutil
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from convfuzz.backends.kernels.loading import leads_to_kernel
from convfuzz.entry_points import render
from convfuzz.errors import ConvfuzzError, UsageError
from convfuzz.pytest_plugin.header import framework_versions
from convfuzz.pytest_plugin.session_run import begin, finish
from convfuzz.record.by_backend import by_backend
from convfuzz.record.cause import Cause
from convfuzz.record.finding import Finding
from convfuzz.record.outcome import proves_nothing, shortcomings
from convfuzz.record.run_directory import Run
from convfuzz.record.run_lock import new_run_directory
from convfuzz.system.files import require_writable, write_atomically, write_named
from convfuzz.system.safe_text import one_line
from convfuzz.testing.options import COMPARED, Options


class Controller:
    """Collects what every process of a session checks.

    Raises:
        pytest.UsageError: no run directory can be made, or the report cannot be written where it is wanted.
    """

    def __init__(self, config: pytest.Config, report: Path, command_line: Options, ini: Options) -> None:
        self._report = report
        self._tests: dict[str, str] = {}
        self._run: Run | None = None
        self._problem = ""
        self._lock = ExitStack()
        self._terminal = config.pluginmanager.getplugin("terminalreporter")
        strategy = command_line.strategy or ini.strategy or "as the tests say"
        seed = command_line.seed if command_line.seed is not None else ini.seed or 0
        try:
            require_writable(report)
        except UsageError as error:
            raise pytest.UsageError(f"--convfuzz-report: {error}") from None
        try:
            directory = self._lock.enter_context(new_run_directory(None))
            self.directory = directory.resolve()
            self._info = begin(self.directory, strategy=strategy, seed=seed, arguments=_arguments(config))
        except UsageError as error:
            self._lock.close()
            raise pytest.UsageError(str(error)) from None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep how many of its cases a test compared, in whatever process it ran."""
        said = dict(report.user_properties).get(COMPARED) if report.when == "call" else None
        if said is not None:
            self._tests[report.nodeid] = str(said)

    def finish(self, *, interrupted: bool) -> None:
        """Merge the journals and write the report; a session that checked no case leaves nothing."""
        try:
            info = msgspec.structs.replace(self._info, tests=self._tests)
            self._run = finish(self.directory, info, framework_versions, interrupted=interrupted, progress=self._say_failures)
            if self._run.info.cases:
                page = render("html", [self._run])
                write_atomically(self.directory / "report.html", page)
                write_named(self._report, page)
        except (ConvfuzzError, OSError) as error:
            self._problem = f"the report cannot be written: {error}; to render it again: convfuzz report {self.directory}"

    def print(self, terminal: pytest.TerminalReporter) -> None:
        """Print the totals and the causes of the session."""
        run = self._run
        if run is None or self._problem:
            terminal.write_line(f"convfuzz: {self._problem or 'the session broke off'}", red=True)
            return
        if not run.info.cases:
            terminal.write_line("convfuzz: no case was checked, so there is no report", yellow=True)
            return
        terminal.section("convfuzz", sep="=")
        workers = len(list(self.directory.glob("journal-*.jsonl"))) - 1
        findings = {finding.fingerprint: finding for finding in run.findings}
        for line in by_backend(run.info.backends, run.summary, run.causes, findings):
            terminal.write_line(one_line(str(line)))
        terminal.write_line(
            f"{workers} process{'es'[: 2 * (workers != 1)]} · canary caught {run.info.canary.caught} of {run.info.canary.planted} times"
        )
        for cause in run.causes:
            _print_cause(terminal, run, cause, findings[cause.lead])
        if run.findings:
            name = run.causes[0].lead
            kept = _shown(self.directory / "findings" / f"{name}.json")
            terminal.write_line(f"to keep one as a regression test: cp {kept} tests/{name}.convfuzz.json")
        nothing = proves_nothing(run.summary)
        if nothing:
            terminal.write_line(f"This run proves nothing: {nothing}.", red=True)
        for said in shortcomings(run.summary):
            terminal.write_line(f"This run proves {one_line(said)}.", red=True)
        terminal.write_line(f"run directory: {_shown(self.directory)}")
        terminal.write_line(f"report: {self._report.resolve().as_uri()}")

    def close(self) -> None:
        """Release the run directory, and remove it where no case was checked."""
        self._lock.close()
        if self._run is not None and not self._run.info.cases and not self._problem:
            shutil.rmtree(self.directory)
            with contextlib.suppress(OSError):  # there are other runs beside it
                self.directory.parent.rmdir()

    def _say_failures(self, count: int) -> None:
        if self._terminal is not None:
            self._terminal.ensure_newline()
            self._terminal.write_line(f"convfuzz: running {count} finding{'s'[: count != 1]} again, which takes at most about a minute")


def _print_cause(terminal: pytest.TerminalReporter, run: Run, cause: Cause, finding: Finding) -> None:
    """Print a cause by its lead, ``finding``."""
    model = f" ({finding.model})" if finding.model else ""
    terminal.write_line(
        f"{finding.fingerprint}  {one_line(finding.backend)}: {finding.verdict}{model} · {finding.confirmation.label}", red=True
    )
    if others := ", ".join(cause.members[1:]):
        terminal.write_line(f"          of the same cause: {others}")
    if upstream := run.info.upstream_of(cause.lead):
        terminal.write_line(f"          {one_line(upstream.said)}")
    if leads_to_kernel(finding.backend):
        terminal.write_line(f"          convfuzz check {shlex.quote(finding.case)} --backends {one_line(shlex.quote(finding.backend))}")
    else:
        terminal.write_line(f"          {finding.case}")


def _arguments(config: pytest.Config) -> dict[str, object]:
    return {"pytest": [str(argument) for argument in config.invocation_params.args]}


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
