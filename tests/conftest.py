"""Which tests are slow, and what keeps tests apart that share a process: none sees which others ran before it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

SLOW = (
    # Whole programs, each in a process of its own: campaigns, nights, pytest sessions, scripts, a browser.
    "browser", "campaign", "nightly", "pytest_plugin", "reproduction", "backends/test_environments.py", "backends/test_isolated.py",
    "cli/test_bisect_command.py", "cli/test_known_option.py", "judging/test_on_device.py", "oracle/test_cuda.py",
    "oracle/test_gpu_script.py", "processes/test_programs.py",
    # Many cases, or a compiler for each.
    "backends/test_call_scripts.py", "backends/test_compiled_kernels.py", "backends/test_forward_runtimes.py",
    "backends/test_framework_domain.py", "backends/test_framework_passes.py", "backends/test_kernel_processes.py",
    "backends/test_kernel_recipes.py", "backends/test_split_samples.py", "backends/test_torch_compile.py", "case/test_domains.py",
    "judging/test_error_bounds.py", "oracle/test_complex.py", "oracle/test_onnx_node_tests.py", "planted/test_advised.py",
    "planted/test_caught.py", "revealing/test_advice.py", "revealing/test_long_sums.py", "revealing/test_planted_arithmetic.py",
    "revealing/test_unusual_kernels.py",
    "solutions/test_cheats.py", "solutions/test_problems.py", "strategies/test_corpus.py", "strategies/test_distribution.py",
    "strategies/test_domain_draws.py", "strategies/test_drawn_cases.py", "strategies/test_shrinking.py", "strategies/test_whole_model.py",
    "triage/test_data_reduction.py",
)  # fmt: skip
"""Folders and files of this one whose tests are marked ``slow``; CONTRIBUTING.md says how long each tier takes."""
STARTS_CONVFUZZ = "process"
"""The fixture of ``tests/cli`` that runs a command in a process of its own; who asks for it is slow too."""

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")  # read when a library loads; several test processes share the machine

# Programs that tests start would compile every module each time: some containers set it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# What campaigns keep is none of the user's.
os.environ["XDG_CACHE_HOME"] = str(Path(tempfile.gettempdir()) / f"convfuzz-tests-{os.getuid()}")

# Tests draw the same each time, alone or after others, whatever the machine is busy with: what fails once fails again.
settings.register_profile("convfuzz", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("convfuzz")
# Hypothesis's engine mixes in constants of all modules that are loaded by then; named as it is there, so that a new name is an error.
assert providers._get_local_constants
_no_constants = providers.Constants()
providers._get_local_constants = lambda: _no_constants

_PROCESS = os.getpid()


def _refuse_fork() -> None:
    """Fail the test that forks its process, as pytest does for an exception that nobody can catch.

    JAX, TensorFlow and OpenVINO have threads in it, from whatever tests ran before, and a fork of such a process may hang.
    """
    if os.getpid() == _PROCESS:
        raise RuntimeError("a test has forked the process that it shares with others; start one with subprocess or a forkserver")


def pytest_configure(config: pytest.Config) -> None:
    """Watch for forks, and have every framework imported as it comes, whichever of its modes is asked for first.

    Before several processes share the tests, Numba compiles what most of them need, which it keeps: each would do the same otherwise.
    """
    from convfuzz.backends import registry  # noqa: PLC0415 - after the variables above, which NumPy reads

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:  # as nohup has it, and what runs in the background: programs would inherit it
            signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
    # A test may import OpenVINO before convfuzz does, which leaves its telemetry out: it forks.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # how the import system notes what is not there
    if find_spec("tensorflow") is not None:
        # A test may import TensorFlow before convfuzz does, which leaves Triton out: the two in one process abort it.
        sys.modules["triton"] = None  # type: ignore[assignment]
    os.register_at_fork(before=_refuse_fork)
    for name, family in registry.families().items():
        if family.environment:
            registry._environments[name] = {}
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        subprocess.run([sys.executable, "-P", "-c", "import convfuzz.processes.preload"], check=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, and begin with the slow files: two processes then end at about the same time."""
    here = Path(__file__).parent
    slow = [here / name for name in SLOW]
    first = set()
    for item in items:
        is_listed = any(item.path.is_relative_to(place) for place in slow)
        if is_listed or STARTS_CONVFUZZ in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
        if is_listed:
            first.add(item.path)
    items.sort(key=lambda item: item.path not in first)


@pytest.fixture(scope="session", autouse=True)
def _outside_the_checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Leave the checkout, from which ``python -m convfuzz`` would import the package although the tests import an installed wheel."""
    folder = os.getcwd()  # noqa: PTH109 - as it is put back
    os.chdir(tmp_path_factory.mktemp("outside"))
    yield
    os.chdir(folder)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Put back what a test's subprocesses inherit: environment, search path, working directory, and which signals are ignored.

    What the forkserver imports ignores those that end a program, and a test that imports it would have later campaigns ignore them.
    """
    environment, path, folder = dict(os.environ), list(sys.path), os.getcwd()  # noqa: PTH109 - as it is put back
    handlers, hook = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}, sys.excepthook
    yield
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    sys.path[:] = path
    os.chdir(folder)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    sys.excepthook = hook
