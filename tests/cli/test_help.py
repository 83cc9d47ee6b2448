"""``--help`` and ``--version``: instant, complete, and what the rest of the commands look like from outside."""

from __future__ import annotations

import subprocess
import sys

import pytest

import convfuzz

from .conftest import Call

HEAVY = ("numpy", "numba", "torch", "tensorflow", "jax", "hypothesis", "rich", "jinja2", "ml_dtypes", "psutil")
COMMANDS = ("run", "check", "explain", "reveal", "ledger", "report", "backends", "strategies")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["-h"], []], ids=" ".join)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """Help and version import neither NumPy nor a framework nor anything else that takes time."""
    code = f"""
import sys
from convfuzz import cli
sys.argv = ["convfuzz", *{arguments!r}]
try:
    cli.main()
finally:
    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.stderr.splitlines()[-1] == "[]"
    assert done.returncode == (0 if arguments else 2)


def test_importing_the_package_loads_nothing_heavy() -> None:
    """``import convfuzz`` alone imports neither NumPy nor a framework."""
    code = f"import sys, convfuzz; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == "[]"


def test_help_lists_the_commands_and_the_exit_statuses(call: Call) -> None:
    """The help names each command, the exit statuses, and the form of a case."""
    help_text = call("--help").stdout
    assert all(f"\n  {command}" in help_text for command in COMMANDS)
    assert "0 clean, 1 findings, 2 usage or configuration error, 130, 143 or 129 ended by Ctrl-C, SIGTERM or SIGHUP" in help_text
    assert "conv2d_n2_c8_o16" in help_text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(call: Call, command: str) -> None:
    """Each command explains itself and exits 0."""
    called = call(command, "--help")
    assert called.status == 0
    assert f"convfuzz {command}" in called.stdout


@pytest.mark.parametrize(
    ("command", "example"),
    [
        (["run"], "\n  convfuzz run --resume DIR                       a run that has stopped\n"),
        (["ledger", "check"], "\n  2 if the ledger cannot be read or an entry cannot be checked.\n"),
        (["backends"], '\n  convfuzz run --backends "$(convfuzz backends --names)"    a campaign'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_examples_keep_their_lines(call: Call, command: list[str], example: str) -> None:
    """Examples and lists of statuses in a help text stand on lines of their own, as they were written."""
    text = call(*command, "--help").stdout
    assert example in text
    assert "\\b" not in text


def test_version_is_the_package_s(call: Call) -> None:
    """``--version`` prints the version of the package."""
    assert convfuzz.__version__ in call("--version").stdout


@pytest.mark.parametrize("arguments", [["fuzz"], ["run", "--fast"], ["check"], ["explain"], ["report"]], ids=" ".join)
def test_wrong_usage_exits_2_with_how_to_use_it(call: Call, arguments: list[str]) -> None:
    """An unknown command or option, or a missing argument, exits 2 and shows the usage."""
    called = call(*arguments)
    assert called.status == 2
    assert called.stderr.startswith("Usage: ")
    assert called.stdout == ""
