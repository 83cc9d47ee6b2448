"""The source of the runs that must come before a case for its failure to show: one function for each run, in one process."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from convfuzz.reproduction.subject import Subject
from convfuzz.reproduction.tensors_source import data

MOST_EARLIER = 20
"""A script with more runs would be too long to read."""

_EARLIER = '''\
def {name}():
    """Run what ran before: {case}."""
{body}
    return run(*operands)
'''

_BEFORE = '''
def ran_before():
    """Run, in this process, what has to run before; what becomes of it does not matter."""
    for earlier in ({names},):
        try:
            earlier()
        except (Exception, SystemExit) as error:
            print("before:", type(error).__name__, error)
'''


def ran_before(runs: Sequence[tuple[Subject, str]]) -> str:
    """Write ``ran_before()``, which runs each call, as a backend's ``script`` gives it, on the tensors of its subject."""
    names, parts = [f"earlier_{number}" for number in range(1, len(runs) + 1)], []
    for name, (subject, call) in zip(names, runs, strict=True):
        body = textwrap.indent(f"{call.strip()}\n\n{data(subject).strip()}", "    ", lambda line: not line.isspace())
        parts.append(_EARLIER.format(name=name, case=subject.case, body=body))
    return "\n\n".join([*parts, _BEFORE.strip().format(names=", ".join(names))])
