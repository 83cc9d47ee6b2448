"""Made-up campaigns, written through the real journal, run file and finding files."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from convfuzz.case import Case
from convfuzz.case.features import particular
from convfuzz.record.confirmation import Confirmation, Step, Tally
from convfuzz.record.counts import BackendSummary
from convfuzz.record.error_map import ErrorMap, map_errors
from convfuzz.record.events import BackendEnded, BackendStarted, CanaryEnded, CaseEnded, CaseStarted, FindingKept, RoundEnded, RoundStarted
from convfuzz.record.finding import Element, Finding, fingerprint
from convfuzz.record.journal import JournalWriter
from convfuzz.record.run_directory import Canary, FindingLine, RunInfo, write_finding, write_run_info
from convfuzz.system.json_records import Real
from convfuzz.verdicts import Discrepancy, Verdict

STARTED = 1_763_863_200.0
KERNEL = "kernels.py::my_conv"
CAUGHT = Canary(12, 12)
CONFIRMED = Confirmation(alone=Tally(5, 5))
BACKENDS = (KERNEL, "torch", "torch+split", "torch:native", "tensorflow")
VERSIONS = {"torch": "2.13.0+cpu", "tensorflow": "2.21.0", "numpy": "2.3.5"}
SPACING = {"float64": 2.2e-16, "float32": 1.2e-7, "bfloat16": 7.8e-3, "float16": 9.8e-4, "complex64": 1.2e-7, "int32": 0.0, "int8": 0.0}
TOKENS = {"f64": "float64", "f32": "float32", "bf16": "bfloat16", "f16": "float16", "c64": "complex64", "i32": "int32", "i8": "int8"}
TOO_LARGE = "tensors and results take more than 4 GiB"


def off(elements: int, max_abs: float, **values: Any) -> Discrepancy:
    """Return a discrepancy, its floats given as plain ones."""
    typed: dict[str, Any] = {name: Real(value) if isinstance(value, float) else value for name, value in values.items()}
    return Discrepancy(elements=elements, max_abs=Real(max_abs), **typed)


def element(index: tuple[int, ...], expected: float, actual: float) -> Element:
    """Return one output element that is off."""
    return Element(index, Real(expected), Real(actual))


def finding(
    case: str,
    *,
    backend: str = KERNEL,
    verdict: Verdict = Verdict.WRONG,
    in_pass: str = "forward",
    first: str = "",
    reason: str = "",
    model: str = "",
    reduction: str = "minimal",
    confirmation: Confirmation = CONFIRMED,
    discrepancy: Discrepancy | None = None,
    elements: Sequence[Element] = (),
    count: int = 1,
    dense: str = "",
    companion: str = "",
    boundary: str = "",
    error_map: ErrorMap | None = None,
) -> Finding:
    """Return a finding as the campaign keeps it."""
    parsed = Case.parse(case)
    return Finding(
        fingerprint=fingerprint(parsed, backend, verdict, in_pass, model),
        verdict=verdict,
        in_pass=in_pass,
        backend=backend,
        case=case,
        first_case=first or case,
        model=model,
        reason=reason,
        reduction=reduction,
        confirmation=confirmation,
        count=count,
        dense=dense,
        companion=companion,
        boundary=boundary,
        features=particular(parsed.config),
        discrepancy=discrepancy,
        elements=list(elements),
        error_map=error_map,
        versions=VERSIONS,
    )


def _second_kernel_of_each_group() -> ErrorMap | None:
    """Return the map of a result that is off in the second of every six channels, on its last two rows."""
    off = np.zeros((4, 24, 31, 7), dtype=bool)
    off[:, 1::6, -2:, :] = True
    return map_errors("conv2d_n4_c12_o24_g4_i31x7_k3_p2_d2_b_f32_cl@normal.3", off, sites=2)


def findings() -> list[Finding]:
    """Return findings that differ in verdict, backend, pass, dtype and shape."""
    return [*_forward(), *_transposed(), *_gradients(), *_other_dtypes(), *_invalid()]


def _forward() -> list[Finding]:
    return [
        finding(
            "conv2d_c1_o1_i2_k2_s2_p1_f32@integers.7",
            first="conv2d_n2_c8_o16_g2_i17x19_k3x5_s2x1_p1x2_b_f32@normal.42",
            reason="integers off by 3: a tap is missing, doubled or misplaced",
            dense="x has 70 parts none of which can be zero",
            companion="conv2d_c1_o1_i2_k2_p1_f32@integers.7",
            boundary="fails at stride 2, works at 1",
            discrepancy=off(4, 3.0, index=(0, 0, 1, 1), expected=3.0, actual=0.0, ulps=12582912.0, over=2, required_rtol=1.0),
            elements=[element((0, 0, 1, 1), 3.0, 0.0), element((0, 0, 0, 1), -2.0, -1.0)],
            count=1204,
        ),
        finding(
            "conv2d_c2_o2_g2_i5_k3_p2_d2_f32@normal.3",
            first="conv2d_n4_c12_o24_g4_i31x7_k3_p2_d2_b_f32_cl@normal.3",
            reason="18 of 50 elements no order of summation explains it, worst 2.1e+05 times the tolerance; "
            "wrong on integers too (integers off by 2)",
            discrepancy=off(
                50,
                2.4331,
                index=(0, 1, 4, 2),
                expected=-1.20717,
                actual=1.22593,
                ulps=20409344.0,
                u_s=8.3e6,
                ratio=213400.0,
                ratio_index=(0, 1, 4, 2),
                over=18,
                required_rtol=2.0155,
            ),
            elements=[
                element((0, 1, 4, 2), -1.20717, 1.22593),
                element((0, 1, 0, 0), 0.833124518, 2.14412093),
                element((0, 0, 2, 4), 1.5e-05, -0.71250),
                element((0, 0, 3, 3), -0.318, -0.11),
            ],
            error_map=_second_kernel_of_each_group(),
            count=311,
        ),
        finding(
            "conv3d_c1_o1_i1x3x3_k1x1x3_s1x1x2_p0x0x1:2_f16@special.9",
            verdict=Verdict.NON_FINITE,
            boundary="none of <b>4</b> neighbouring cases passes",
            reason="2 of 9 elements: at [0, 0, 0, 1, 0] expected -0.3418, got nan",
            discrepancy=off(9, 0.0002, index=(0, 0, 0, 2, 1), expected=1.25, actual=1.2502, ratio=0.4, non_finite=2),
            count=7,
        ),
        finding(
            "conv2d_c16_o1_i1_k1_f32@cancellation.12",
            backend="torch:native",
            verdict=Verdict.IMPRECISE,
            reason="1 of 1 elements beyond the statistical bound, worst 31.4 times the tolerance; "
            "exact on integers; explained by TF32 inputs",
            model="TF32 inputs",
            reduction="budget spent",
            discrepancy=off(
                1,
                0.000913,
                index=(0, 0, 0, 0),
                expected=0.0412093,
                actual=0.0421223,
                ulps=245067.0,
                u_s=912.0,
                ratio=31.4,
                ratio_index=(0, 0, 0, 0),
                over=1,
                required_rtol=0.0221,
            ),
            elements=[element((0, 0, 0, 0), 0.0412093, 0.0421223)],
            count=96,
        ),
        finding(
            "conv2d_n32_c4_o8_i32_k1_s2_f32_cl",
            backend="torch",
            verdict=Verdict.CRASH,
            first="conv2d_n32_c4_o8_i32_k1_s2_b_f32_cl_grad@normal.1",
            reason="the worker was killed by SIGSEGV inside torch",
            reduction="not reproduced",
            confirmation=Confirmation(alone=Tally(0, 8), after=Tally(0, 2)),
        ),
        finding(
            "conv1d_c0_o4_i5_k3_f32",
            backend="tensorflow",
            verdict=Verdict.ERROR,
            reason="InvalidArgumentError: input depth must be positive: 0",
            count=4,
        ),
        finding(
            "conv1d_c3_o1_i40_k3_p4_d4_pmreflect_bf16",
            backend="torch+split",
            verdict=Verdict.TIMEOUT,
            confirmation=Confirmation(
                alone=Tally(0, 2),
                after=Tally(2, 2),
                preceding=[Step("torch", "conv2d_n2_c3_o2_i5_k3_f32@normal.7"), Step("torch+split", "conv1d_c3_o1_i40_k3_f32@normal.3")],
                preceding_is_minimal=True,
            ),
            reason="no result after 30 s",
            count=2,
        ),
        finding(
            "conv2d_c1_o1_i64_k1_f64",
            backend="tensorflow",
            verdict=Verdict.NONDETERMINISTIC,
            reason="two runs on the same inputs differ by 1.11e-16",
            confirmation=Confirmation(alone=Tally(3, 8)),
            discrepancy=off(4096, 1.11e-16, index=(0, 0, 9, 13), expected=0.5, actual=0.5, ulps=1.0, ratio=0.02, over=0),
        ),
    ]


def _transposed() -> list[Finding]:
    return [
        finding(
            "convt2d_c1_o1_i3_k3_s2_p1_op1_f32", verdict=Verdict.WRONG_SHAPE, reason="shape (1, 1, 5, 5), expected (1, 1, 6, 6)", count=42
        ),
        finding(
            "convt2d_c4_o6_g2_i3x4_k2x3_s3x2_p0x1_op1x0_b_f32@integers.9",
            reason="integers off by 7: a tap is missing, doubled or misplaced",
            discrepancy=off(378, 7.0, index=(0, 5, 3, 4), expected=7.0, actual=0.0, ulps=14680064.0, over=14, required_rtol=1.0),
            elements=[element((0, 5, 3, 4), 7.0, 0.0), element((0, 5, 0, 2), -3.0, 1.0)],
            count=23,
        ),
    ]


def _gradients() -> list[Finding]:
    return [
        finding(
            "conv2d_n2_c4_o6_g2_i4x5_k3x2_s2_p1_f32_grad@integers.5",
            in_pass="grad_weight",
            reason="integers off by 12: a tap is missing, doubled or misplaced",
            discrepancy=off(72, 12.0, index=(5, 1, 2, 0), expected=-5.0, actual=7.0, ulps=2.5e7, over=12, required_rtol=2.4),
            elements=[element((5, 1, 2, 0), -5.0, 7.0), element((0, 0, 2, 0), 4.0, -1.0)],
            count=31,
        ),
        finding(
            "conv1d_c1_o1_i9_k2_s3_p1_pmcircular_f16_grad@normal.8",
            backend="torch",
            verdict=Verdict.IMPRECISE,
            in_pass="grad_input",
            model="float16 accumulation",
            reason="1 of 9 elements are off, worst 1.86 times the tolerance; exact on integers; explained by float16 accumulation",
            discrepancy=off(
                9, 0.00049, index=(0, 0, 0), expected=0.37, actual=0.3705, ulps=1.0, u_s=700.0, ratio=1.86, ratio_index=(0, 0, 2), over=1
            ),
            elements=[element((0, 0, 0), 0.37, 0.3705), element((0, 0, 2), 0.0021, 0.0018)],
            count=7,
        ),
        finding(
            "convt3d_n-_c1_o2_i2_k2_b_f64_wtr_grad@positive.4",
            verdict=Verdict.WRONG,
            in_pass="grad_bias",
            reason="2 of 2 elements are off, worst 4.1e+13 times the tolerance; wrong on integers too (integers off by 8)",
            discrepancy=off(
                2, 13.1, index=(1,), expected=13.9, actual=0.8, ulps=7.4e15, u_s=8.5e15, ratio=4.1e13, ratio_index=(1,), over=2,
                required_rtol=float("inf"),
            ),
            elements=[element((1,), 13.9, 0.8), element((0,), 12.2, 1.1)],
            count=3,
        ),
    ]  # fmt: skip


def _other_dtypes() -> list[Finding]:
    return [
        finding(
            "conv2d_c1_o1_i3_k2_c64@normal.1",
            reason="4 of 8 elements are off, worst 3.2e+06 times the tolerance; wrong on integers too (integers off by 9)",
            discrepancy=off(
                8, 1.75, index=(0, 0, 1, 0, 1), expected=0.75, actual=-1.0, ulps=2.9e7, u_s=1.1e7, ratio=3.2e6,
                ratio_index=(0, 0, 1, 0, 1), over=4, required_rtol=2.34,
            ),
            elements=[element((0, 0, 1, 0, 1), 0.75, -1.0), element((0, 0, 0, 0, 0), 0.5, 0.25)],
            count=12,
        ),
        finding(
            "conv1d_c1_o1_i3_k2_i32@huge.2",
            reason="2 of 2 integers are off: at [0, 0, 1] expected -2147483648, got 2147483647",
            discrepancy=off(2, 4294967295.0, index=(0, 0, 1), expected=-2147483648.0, actual=2147483647.0, over=2, required_rtol=2.0),
            elements=[element((0, 0, 1), -2147483648.0, 2147483647.0), element((0, 0, 0), 1000000007.0, 1000000006.0)],
            count=5,
        ),
        finding(
            "conv1d_c1_o1_i1_k1_i64@huge.3",
            backend="tensorflow",
            reason="1 of 1 integers are off: at [0, 0, 0] expected 9223372036854775807, got 9223372036854775806",
            discrepancy=off(1, 1.0, index=(0, 0, 0), expected=2.0**63, actual=2.0**63, over=1),
            elements=[element((0, 0, 0), 2.0**63, 2.0**63)],
        ),
    ]  # fmt: skip


def _invalid() -> list[Finding]:
    return [
        finding(
            "conv2d_c1_o1_i2_k3x1_pvalid_f32",
            backend="tensorflow",
            verdict=Verdict.ACCEPTED_INVALID,
            reason="returned shape (1, 1, 0, 2)",
            count=18,
        ),
        finding(
            "conv2d_c3_o2_i4_k3_b_f32_cl_bad-input-channels",
            verdict=Verdict.ACCEPTED_INVALID,
            reason="the input has one channel more than the weight takes; returned shape (1, 2, 2, 2)",
            count=9,
        ),
        finding(
            "conv1d_c1_o9223372036854775807_i4_k2_p-9223372036854775808_d9223372036854775807_f32_grad",
            backend="torch",
            verdict=Verdict.MEMORY,
            reason="the worker grew past 8 GiB inside torch",
        ),
    ]


def script(found: Finding) -> str:
    """Return a reproduction script for ``found``, as long as real ones are."""
    body = "\n".join(f"    # {i:3d}  counter-based generator, the same bytes everywhere" for i in range(120))
    title = f"Reproduces {found.fingerprint}: {found.verdict} in {found.backend}."
    return f'"""{title}"""\n\nCASE = {found.case!r}\n\n\ndef main() -> None:\n{body}\n'


def run_info(found: Sequence[Finding] = (), *, canary: Canary = CAUGHT, **changes: Any) -> RunInfo:
    """Return the facts of a finished run."""
    fields: dict[str, Any] = {
        "seed": 20251123,
        "strategy": "everything",
        "backends": list(BACKENDS),
        "arguments": {"time": 60.0, "max_cases": None},
        "versions": VERSIONS,
        "machine": {"system": "Linux 6.8.0", "processor": "AMD EPYC 7B13", "cores": "2", "memory": "8 GiB"},
        "started": STARTED,
        "tool_version": "0.1.0",
        "stopped": "time",
        "exit_status": 1 if found else 0,
        "elapsed_s": 60.0,
        "canary": canary,
        "findings": [FindingLine(f.fingerprint, f.verdict, f.backend, f.case, f.max_abs) for f in found],
    }
    return RunInfo(**(fields | changes))


def write_campaign(
    directory: Path,
    *,
    cases: int = 400,
    found: Sequence[Finding] = (),
    backends: Sequence[str] = BACKENDS,
    canary: Canary = CAUGHT,
    seed: int = 1,
    known: Mapping[str, str] | None = None,
    **info: Any,
) -> Path:
    """Write a run directory with ``cases`` cases whose errors look like sums in each dtype, and ``found`` findings.

    ``known`` are the bugs that findings are signs of, by fingerprint.
    """
    for name in ("findings", "repro"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)  # noqa: S311 - the same campaign every time
    with JournalWriter(directory, "w0") as journal:
        journal.write(RoundStarted(0, seed, STARTED))
        for number in range(cases):
            _write_case(journal, draw, number, backends, failing=bool(found))
        for number in range(canary.planted):
            journal.write(CanaryEnded(number < canary.caught, Verdict.WRONG))
        for one in found:
            for _ in range(min(one.count, 3)):
                journal.write(msgspec.structs.replace(_kept(one), known_as=(known or {}).get(one.fingerprint, "")))
        journal.write(RoundEnded(0, cases, STARTED + 60.0))
    for one in found:
        write_finding(directory, one)
        (directory / "repro" / f"{one.fingerprint}.py").write_text(script(one), encoding="utf-8")
    write_run_info(directory, run_info(found, canary=canary, backends=list(backends), **info))
    return directory


def compared(*, one: bool) -> BackendSummary:
    """Return what a summary counts of a backend that agreed many times, and failed on ``one`` case or on none."""
    counted = BackendSummary()
    counted.verdicts.update({Verdict.AGREE: 500, Verdict.IMPRECISE: int(one)})
    counted.coverage.configs.update(range(400))
    return counted


def _kept(one: Finding) -> FindingKept:
    return FindingKept(
        fingerprint=one.fingerprint,
        backend=one.backend,
        verdict=one.verdict,
        case=one.first_case,
        minimal=one.case,
        model=one.model,
        in_pass=one.in_pass,
        max_abs=one.max_abs,
    )


def _skip(backend: str, reason: str) -> BackendEnded:
    return BackendEnded(backend=backend, verdict=Verdict.UNSUPPORTED, seconds=0.0, reason=reason)


def _line(draw: random.Random) -> tuple[str, str, str]:
    """Return a random case line, its dtype and its regime."""
    op, dims = draw.choices(["conv", "convt"], [4, 1])[0], draw.choices([1, 2, 3], [1, 4, 1])[0]
    channels, groups = draw.choice([(1, 1), (4, 1), (4, 2), (6, 6), (12, 3), (32, 1)])
    token = draw.choices(list(TOKENS), [2, 12, 4, 4, 1, 1, 1])[0]
    regimes = ["normal", "integers", "positive", "sparse", "cancellation"][: 4 if token[0] == "i" else 5]
    regime = draw.choices(regimes, [5, 3, 1, 1, 1][: len(regimes)])[0]
    parts = [f"{op}{dims}d", f"n{draw.choice([2, 3, 4])}", f"c{channels}", f"o{channels * draw.choice([1, 2])}"]
    parts += [f"g{groups}"] * (groups > 1)
    parts += [f"i{draw.randint(7, 20)}", f"k{draw.choice([1, 2, 3, 5])}"]
    parts += [f"s{draw.choice([2, 3])}"] * (draw.random() < 0.3)
    parts += [f"p{draw.choice(['1', '2', '0:1'])}"] * (draw.random() < 0.5)
    parts += ["d2"] * (draw.random() < 0.15)
    parts += ["op1"] * (op == "convt" and {"s2", "s3", "d2"} & set(parts) != set())
    parts += ["b"] * (draw.random() < 0.5)
    parts += [token]
    parts += ["cl"] * (draw.random() < 0.2)
    parts += ["wtr"] * (draw.random() < 0.1)
    parts += ["grad"] * (token[0] != "i" and draw.random() < 0.3)
    return f"{'_'.join(parts)}@{regime}.{draw.randint(0, 9999)}", TOKENS[token], regime


def _write_case(journal: JournalWriter, draw: random.Random, number: int, backends: Sequence[str], *, failing: bool) -> None:
    line, dtype, regime = _line(draw)
    time = STARTED + 60.0 * number / 12_000
    if number % 100 == 7:
        journal.write(CaseStarted("conv3d_n64_c64_o64_i256_k3_f32", time))
        journal.write(CaseEnded(skipped=TOO_LARGE, overhead_seconds=0.0001))
        return
    is_flawed = number % 50 == 9
    case = Case.parse("conv2d_c3_o4_i8_k3_f32_bad-weight-rank" if is_flawed else line)
    journal.write(CaseStarted(str(case), time))
    errors = {}
    for backend in backends:
        journal.write(BackendStarted(backend))
        if backend == "tensorflow" and line.startswith("convt3d"):
            journal.write(_skip(backend, "tensorflow has no transposed 3-D convolution"))
            continue
        if backend == "torch+split" and "_n4_" in line:
            journal.write(_skip(backend, "more than 64 kernels to split, over the budget of a round"))
            continue
        seconds = {"torch": 0.0012, "tensorflow": 0.0019, KERNEL: 0.0007}.get(backend, 0.0015) * draw.uniform(0.6, 1.6)
        if is_flawed:
            journal.write(BackendEnded(backend=backend, verdict=Verdict.AGREE, seconds=seconds, reason="rejected: ValueError"))
            continue
        found = {in_pass: _result(draw, dtype, regime, exact=backend == "torch+split" and draw.random() < 0.6) for in_pass in case.passes}
        wrong = failing and backend == KERNEL and draw.random() < 0.02
        if wrong:
            found["forward"] = off(64, 1.0, over=1) if dtype[0] == "i" else off(64, 0.25, ratio=2.0 ** draw.uniform(8, 17), over=1)
        errors[backend] = found["forward"].max_abs
        verdict = Verdict.WRONG if wrong else Verdict.AGREE
        passes = {"forward": found["forward"]} if backend == "tensorflow" and "_b_" in line else found
        journal.write(BackendEnded(backend=backend, verdict=verdict, seconds=seconds, discrepancies=passes))
    names = list(errors)
    pairs = [(a, b, Real(abs(errors[a] - errors[b]))) for i, a in enumerate(names) for b in names[i + 1 :]]
    journal.write(CaseEnded(pairs=pairs, reference_seconds=0.0004, overhead_seconds=0.0011))


def _result(draw: random.Random, dtype: str, regime: str, *, exact: bool) -> Discrepancy:
    """Return a discrepancy as rounding gives it."""
    if dtype[0] == "i" or regime == "integers":
        return off(64, 0.0)
    ratio = 0.0 if exact else 2.0 ** min(draw.gauss(-4, 1.6), -0.2)
    return off(64, SPACING[dtype] * ratio * 8, ratio=ratio)
