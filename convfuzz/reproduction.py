"""Reproduction scripts: one standalone file per finding, for people who do not have convfuzz.

A script needs NumPy and the framework concerned only. It holds the minimal tensors, or the generator that makes the
very same bytes, computes the sum by its definition, and exits 1 while the bug is there.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np

from convfuzz import tensors
from convfuzz.backends import Backend, Scripted
from convfuzz.case import Case
from convfuzz.config import ConvConfig
from convfuzz.dtypes import FLOATS, FloatFormat
from convfuzz.findings import Finding
from convfuzz.judging import Verdict
from convfuzz.numerics import LAMBDA, SQUARES_VANISH, TRANSFORM_FACTOR, Numerics

_MOST_INLINE = 3000
_WIDTH = 110

_HEADER = '''\
#!/usr/bin/env python3
"""{title}

{body}

Exits 1 while the bug is there and 0 when it is gone. Written by convfuzz; does not need it.
"""

from __future__ import annotations

import sys
import traceback

import numpy as np
'''

_REFERENCE = '''
def expected(x, w, b):
    """Sum every product in {wide}: y, and per output element S = sum |p|, Q = sum p*p and the number n of products.

    ``free`` marks elements where padding meets a NaN or Inf weight: both 0 and NaN are accepted for that product.
    """
    x, w = x.astype(np.{wide}), w.astype(np.{wide})
    inside = np.ones(x.shape, dtype=bool)
    {pad}
    shape = {output_shape}
    y, S, Q, n = (np.zeros(shape, dtype=np.{wide}) for _ in range(4))
    free = np.zeros(shape, dtype=bool)
    width, per_group = {width}, {per_group}
    for out in range({out_channels}):
        for c in range(width):
            channel = out // max(per_group, 1) * width + c
            for tap in np.ndindex({kernel}):
                window = tuple(
                    slice(t * d, t * d + (size - 1) * s + 1, s) for t, d, s, size in zip(tap, {dilation}, {stride}, shape[2:])
                )
                there = inside[(slice(None), channel, *window)]
                with np.errstate(invalid="ignore", over="ignore"):
                    p = np.where(there, x[(slice(None), channel, *window)] * w[(out, c, *tap)], 0)
                    y[:, out] += p
                    S[:, out] += np.abs(p)
                    Q[:, out] += p * p
                n[:, out] += there
                free[:, out] |= ~there & ~np.isfinite(w[(out, c, *tap)])
        if b is not None:
            with np.errstate(invalid="ignore", over="ignore"):
                y[:, out] += b[out]
                S[:, out] += np.abs(b[out])
                Q[:, out] += np.{wide}(b[out]) ** 2
            n[:, out] += 1
    return y, S, Q, n, free
'''

_MAIN = """
def main():
    if {unbatched}:
        sums = [a[0] for a in expected(x[None], w, b)]
    else:
        sums = expected(x, w, b)
    y = sums[0]
    before = [None if a is None else a.copy() for a in (x, w, b)]
    print("x", x.shape, "w", w.shape, "b", None if b is None else b.shape, "-> y", y.shape)
    try:
        actual = run(x, w, b)
        again = [run(x, w, b) for _ in range({repeats})]
    except (Exception, SystemExit):
        traceback.print_exc()
        print("BUG: raised on a valid configuration")
        return 1
    if not all(a is None or np.array_equal(a, c, equal_nan=True) for a, c in zip((x, w, b), before)):
        print("BUG: changed its inputs")
        return 1
    if actual is None or tuple(actual.shape) != y.shape:
        print("BUG: output shape", None if actual is None else tuple(actual.shape), "expected", y.shape)
        return 1
    {dtype_check}
    worst = 0
    for output in [actual, *again]:
        worst = max(worst, compare(np.asarray(output).astype(np.{wide}), *sums))
    if any(np.asarray(output).tobytes() != np.asarray(actual).tobytes() for output in again):
        print("BUG: two runs differ")
        worst = 1
    print("BUG is there" if worst else "fixed: within the tolerance")
    return worst


def compare(actual, y, S, Q, n, free):
    with np.errstate(all="ignore"):
        tolerance = bound(y, S, Q, n)
        top = {top}  # from here on, rounding to nearest gives Inf
        overflows = np.isfinite(y) & (np.abs(y) + tolerance >= top) & np.isinf(actual) & (np.sign(actual) == np.sign(y))
        undecided = free | (np.isfinite(S) & (S + tolerance > {accumulator_max})){smeared}
        same = (actual == y) | (np.isnan(actual) & np.isnan(y)) | overflows | undecided
        error = np.where(same, 0, np.abs(actual - y))
        error = np.where(np.isnan(error), np.inf, error)
        over = ~same & ~(error <= tolerance)
    print("max-abs discrepancy", float(error.max(initial=0)))
    if over.any():
        at = np.unravel_index(np.argmax(np.where(over, error, -1)), error.shape)
        print(int(over.sum()), "of", error.size, "elements are off; at", tuple(map(int, at)), end=": ")
        print("expected", y[at], "got", actual[at], "tolerance", tolerance[at])
    return int(over.any())

"""

_INVALID_MAIN = """
def main():
    print("x", x.shape, "w", w.shape, "b", None if b is None else b.shape)
    print({rule!r})
    try:
        actual = run(x, w, b)
    except (Exception, SystemExit) as error:
        print("fixed: rejected with", type(error).__name__, error)
        return 0
    empty = actual is not None and np.size(actual) == 0
    print("returned", actual if actual is None else f"shape {{np.shape(actual)}}")
    print("fixed: the output is empty" if empty else "BUG: accepted")
    return int(not empty)

"""

_IN_THIS_PROCESS = """
if __name__ == "__main__":
    sys.exit(main())
"""

_IN_A_CHILD = """
if __name__ == "__main__":
    if "--child" in sys.argv:
        sys.exit(10 + main())
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


def reproduction_script(finding: Finding, backend: Backend) -> str | None:
    """Write the script of ``finding``; ``None`` when the backend cannot be written down (it has no ``script``)."""
    case = Case.parse(finding.case)
    call = backend.script(case) if isinstance(backend, Scripted) else None
    if call is None:
        return None
    versions = ", ".join(f"{name} {version}" for name, version in finding.versions.items())
    body = [f"Case: {case}", f"Verdict: {finding.verdict}{f' ({finding.model})' if finding.model else ''}", f"Reason: {finding.reason}"]
    body += [f"Found with {versions}."] if versions else []
    title = f"convfuzz finding {finding.fingerprint}: {finding.backend} is {finding.verdict} on one convolution."
    header = _HEADER.format(title=_docstring(title), body="\n".join(_docstring(line) for line in body))
    parts = [header, call, _data(case)]
    if case.config.is_valid:
        parts += [_reference(case.config), _bound(case, backend.numerics(case)), _main(case, finding, backend)]
    else:
        parts.append(_INVALID_MAIN.format(rule=case.config.invalid_reason))
    parts.append(_IN_A_CHILD if finding.verdict in (Verdict.CRASH, Verdict.TIMEOUT, Verdict.MEMORY) else _IN_THIS_PROCESS)
    return "\n".join(parts)


def _docstring(text: str) -> str:
    """Make text from a framework or a kernel safe inside a docstring: it can neither end it nor escape from it."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return "\n".join(textwrap.wrap(printable.replace("\\", "/").replace('"', "'"), _WIDTH, break_long_words=False))


# -- data -----------------------------------------------------------------------------------------------------------------


def _data(case: Case) -> str:
    made = tensors.make_tensors(case)
    if sum(array.size for array in made.named().values()) <= _MOST_INLINE:
        return _inline(made, case.config)
    return _generator(case)


def _inline(made: tensors.Tensors, config: ConvConfig) -> str:
    # float64 holds every narrower value exactly; run() casts back, which is exact too.
    dtype = "float64" if config.dtype in ("float64", "bfloat16") else config.dtype
    lines = ["nan, inf = np.nan, np.inf"]
    for name in ("x", "w", "b"):
        array = getattr(made, name)
        if array is None:
            lines.append(f"{name} = None")
            continue
        values = ", ".join(repr(_number(v)) for v in array.astype(np.float64).reshape(-1).tolist())
        wrapped = "\n".join(textwrap.wrap(values, _WIDTH, initial_indent="    ", subsequent_indent="    "))
        lines.append(
            f"{name} = np.array(\n    [\n{textwrap.indent(wrapped, '    ')}\n    ],\n    dtype=np.{dtype},\n).reshape({tuple(array.shape)})"
        )
    return "\n".join(lines) + "\n"


def _number(value: float) -> float | int:
    return int(value) if value.is_integer() and abs(value) < 2**53 and not (value == 0.0 and np.signbit(value)) else value


def _generator(case: Case) -> str:
    """Carry the generator's own source, which needs NumPy only; the bytes are the same because the code is."""
    c = case.config
    regime: Callable[..., Any] = tensors._VALUES[case.recipe.regime]  # noqa: SLF001 - the script carries exactly what made the case
    support: tuple[Callable[..., Any], ...] = (
        FloatFormat, tensors._mix, tensors.words, tensors._normal, tensors._uniform, tensors._nonzero_integers,  # noqa: SLF001
        tensors.rows_per_output_kernel, tensors._integer_range, tensors.integer_draws,  # noqa: SLF001
        tensors._normals, tensors._scaled,  # noqa: SLF001
    )  # fmt: skip
    functions = [inspect.getsource(f) for f in dict.fromkeys((*support, regime))]
    formats = {name: f for name, f in FLOATS.items() if name == c.dtype}
    attributes: dict[str, Any] = {
        "op": c.op, "dtype": c.dtype, "in_channels": c.in_channels, "out_channels": c.out_channels, "groups": c.groups, "bias": c.bias,
        "input_shape": c.input_shape, "weight_shape": c.weight_shape, "taps": c.taps,
    }  # fmt: skip
    rounding = "float64" if c.dtype == "bfloat16" else c.dtype
    lines = [
        "import math",
        "from dataclasses import dataclass",
        "from types import SimpleNamespace",
        "",
        "# The generator of the data, as convfuzz has it: integer arithmetic and exact or once-rounded float64.",
        f"_GOLDEN, _ROLES, _DRAWS = {tensors._GOLDEN:#x}, {tensors._ROLES!r}, {tensors._DRAWS}",  # noqa: SLF001
        "",
        "",
        "\n\n".join(functions),
        "",
        f"FLOATS = {formats!r}",
        "",
        "",
        "def draw():",
        f"    drawn = {regime.__name__}(SimpleNamespace(**{attributes!r}), {case.recipe.seed})",
        '    with np.errstate(over="ignore", under="ignore"):',
        f"        return [FLOATS[{c.dtype!r}].round(drawn[name]).astype(np.{rounding}) for name in ('x', 'w', 'b')]",
        "",
        "",
        "x, w, b = draw()",
        "" if c.bias else "b = None",
    ]
    return "\n".join(lines) + "\n"


# -- judging ----------------------------------------------------------------------------------------------------------------


def _wide(config: ConvConfig) -> str:
    return "longdouble" if config.dtype == "float64" else "float64"


def _reference(c: ConvConfig) -> str:
    sides = ((0, 0), (0, 0), *((max(lo, 0), max(hi, 0)) for lo, hi in c.pads))
    mode = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[c.padding_mode]
    pad = []
    if any(side for pair in sides for side in pair):
        pad.append(f"x = np.pad(x, {sides!r}, mode={mode!r})")
        inside = "" if c.padding_mode == "zeros" else ", constant_values=True"
        pad.append(f"inside = np.pad(inside, {sides!r}{inside})")
    crops = [(max(-lo, 0), max(-hi, 0)) for lo, hi in c.pads]
    if any(side for pair in crops for side in pair):
        window = ", ".join(f"slice({lo}, {-hi if hi else None})" for lo, hi in crops)
        pad.append(f"x, inside = x[(..., {window})], inside[(..., {window})]")
    output_shape = c.output_shape if c.batch is not None else (1, *c.output_shape)
    return _REFERENCE.format(
        wide=_wide(c),
        pad="\n    ".join(pad) or "# no padding",
        output_shape=output_shape,
        width=c.in_channels // c.groups,
        per_group=c.out_channels // c.groups,
        out_channels=c.out_channels,
        kernel=c.kernel_size,
        dilation=c.dilation,
        stride=c.stride,
    )


def _bound(case: Case, numerics: Numerics) -> str:
    """Write the tolerance of the declared numerics down; see ``convfuzz.numerics.tolerance``."""
    c = case.config
    if case.recipe.regime == "integers":
        least = "np.nextafter(0.5, 0)" if numerics.algorithm == "transform" else "0.0"
        return f'''
def bound(y, S, Q, n):
    """Every product and partial sum is a representable integer: half a unit off is a wrong sum, a direct one is exact."""
    return np.full(y.shape, {least})
'''
    acc, out = numerics.accumulator_format(c.dtype), FLOATS[c.dtype]
    lines = [
        "def bound(y, S, Q, n):",
        '    """Largest |error| that the declared arithmetic explains (order-free statistical bound on rounding)."""',
        f"    u, u_out = {acc.unit_roundoff!r}, {out.unit_roundoff!r}  # unit roundoff of the accumulator and of the output",
        "    n1 = np.maximum(n, 1)",
        "    mean = y / n1",
        "    variance = np.maximum(Q / n1 - mean * mean, 0)",
        f"    t = {LAMBDA} * u * np.sqrt(n1 * (n1 + 1) / 6 * (variance + (2 * n1 + 1) * mean * mean) + Q)",
    ]
    if c.dtype == "float64":
        lines.append(f"    t = np.where(S < {SQUARES_VANISH!r}, {LAMBDA} * u * np.sqrt(n1 + 1) * S, t)  # where squares vanish")
    if numerics.algorithm == "transform":
        axes = tuple(range(-c.dims, 0))
        lines.append(f"    t = np.maximum(t, {TRANSFORM_FACTOR} * u * np.where(np.isfinite(S), S, 0).max(axis={axes}, keepdims=True))")
    if numerics.inputs != "exact":
        u_in = FLOATS[numerics.inputs].unit_roundoff
        lines.append(f"    t = t + {2 * u_in + u_in * u_in!r} * S  # inputs rounded to {numerics.inputs}")
    if numerics.flushes_subnormals:
        lines.append("    largest = max(float(np.max(np.abs(a), initial=0, where=np.isfinite(a))) for a in (x, w))")
        lines.append(f"    subnormal = max(float(np.max(np.abs(a), initial=0, where=np.abs(a) < {out.tiny!r})) for a in (x, w))")
        lines.append(f"    t = t + n * ({2 * acc.tiny!r} + subnormal * max(largest, 1.0))  # subnormals may be flushed")
    else:
        lines.append(f"    t = t + n * {acc.smallest_subnormal!r}  # underflow")
    if out.unit_roundoff > acc.unit_roundoff and numerics.bias == "separate":
        lines.append("    if b is not None:")
        lines.append("        # the bias is added after a rounding")
        lines.append(f"        t = t + u_out * (np.abs(y - b.astype(y.dtype).reshape(-1, *(1,) * {c.dims})) + t)")
    smallest = out.tiny if numerics.flushes_subnormals else out.smallest_subnormal
    lines.append(f"    return t + u_out * (np.abs(y) + t) + {smallest!r}")
    return "\n".join(lines) + "\n"


def _main(case: Case, finding: Finding, backend: Backend) -> str:
    c = case.config
    out, numerics = FLOATS[c.dtype], backend.numerics(case)
    is_kernel = "::" in finding.backend
    dtype_check = (
        'if actual.dtype != DTYPE:\n        print("BUG: output dtype", actual.dtype, "expected", DTYPE)\n        return 1'
        if is_kernel
        else ""
    )
    return _MAIN.format(
        unbatched=c.batch is None,
        repeats=20 if finding.verdict is Verdict.NONDETERMINISTIC else int(numerics.deterministic),
        dtype_check=dtype_check or "# the dtype is checked in run()",
        wide=_wide(c),
        top=repr(out.max) if c.dtype == "float64" else repr(out.max + 2.0 ** (out.emax - out.precision)),
        accumulator_max=repr(numerics.accumulator_format(c.dtype).max),
        smeared=" | (~np.isfinite(y).all() & ~np.isfinite(actual))" if numerics.algorithm == "transform" else "",
    )
