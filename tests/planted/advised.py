"""Kernels that declare what ``reveal`` advised, in each operation and dtype, as an author does who pastes the lines."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from convfuzz import Case, ConvConfig, Numerics
from convfuzz.backends import Backend
from convfuzz.errors import UsageError
from convfuzz.revealing.advice import Declaring
from convfuzz.revealing.measurement import reveal

from .campaigns import verdicts

LAYERS = {"conv": "conv2d_n24_c8_o2_i3_k3_b", "conv_transpose": "convt2d_n24_c8_o2_i3_k3_b"}
DTYPES = {"float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16"}
CALLS = 6
NumericsOf = Callable[[ConvConfig], Numerics]
Advised = dict[tuple[str, str], str]


def advised(backend: Backend) -> Advised:
    """Return the line that is advised for each operation and dtype; where there is no advice, or nothing to measure, there is no line."""
    lines = {}
    for op, layer in LAYERS.items():
        for dtype, token in DTYPES.items():
            if backend.supports(Case.parse(f"{layer}_{token}")):
                lines[op, dtype] = reveal(backend, f"{layer}_{token}", invariance=False).declare
    return {key: line for key, line in lines.items() if line}


def declaration(lines: Advised) -> NumericsOf:
    """Return the function that a kernel declares as its numerics; what was not measured has the default."""
    numerics = {key: eval(line, {"Numerics": Numerics}) for key, line in lines.items()}  # noqa: S307 - the lines that a user pastes
    return lambda config: numerics.get((config.op, config.dtype), Numerics())


class Declared(Declaring):
    """A kernel as it is, under a declaration of its numerics that depends on the configuration."""

    def __init__(self, backend: Backend, numerics: NumericsOf) -> None:
        super().__init__(backend, Numerics())
        self.numerics_of = numerics

    def numerics(self, case: Case) -> Numerics:
        """The declaration."""
        return self.numerics_of(case.config)


class Own(StrEnum):
    """What becomes of a wrong kernel whose author reveals it and declares what is advised for it, on the case that shows its mistake."""

    NOT_MEASURED = "not measured: integers, complex numbers"
    REFUSED = "refused: sums of small integers are wrong"
    NO_ADVICE = "no advice, and the case that forbids it"
    CAUGHT = "caught under its own advice"
    COARSER = "declared away, and told to be coarser than what is declared today"
    UNSEEN = "declared away unseen"


def of_its_own(backend: Backend, shows: Case) -> Own:
    """Reveal a wrong kernel in the operation and dtype of the case that ``shows`` its mistake, declare the advice, and run the case."""
    config = shows.config
    if config.dtype not in DTYPES:
        return Own.NOT_MEASURED
    try:
        sheet = reveal(backend, f"{LAYERS[config.op]}_{DTYPES[config.dtype]}", invariance=False)
    except UsageError:
        return Own.REFUSED
    if not sheet.declare:
        return Own.NO_ADVICE
    declared = declaration({(config.op, config.dtype): sheet.declare})
    if is_caught(Declared(backend, declared), shows):
        return Own.CAUGHT
    return Own.COARSER if sheet.coarser else Own.UNSEEN


def is_caught(backend: Backend, case: Case) -> bool:
    """Whether one of a few calls fails: some mistakes show in every fifth only."""
    return any(event.verdict.failing for _ in range(CALLS) for event in verdicts([backend], case))
