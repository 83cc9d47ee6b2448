"""What to declare: the narrowest ``Numerics`` that fits what was seen, tried on drawn cases before it is given."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from convfuzz.backends import Backend, Numerics, Outputs, Support
from convfuzz.case import Case, DataRecipe
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import FLOATS
from convfuzz.case.recipe import regimes_of
from convfuzz.checking.checker import Checker, fold_check
from convfuzz.errors import InvalidConfig
from convfuzz.judging.judge import Judge
from convfuzz.judging.numerics import INPUT_ROUNDINGS, OUTPUT_ROUNDINGS, Rounding
from convfuzz.revealing.formats import Formats
from convfuzz.revealing.sheet import Notes
from convfuzz.tensors.generator import Tensors, make_tensors
from convfuzz.verdicts import Verdict

_CASES, _FEWEST_CASES = 300, 40
_WORTH = 1.1
"""By how much a tolerance has to shrink for an order to be advised."""
_GRADIENTS = 0.2
"""The share of the drawn layers whose gradients are computed too, where the backend has any."""


@dataclass(frozen=True)
class Advice:
    """A declaration, ``None`` where none was found that the drawn cases agree with; how many cases that were, and how much sharper it is.

    ``sharper`` is the median over the outputs of the tolerance under what is declared today, divided by that under the advice.
    ``coarser`` are the parts that allow what today's declaration does not.
    """

    numerics: Numerics | None
    cases: int = 0
    sharper: float | None = None
    coarser: tuple[str, ...] = ()


class Declaring:
    """A backend under another declaration of its arithmetic."""

    def __init__(self, backend: Backend, numerics: Numerics) -> None:
        self.name = backend.name
        self._backend, self._numerics = backend, numerics

    @property
    def versions(self) -> Mapping[str, str]:
        """Those of the backend."""
        return self._backend.versions

    def supports(self, case: Case) -> Support:
        """As the backend says."""
        return self._backend.supports(case)

    def numerics(self, case: Case) -> Numerics:
        """The other declaration."""
        del case
        return self._numerics

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """As the backend does."""
        return self._backend.run(case, tensors)


def line_of(numerics: Numerics) -> str:
    """Return a declaration as the line to paste: what differs from the defaults."""
    plain = Numerics()
    said = {f.name: getattr(numerics, f.name) for f in fields(numerics) if getattr(numerics, f.name) != getattr(plain, f.name)}
    return f"Numerics({', '.join(f'{name}={_written(value)}' for name, value in said.items())})"


def _written(value: object) -> str:
    return line_of(value) if isinstance(value, Numerics) else repr(value)


def coarser_parts(advised: Numerics, declared: Numerics, dtype: str) -> tuple[str, ...]:
    """Return what of the forward pass's arithmetic, as it would be declared, allows larger errors than what is declared today.

    A mistake in the arithmetic itself, such as inputs that lose bits, is measured as faithfully as what is meant: who pastes its
    declaration is not told of it again.
    """
    plain = Rounding(FLOATS["float64"])
    roundings = {"exact": plain, **INPUT_ROUNDINGS, **OUTPUT_ROUNDINGS}
    losses: dict[str, Callable[[Numerics], float]] = {
        "accumulator": lambda one: one.accumulator_format(dtype).unit_roundoff,
        "inputs": lambda one: roundings[one.inputs].error,
        "algorithm": lambda one: one.algorithm == "transform",
        "bias": lambda one: one.bias == "separate",
        "flushes_subnormals": lambda one: one.flushes_subnormals,
        "outputs": lambda one: roundings[one.outputs].error,
        "deterministic": lambda one: not one.deterministic,
        "truncates": lambda one: one.truncates,
    }
    return tuple(f"{name}={getattr(advised, name)!r}" for name, loss in losses.items() if loss(advised) > loss(declared))


def advise(
    backend: Backend, config: ConvConfig, narrowest: Numerics, notes: Notes, *, order: str | None = None, seconds: float = 3.5
) -> Advice:
    """Try the narrowest declaration on drawn cases, and wider ones as long as a case is beyond it.

    A wider one is taken only for a reason that a case gives: one that is imprecise under the narrower, since it is computed in another
    way than the one that was measured. Gradients, which were not measured, keep what is declared of them where they are beyond it. Any
    other finding is no matter of arithmetic, and ends the search. The cases are of the measured one's operation, dtype and
    dims, with other sizes and every regime of data. An ``order`` is declared where it makes the tolerance of this layer sharper.
    """
    until = time.perf_counter() + seconds
    declared = backend.numerics(Case(config))
    in_gradients = replace(declared.in_pass("grad_input"), gradients=None)
    hard: list[Case] = []
    gradients: Numerics | None = None
    waiting = [narrowest, *_wider(narrowest, declared)]
    if order is not None and (in_order := _in_order(config, narrowest, order)) is not None:
        waiting.insert(0, in_order)
    while waiting:
        numerics = replace(waiting[0], gradients=None if gradients == waiting[0].in_any_order() else gradients)
        cases, failed = _tried(Declaring(backend, numerics), config, hard, until)
        if failed is None:
            notes.saw(f"{line_of(numerics)} on drawn cases", f"{cases} cases, no finding")
            return Advice(numerics, cases, _sharper(config, declared, numerics), coarser_parts(numerics, declared, config.dtype))
        told = f"{failed.verdict} on {failed.case}: {failed.reason}"
        notes.saw(f"{line_of(numerics)} on drawn cases", f"beyond it: {told}")
        if failed.verdict is not Verdict.IMPRECISE:
            notes.not_understood.append(f"no advice, for a finding that is no matter of precision: {told}")
            return Advice(None)
        hard.append(failed.case)
        if failed.in_pass != "forward" and gradients is None and in_gradients != waiting[0].in_any_order():
            gradients = in_gradients
        else:
            waiting.pop(0)
    notes.not_understood.append("no declaration that was tried holds for the cases drawn around this one")
    return Advice(None)


def narrowest_numerics(
    formats: Formats | None,
    config: ConvConfig,
    declared: Numerics,
    *,
    transform: bool,
    bias: str | None,
    repeats: bool,
    rounded_products: bool = False,
) -> Numerics:
    """Return the narrowest declaration of what was seen; what was not found out stays as it is declared today.

    Products that are rounded to the operands' format before they are added in a longer one lose as much as sums in that format do.
    """
    if transform or formats is None:
        algorithm: Any = "transform" if transform else declared.algorithm
        return replace(declared, algorithm=algorithm, complex_products="four", gradients=None, order=None)
    usual = "float32" if config.dtype in ("float16", "bfloat16") else config.dtype
    accumulator = formats.shortest if formats.shortest in FLOATS else declared.accumulator
    if rounded_products and accumulator is not None and FLOATS[accumulator].precision > FLOATS[config.dtype].precision:
        accumulator = config.dtype
    inputs = _coarser_input(formats.inputs, declared)
    stored = formats.outputs if formats.outputs in OUTPUT_ROUNDINGS else "exact"
    if formats.output_rounding in ("truncation", "stochastic", "up", "down") and config.dtype in OUTPUT_ROUNDINGS:
        stored = config.dtype
    return Numerics(
        accumulator=None if accumulator == usual else accumulator,
        inputs=inputs,
        bias="separate" if bias == "separate" else "fused",
        flushes_subnormals=declared.flushes_subnormals if formats.flushes is None else bool(formats.flushes),
        deterministic=repeats,
        outputs=stored,  # type: ignore[arg-type]
    )


def _in_order(config: ConvConfig, narrowest: Numerics, order: str) -> Numerics | None:
    """Return the declaration with an order if that is worth a word: where the output's own rounding is most of it, it is not."""
    if narrowest.algorithm == "transform":
        return None
    in_order = replace(narrowest, order=order)
    sharper = _sharper(config, narrowest, in_order)
    return in_order if sharper is not None and sharper >= _WORTH else None


def _coarser_input(inputs: str, declared: Numerics) -> Any:
    """Return the declarable rounding that covers what was seen of both operands."""
    named = [part.split()[-1] for part in inputs.split(", ")]
    coarsest = max(named, key=lambda name: INPUT_ROUNDINGS[name].error if name in INPUT_ROUNDINGS else 0.0)
    if coarsest == "unknown":
        return declared.inputs
    return {"float16": "tfloat32", "float16-truncated": "tfloat32-truncated"}.get(
        coarsest, coarsest if coarsest in INPUT_ROUNDINGS else "exact"
    )


def _wider(numerics: Numerics, declared: Numerics) -> Iterator[Numerics]:
    """Yield wider declarations, one step at a time, and what is declared today at last."""
    steps: tuple[dict[str, Any], ...] = (
        {"flushes_subnormals": True},
        {"bias": "separate"},
        {"accumulator": None},
        {"algorithm": "transform"},
    )
    seen = [numerics]
    for step in steps:
        for one in (replace(numerics, **step), replace(numerics, **{"flushes_subnormals": True, **step})):
            if one not in seen:
                seen.append(one)
                yield one
    if declared not in seen:
        yield replace(declared, complex_products="four", gradients=None)


@dataclass(frozen=True)
class _Failed:
    """A case that is beyond a declaration, and how."""

    case: Case
    verdict: Verdict
    reason: str
    in_pass: str


def _tried(backend: Declaring, config: ConvConfig, hard: list[Case], until: float) -> tuple[int, _Failed | None]:
    """Return how many cases agreed before the first that does not, and that; what other declarations failed on, ``hard``, goes first."""
    checker, agreed = Checker([backend]), 0
    has_gradients = bool(backend.supports(Case(config, grad=True)))
    for case in itertools.chain(hard, _around(config)):
        if agreed >= _FEWEST_CASES and time.perf_counter() > until:
            break
        if case.grad and not has_gradients:
            case = case.changed(grad=False)  # noqa: PLW2901 - the same data, of the pass that there is
        for result in fold_check(case, checker.events(case)).results:
            if result.verdict.failing:
                return agreed, _Failed(case, result.verdict, result.reason, result.in_pass)
            agreed += result.verdict is Verdict.AGREE
    return agreed, None


def _around(config: ConvConfig) -> Iterator[Case]:
    """Yield cases near a configuration: first itself on every regime, then other sizes, strides, paddings and kernels.

    Some have gradients, whose arithmetic a declaration speaks of as well.
    """
    draws = np.random.default_rng(17)
    regimes = regimes_of(config.dtype)
    for seed in range(2):
        yield from (Case(config, DataRecipe(regime, seed), grad=seed == 1) for regime in regimes)
    made = 2 * len(regimes)
    while made < _CASES:
        other = _varied(config, draws)
        if other is None:
            continue
        has_gradients = bool(draws.random() < _GRADIENTS)
        for _ in range(4):
            yield Case(other, DataRecipe(str(draws.choice(regimes)), int(draws.integers(1000))), grad=has_gradients)
            made += 1


def _varied(config: ConvConfig, draws: np.random.Generator) -> ConvConfig | None:
    def drawn(*values: int) -> int:
        return int(draws.choice(values))

    groups = config.groups
    changes: dict[str, Any] = {
        "in_channels": groups * drawn(1, 2, 3, 5, 8, 16, 17, 32),
        "out_channels": groups * drawn(1, 2, 3, 7, 8, 16),
        "input_size": tuple(drawn(1, 3, 4, 5, 7, 9, 12) for _ in range(config.dims)),
        "kernel_size": tuple(drawn(1, 2, 3, 3, 5) for _ in range(config.dims)),
        "stride": tuple(drawn(1, 1, 2) for _ in range(config.dims)),
        "dilation": tuple(drawn(1, 1, 1, 2) for _ in range(config.dims)),
        "padding": tuple(drawn(0, 1, 2) for _ in range(config.dims)),
        "bias": bool(config.bias and drawn(0, 1, 1)),
        "output_padding": (0,) * config.dims,
    }
    if config.batch is not None:
        changes["batch"] = drawn(1, 2, 3)
    try:
        other = config.replace(**changes)
    except InvalidConfig:
        return None
    return other if other.is_valid else None


def _sharper(config: ConvConfig, declared: Numerics, advised: Numerics) -> float | None:
    """Return by how much the tolerance of normal data shrinks, at the median of the outputs; ``None`` where the case has no tolerance."""
    if not declared.values:
        return None
    case = Case(config, DataRecipe("normal", 1))
    tensors = make_tensors(case)
    judge = Judge(case, tensors)
    zeros = np.zeros(config.output_shape, tensors.x.dtype)
    before, after = (judge.errors(zeros, numerics)[1] for numerics in (declared, advised))
    return float(np.median(before / after))
