"""The pytest plugin: options, a report over all workers, and finding files as regression tests.

It is loaded into every pytest session of an environment that has convfuzz, and imports nothing but pytest until a session
uses it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from convfuzz.testing.options import COMPARED, Options, configure

if TYPE_CHECKING:
    from convfuzz.pytest_plugin.regressions import FindingFile
    from convfuzz.pytest_plugin.session import Controller

_SUFFIX = ".convfuzz.json"
_OPTIONS = {
    "report": ("FILE", "Write an HTML report on every case that the tests check, in all workers."),
    "backends": ("A,B", "What case.check() without arguments and convfuzz.suite compare."),
    "strategy": ("NAME", "Search space of @convfuzz.fuzz and convfuzz.suite; see `convfuzz strategies`."),
    "cases": ("N", "How many cases each test of @convfuzz.fuzz checks, and convfuzz.suite in all."),
    "seed": ("N", "Draw the same cases each time."),
}
_DIRECTORY = "convfuzz_directory"
_controller: pytest.StashKey[Controller] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, each on the command line and in the ini file."""
    group = parser.getgroup("convfuzz", "convfuzz: differential testing of convolutions")
    for name, (metavar, text) in _OPTIONS.items():
        group.addoption(f"--convfuzz-{name}", metavar=metavar, default=None, help=text)
        parser.addini(f"convfuzz_{name}", f"As --convfuzz-{name}, which overrides it.", default=None)


def pytest_configure(config: pytest.Config) -> None:
    """Read the options; start the report's run directory, or in a worker the journal in it."""
    command_line, ini = _options("--convfuzz-{}", config.getoption), _options("convfuzz_{}", config.getini)
    configure(command_line, ini)
    worker_input = getattr(config, "workerinput", None)
    if worker_input is not None:
        if _DIRECTORY in worker_input:
            _record(Path(worker_input[_DIRECTORY]), str(worker_input["workerid"]))
        return
    report = _report(config)
    if report is not None and not config.option.collectonly:
        from convfuzz.pytest_plugin.session import Controller  # noqa: PLC0415 - for sessions that want a report

        config.stash[_controller] = controller = Controller(config, report, command_line, ini)
        config.pluginmanager.register(controller, "convfuzz-report")
        if not _is_distributed(config):
            _record(controller.directory, "main")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Forget the options, close the journal, and release the run directory."""
    configure(Options(), Options())
    recording = sys.modules.get("convfuzz.testing.recording")
    if recording is not None:
        recording.stop()
    controller = config.stash.get(_controller, None)
    if controller is not None:
        controller.close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker where the run directory is."""
    controller = node.config.stash.get(_controller, None)
    if controller is not None:
        node.workerinput[_DIRECTORY] = str(controller.directory)


def pytest_report_header(config: pytest.Config) -> list[str] | None:
    """Say what is compared, in which versions and on what device, in sessions that use convfuzz's options or are verbose."""
    is_used = any(config.getoption(f"convfuzz_{name}") or config.getini(f"convfuzz_{name}") for name in _OPTIONS)
    if not is_used and config.get_verbosity() < 1:
        return None
    from convfuzz.pytest_plugin.header import header  # noqa: PLC0415 - for sessions that show it

    return header(config)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> FindingFile | None:
    """Collect finding files as regression tests."""
    if not file_path.name.endswith(_SUFFIX):
        return None
    from convfuzz.pytest_plugin.regressions import FindingFile  # noqa: PLC0415 - for folders that hold findings

    return FindingFile.from_parent(parent, path=file_path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Remove Hypothesis's deadline of 200 ms from tests in modules that use convfuzz: frameworks compile at the first call."""
    if "convfuzz.strategies" not in sys.modules:
        return
    for item in items:
        test, module = getattr(item, "obj", None), getattr(item, "module", None)
        if getattr(test, "is_hypothesis_test", False) and isinstance(module, ModuleType) and _uses_convfuzz(module):
            _lift_deadline(getattr(test, "__func__", test))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test whose checked cases no backend computed; keep how many were compared."""
    __tracebackhide__ = True
    if not _may_check(item):
        return (yield)
    from convfuzz.testing.agreement import tallied  # noqa: PLC0415 - for modules that use convfuzz

    with tallied() as tally:
        try:
            result = yield
        finally:
            if tally.said:
                item.user_properties.append((COMPARED, tally.said))
    if tally.proves_nothing:
        pytest.fail(tally.proves_nothing, pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Hide convfuzz's own frames and lines in the report of a failed check."""
    del item
    if call.excinfo is not None and "convfuzz.errors" in sys.modules:
        from convfuzz.pytest_plugin.tracebacks import is_refusal, simplify  # noqa: PLC0415 - for sessions that use convfuzz

        refused = is_refusal(call.excinfo.value)
        simplify(call.excinfo.value)
        if refused:
            call.excinfo = pytest.ExceptionInfo.from_exception(call.excinfo.value)
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector, call: pytest.CallInfo[Any], report: pytest.CollectReport) -> None:
    """Hide convfuzz's own frames where it refuses what a test file asks for as it is imported."""
    if isinstance(node, pytest.Collector) and call.excinfo is not None and "convfuzz.errors" in sys.modules:
        from convfuzz.pytest_plugin.tracebacks import is_refusal, simplify  # noqa: PLC0415 - for sessions that use convfuzz

        if is_refusal(call.excinfo.value):
            simplify(call.excinfo.value)
            call.excinfo = pytest.ExceptionInfo.from_exception(call.excinfo.value)
            report.longrepr = node.repr_failure(call.excinfo)


def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Say with ``-v`` how many of its cases a passing test compared."""
    said = dict(report.user_properties).get(COMPARED) if report.when == "call" and report.passed else None
    if said is None or config.get_verbosity() < 1:
        return None
    return "passed", ".", (f"PASSED ({said})", {"green": True})


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int | pytest.ExitCode) -> None:
    """Merge the journals of all workers and write the report."""
    controller = session.config.stash.get(_controller, None)
    if controller is not None:
        recording = sys.modules.get("convfuzz.testing.recording")
        if recording is not None:
            recording.stop()
        controller.finish(interrupted=exitstatus == pytest.ExitCode.INTERRUPTED)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the findings and where the report is."""
    controller = config.stash.get(_controller, None)
    if controller is not None:
        controller.print(terminalreporter)


# -- options --------------------------------------------------------------------------------------------------------------


def _options(form: str, get: Callable[[str], Any]) -> Options:
    values = {name: get(form.format(name).lstrip("-").replace("-", "_")) for name in _OPTIONS}
    for name, value in values.items():
        if value == "" and form.startswith("--"):  # of a variable that is not set; an ini file may leave a value out
            raise pytest.UsageError(f"{form.format(name)}= is empty")
        if isinstance(value, list):  # in TOML, of which pytest hands it on as it is
            raise pytest.UsageError(f'{form.format(name)}={value} is a list; write one text: "{",".join(map(str, value))}"')
    values = {name: value or None for name, value in values.items()}
    return Options(
        backends=_backends(form.format("backends"), values["backends"]),
        strategy=_strategy(form.format("strategy"), values["strategy"]),
        cases=_number(form.format("cases"), values["cases"], least=1),
        seed=_number(form.format("seed"), values["seed"], least=0),
    )


def _backends(option: str, text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    from convfuzz.backends import require_all  # noqa: PLC0415 - for sessions that name backends
    from convfuzz.errors import UsageError  # noqa: PLC0415

    names = tuple(name.strip() for name in text.split(",") if name.strip())
    try:
        require_all(names)
    except UsageError as error:
        raise pytest.UsageError(f"{option}={text}: {error}") from None
    return names


def _strategy(option: str, name: str | None) -> str | None:
    if name is None:
        return None
    from convfuzz.entry_points import require_strategy  # noqa: PLC0415 - for sessions that name a search space
    from convfuzz.errors import UsageError  # noqa: PLC0415

    try:
        require_strategy(name)
    except UsageError as error:
        raise pytest.UsageError(f"{option}={name}: {error}") from None
    return name


def _number(option: str, text: str | None, *, least: int) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise pytest.UsageError(f"{option}={text}: expected a whole number of at least {least}")
    return int(text)


def _report(config: pytest.Config) -> Path | None:
    """Return where the report goes: from where pytest was started, or beside the ini file that says so."""
    given, ini = config.getoption("convfuzz_report"), config.getini("convfuzz_report")
    if given:
        return Path(config.invocation_params.dir, given)
    return Path(config.inipath.parent if config.inipath else config.rootpath, ini) if ini else None


def _is_distributed(config: pytest.Config) -> bool:
    """Whether the tests run in xdist's workers, and not in this process."""
    return config.pluginmanager.hasplugin("xdist") and bool(
        getattr(config.option, "tx", None) or getattr(config.option, "numprocesses", None)
    )


def _record(directory: Path, worker: str) -> None:
    from convfuzz.testing import recording  # noqa: PLC0415 - for sessions that want a report

    recording.start(directory, worker)


# -- tests ----------------------------------------------------------------------------------------------------------------


def _uses_convfuzz(module: ModuleType) -> bool:
    return any(
        str(getattr(value, "__name__" if isinstance(value, ModuleType) else "__module__", "")).partition(".")[0] == "convfuzz"
        for value in vars(module).values()
    )


def _may_check(item: pytest.Item) -> bool:
    module = getattr(item, "module", None)
    return "convfuzz.testing.agreement" in sys.modules or (isinstance(module, ModuleType) and _uses_convfuzz(module))


def _lift_deadline(test: Any) -> None:
    name = "_hypothesis_internal_use_settings"  # what @settings sets; there is no public way to it from outside of a test
    own = getattr(test, name, None)
    if own is not None and own.deadline == timedelta(milliseconds=200):
        setattr(test, name, type(own)(own, deadline=None))
