"""The exception of a failing check: one class per kind of failure, so that Hypothesis tells distinct bugs apart."""

from __future__ import annotations

import io
import os
import shlex
from functools import cache

from rich.console import Console

from convfuzz.backends.kernels.loading import leads_to_kernel
from convfuzz.checking.checker import CheckResult
from convfuzz.checking.result_table import print_results
from convfuzz.record.failure_kind import Signature
from convfuzz.system.safe_text import one_line


class Disagreement(AssertionError):
    """A backend fails on a case: it crashes, or its result is not the reference's.

    ``result`` is what every backend made of the case. Failures of different backends, verdicts, passes or explaining models
    are instances of different subclasses, since Hypothesis takes failures of one class from one line for one bug.
    """

    def __init__(self, result: CheckResult) -> None:
        super().__init__(result)
        self.result = result

    def __str__(self) -> str:
        return message(self.result)


@cache
def _class_of(signatures: tuple[Signature, ...]) -> type[Disagreement]:
    """Return the class of failures with these signatures: always the same one, or each would be a new bug to Hypothesis."""
    return type("Disagreement", (Disagreement,), {"__module__": "convfuzz", "signatures": signatures, "__doc__": Disagreement.__doc__})


def disagreement(result: CheckResult) -> Disagreement:
    """Return the exception for a result with failures."""
    return _class_of(tuple(Signature.of(failure) for failure in result.failures))(result)


def message(result: CheckResult) -> str:
    """Say who fails and how, in a line, in a table, and as a command that shows it again."""
    told = [f"{one_line(failure.backend)} is {failure.verdict}{f' ({failure.model})' * bool(failure.model)}" for failure in result.failures]
    return f"{'; '.join(told)}: {result.case}\n\n{table(result)}\n\n{_reproduction(result)}"


def table(result: CheckResult) -> str:
    """Return the table of discrepancies as plain text."""
    text = io.StringIO()
    print_results(Console(file=text, width=120, color_system=None, highlight=False, emoji=False), result)
    return text.getvalue().rstrip()


def _reproduction(result: CheckResult) -> str:
    names = [found.backend for found in result.results]
    failing = [found.backend for found in result.failures]
    if all(leads_to_kernel(name) for name in failing):
        listed = ",".join(name for name in names if leads_to_kernel(name))
        return f"Reproduce: convfuzz check {shlex.quote(str(result.case))} --backends {one_line(shlex.quote(listed))}"
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    again = f"pytest {shlex.quote(test)}   or   " if test else ""
    return f"Reproduce: {again}{result.case!r}.check(kernel)\n(The kernel is no function of a module, so that no command can name it.)"
