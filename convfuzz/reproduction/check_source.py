"""The part of a script that runs the backend and says whether the bug is there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from convfuzz.backends.script_parts import unwritten_source
from convfuzz.judging.numerics import overflows_from
from convfuzz.judging.tiles import Cut, Tile
from convfuzz.reproduction.definition import bias, returned
from convfuzz.reproduction.subject import Subject
from convfuzz.reproduction.tolerance import bound_arguments, exact_tolerance, inf_meets_flushed, joint_tolerance, smeared, written_tolerance
from convfuzz.verdicts import Verdict

_MAIN = """
def main():
    print({shapes})
    before = [a.tobytes() for a in operands if a is not None]
    [np.full({shape}, {unwritten}) for _ in range(8)]  # freed at once: memory that nobody writes to does not look right
    try:
        outputs = [run(*operands){in_pass} for _ in range({runs})]
    except (Exception, SystemExit):
        traceback.print_exc()
        {raised}
    if before != [a.tobytes() for a in operands if a is not None]:
        print("BUG: changed its inputs")
        return 1
    for output in outputs:
        if output is None or output.shape != {shape}:
            print("BUG: output shape", None if output is None else output.shape, "expected", {shape})
            return 1
        if output.dtype != np.{dtype}:
            print("BUG: output dtype", output.dtype, "expected {dtype}")
            return 1
    {sums} = expected({operands})
    distinct = [a for i, a in enumerate(outputs) if not any(np.array_equal(a, b, equal_nan=True) for b in outputs[:i])]
    bug = any([differs({arguments}) for output in distinct])
{repeated}    print("BUG is there" if bug else "fixed: {agreement}")
    return int(bug)
"""

_REPEATED = """\
    if len(distinct) > 1:
        print("BUG: two runs differ")
        bug = True
"""
_RAISED = 'print("BUG: raised on a valid configuration")\n        return 1'
_REJECTED = 'print("fixed: rejected, which beyond 32 bits is no bug")\n        return 0'

_COMPARISON = '''
@np.errstate(all="ignore")
def differs({arguments}):
    """Say how far off an output is, and whether that is a bug."""
{compared}
    print("max-abs discrepancy", float(error.max(initial=0)))
    if off.any():
        at = np.unravel_index(np.argmax(np.where(off, error, -1)), error.shape)
        print(int(off.sum()), "of", off.size, "elements are off; at", tuple(map(int, at)), end=": ")
        print("expected", {result}[at], "got", output[at], "tolerance", {tolerance})
    return bool(off.any())
'''

_INVALID = """
def main():
    print({shapes})
    print({rule!r})
    try:
        output = run(*operands)
    except (Exception, SystemExit) as error:
        print("fixed: rejected with", type(error).__name__, error)
        return 0
    empty = {empty}
    print("returned", output if output is None else f"shape {{np.shape(output)}}")
    print("fixed: the output is empty" if empty else "BUG: accepted")
    return int(not empty)
"""

_IN_THIS_PROCESS = """
if __name__ == "__main__":
    {before}sys.exit(main())
"""

_IN_A_CHILD = """
if __name__ == "__main__":
    if "--child" in sys.argv:
        {before}sys.exit(10 + main())
    import subprocess

    try:
        status = subprocess.run([sys.executable, __file__, "--child"], timeout=120).returncode
    except subprocess.TimeoutExpired:
        print("BUG: no result after 120 s")
        sys.exit(1)
    if status not in (10, 11):
        print("BUG: the process ended with status", status)
    sys.exit(status != 10)
"""


def start(verdict: Verdict, *, after_others: bool = False) -> str:
    """Write what calls ``main``, ``ran_before`` first if there is such: in a process of its own where the bug ends it."""
    if verdict in (Verdict.CRASH, Verdict.TIMEOUT, Verdict.MEMORY):
        return _IN_A_CHILD.format(before="ran_before()\n        " if after_others else "")
    return _IN_THIS_PROCESS.format(before="ran_before()\n    " if after_others else "")


def acceptance(subject: Subject) -> str:
    """Write a ``main`` that shows whether an invalid configuration is accepted."""
    return _INVALID.format(shapes=_shapes(subject), rule=subject.config.invalid_reason, empty=is_empty(subject, "output"))


def is_empty(subject: Subject, name: str) -> str:
    """Return the condition under which the result of an invalid call is empty, as it may be; its other axes have to be right then."""
    config, condition = subject.config, f"{name} is not None and np.size({name}) == 0"
    if config.has_no_site:
        condition += f" and np.shape({name})[:-{config.dims}] == {config.output_shape[: -config.dims]}"
    return condition


def comparison(subject: Subject, *, runs: int, same: bool) -> str:
    """Write a ``main`` that compares what is returned with what is expected; all ``runs`` have to return the ``same``."""
    judged = subject.of_tile
    names = returned(judged)
    main = _MAIN.format(
        shapes=_shapes(subject),
        shape=subject.case.shape_of(subject.in_pass),
        unwritten="{}, dtype=np.{}".format(*unwritten_source(subject.config.dtype)),
        dtype=subject.held_dtype,
        in_pass=f'.get("{subject.in_pass}")' if subject.case.grad else "",
        runs=runs,
        raised=_REJECTED if subject.config.is_extreme else _RAISED,
        repeated=_REPEATED if same else "",
        sums=", ".join(names),
        operands=", ".join(f"{name}{_cuts(subject.tile, name)}" for name in subject.operands),
        arguments=", ".join([f"output{_index(subject.tile.place)}" if subject.tile else "output", *names]),
        agreement="the very same numbers" if judged.is_exact and exact_tolerance(judged) == "0" else "within the tolerance",
    )
    return main + "\n" + _differs(judged, names)


def _cuts(tile: Tile | None, name: str) -> str:
    """Return the indices that cut a tile's operand out of the large layer's, as source."""
    return "".join(map(_index, tile.cuts[name])) if tile is not None and name in tile.cuts else ""


def _index(cut: Cut) -> str:
    def written(index: slice | npt.NDArray[np.int64]) -> str:
        if not isinstance(index, slice):
            return str(index.tolist())
        ends = [("" if end is None else str(end)) for end in (index.start, index.stop)]
        return ":".join([*ends, *([str(index.step)] if index.step is not None else [])])

    return f"[{', '.join(map(written, cut))}]"


def _shapes(subject: Subject) -> str:
    return ", ".join(f'"{name}", {name}.shape' for name in subject.tensors.named())


def _differs(subject: Subject, names: list[str]) -> str:
    converted = ["output = np.stack([output.real, output.imag])"] if subject.is_complex else []
    if not subject.is_integer:
        converted.append(f"output = output.astype(np.{subject.wide_dtype})")
    if subject.is_exact:
        compared = _exactly(subject)
    elif subject.is_calm:
        compared = _within_tolerance(subject)
    else:
        compared = _with_overflow(subject)
    return _COMPARISON.format(
        arguments=", ".join(["output", *names]),
        compared="\n".join(f"    {line}" for line in [*converted, *compared]),
        result=subject.result,
        tolerance="0" if subject.is_integer else "tolerance[at]",
    )


def _exactly(subject: Subject) -> list[str]:
    y = subject.result
    if subject.is_integer:
        return [f"error = np.abs(output.astype(np.float64) - {y}.astype(np.float64))", f"off = output != {y}"]
    return [
        *_as_stored(subject),
        f"tolerance = np.broadcast_to({exact_tolerance(subject)}, {y}.shape)",
        f"error = np.abs(output - {y})",
        "off = ~(error <= tolerance)",
    ]


def _as_stored(subject: Subject) -> list[str]:
    """Round sums that are exact in float32 to what results may be stored in, ties to even, where an output is not exact."""
    y = subject.result
    if subject.numerics.outputs == "exact":
        return []
    if subject.numerics.outputs == "float16":
        lines = [f"rounded = {y}.astype(np.float16)"]
    else:
        lines = [
            f"bits = {y}.astype(np.float32).view(np.uint32)",
            "rounded = ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)",
        ]
    return [*lines, f"{y} = np.where(output == {y}, {y}, rounded)  # results may be {subject.numerics.outputs}"]


def _within_tolerance(subject: Subject) -> list[str]:
    y = subject.result
    return [*_tolerance(subject), f"error = np.abs(output - {y})", "off = ~(error <= tolerance)"]


def _tolerance(subject: Subject) -> list[str]:
    if not subject.has_moments:
        return [*written_tolerance(subject), *joint_tolerance(subject)]
    return [f"tolerance = bound({', '.join(bound_arguments(subject))})", *joint_tolerance(subject)]


def _with_overflow(subject: Subject) -> list[str]:
    y = subject.result
    size = [f"size = np.sign(output) * {y}"]
    if subject.numerics.bias == "separate" and "b" in subject.operands:
        size.append(f"size = np.maximum(size, np.sign(output) * ({y} - {bias(subject)}))  # before the bias is added")
    same = [f"(output == {y})", f"(np.isnan(output) & np.isnan({y}))", "overflow", "undecided"]
    same += ["(free & np.isnan(output))"] if "free" in returned(subject) else []
    lines = [
        *_tolerance(subject),
        *size,
        f"top = {overflows_from(subject.config.dtype, subject.numerics)!r}  # from here on, rounding to nearest gives Inf",
        f"overflow = np.isfinite({y}) & (size + tolerance >= top) & np.isinf(output)",
        f"undecided = np.isfinite(S) & (S + tolerance > {subject.accumulator.max!r})  # may overflow in one order of summation only",
    ]
    if subject.numerics.flushes_subnormals and subject.sums.inf_meets_flushed.any():
        lines.append(f"flushed = {inf_meets_flushed(subject)}  # Inf times a subnormal operand, which is NaN where that is flushed")
        same.append("(flushed & np.isnan(output))")
    if subject.numerics.algorithm == "transform":
        lines.append(f"smeared = {smeared(subject)} & ~np.isfinite(output)  # Winograd and FFT spread NaN and Inf over a map")
        same.append("smeared")
    return [
        *lines,
        f"same = {' | '.join(same)}",
        f"error = np.where(same, 0, np.abs(output - {y}))",
        "error[np.isnan(error)] = np.inf",
        "off = ~same & ~(error <= tolerance)",
    ]
