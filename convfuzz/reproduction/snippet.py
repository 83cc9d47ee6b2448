"""The code of a bug report: the call on the minimal data and one check, which fails while the bug is there."""

from __future__ import annotations

import textwrap

from convfuzz.record.finding import Finding
from convfuzz.reproduction.call_source import MANY_RUNS, Written, comes_and_goes
from convfuzz.reproduction.check_source import is_empty
from convfuzz.reproduction.expected_element import Expected
from convfuzz.reproduction.guard_source import guard_source, is_overrun
from convfuzz.reproduction.preceding_runs import ran_before
from convfuzz.reproduction.tensors_source import data_of, is_drawn
from convfuzz.verdicts import Verdict

HANGS_AFTER_S = 60
"""The seconds after which the code of a call that does not return ends itself."""
PEAK_GIB = 4
"""The memory that the code of a memory-filling call may use."""

_REJECTION = """\
try:
    y = run(*operands)
except Exception as error:
    print("rejected, as it should be:", type(error).__name__, error)
else:
    print("accepted:", y if y is None else f"the result has shape {{np.shape(y)}}")
    assert {empty}, "invalid arguments are accepted"
"""
_SAME_INPUTS = """\
before = [a.tobytes() for a in operands if a is not None]
run(*operands)
changed = before != [a.tobytes() for a in operands if a is not None]
print("the inputs are", "changed" if changed else "as they were")
assert not changed
"""
_SAME_RESULTS = """\
results = [{run} for _ in range({runs})]
differing = sum(not np.array_equal(y, results[0], equal_nan=True) for y in results)
print(differing, "of", len(results), "results differ from the first")
assert differing == 0
"""
_RETURNS = """\
{result} = {run}
print("returned shape", {result}.shape)
assert {result}.shape == {shape}
"""
_DTYPE = """\
{result} = {run}
print("returned dtype", {result}.dtype)
assert {result}.dtype == np.{dtype}
"""
_HANGS = """\
import faulthandler

faulthandler.dump_traceback_later({seconds}, exit=True)
run(*operands)
print("returned")
"""
_FILLS_MEMORY = """\
run(*operands)
with open("/proc/self/status") as file:  # Linux
    (peak,) = (int(line.split()[1]) / 2**20 for line in file if line.startswith("VmHWM"))
print("peak resident memory in GiB:", peak)
assert peak < {most}
"""
_DIES = """\
run(*operands)
print("returned")
"""


def snippet(finding: Finding, written: Written, element: Expected | None) -> str:
    """Return a program of NumPy and the framework concerned that fails while the bug is there: an assertion, or what it dies of."""
    only_shapes = finding.verdict is Verdict.ACCEPTED_INVALID
    drawn = [written.subject, *(subject for subject, _ in written.earlier)]
    future = "from __future__ import annotations\n\n" if any(map(is_drawn, drawn)) else ""
    parts = [f"{future}import numpy as np\n{written.call.strip()}", data_of(finding, written.subject, only_shapes=only_shapes).strip()]
    if is_overrun(finding):
        parts.append(guard_source(finding, written.call).strip())
    if written.earlier:
        parts += [ran_before(written.earlier).strip(), "ran_before()"]
    return "\n\n\n".join([*parts[:-1], f"{parts[-1]}\n\n{_check(finding, written, element).strip()}"]) + "\n"


def _check(finding: Finding, written: Written, element: Expected | None) -> str:
    subject = written.subject
    if is_overrun(finding) or not subject.config.is_valid:
        return _DIES if is_overrun(finding) else _REJECTION.format(empty=is_empty(subject, "y"))
    run = "run(*operands)" + (f'["{subject.in_pass}"]' if subject.case.grad else "")
    shape = subject.case.shape_of(subject.in_pass)
    match finding.verdict:
        case Verdict.CRASH:
            check = _DIES
        case Verdict.TIMEOUT:
            check = _HANGS.format(seconds=HANGS_AFTER_S)
        case Verdict.MEMORY:
            check = _FILLS_MEMORY.format(most=PEAK_GIB)
        case Verdict.CORRUPTED_INPUT:
            check = _SAME_INPUTS
        case Verdict.NONDETERMINISTIC:
            return _SAME_RESULTS.format(run=run, runs=MANY_RUNS)
        case Verdict.WRONG_DTYPE:
            check = _DTYPE.format(result=subject.result, run=run, dtype=subject.held_dtype)
        case _ if element is not None and finding.verdict is not Verdict.ERROR:
            check = _value(subject.result, run, element)
        case _:
            check = _RETURNS.format(result=subject.result, run=run, shape=shape)
    if not comes_and_goes(finding):
        return check
    return f"for _ in range({MANY_RUNS}):  # it fails now and then\n{textwrap.indent(check, '    ')}"


def _value(result: str, run: str, element: Expected) -> str:
    kind = "int" if element.subject.is_integer else "float"
    literal = element.literal
    if kind == "int" or element.tolerance == 0 or literal.startswith("float("):
        condition = "np.isnan(got)" if literal == 'float("nan")' else "got == expected"
        margin = ""
    else:
        condition, margin = f"abs(got - expected) <= {element.tolerance!r}", f', "to within", {element.tolerance!r}'
    return "\n".join([
        f"{result} = {run}",
        f"got, expected = {kind}({element.place}), {literal}",
        f'print("{element.place} is", got, "and should be", expected{margin})',
        f"assert {condition}",
    ])  # fmt: skip
