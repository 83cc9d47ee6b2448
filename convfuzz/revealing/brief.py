"""The data sheet of a backend for the report of a campaign: on the first of a few layers that it computes, within a few seconds."""

from __future__ import annotations

from convfuzz.backends import Backend
from convfuzz.case import Case
from convfuzz.errors import ConvfuzzError
from convfuzz.record.arithmetic import Arithmetic, Change
from convfuzz.revealing.invariance import KINDS, MEANINGS
from convfuzz.revealing.measurement import DEFAULT_CASE, reveal
from convfuzz.revealing.sheet import Sheet
from convfuzz.revealing.text import line, rows

LAYERS = (
    DEFAULT_CASE,
    DEFAULT_CASE.replace("_b_", "_"),
    "conv2d_c16_o16_i8_k3_p1_f32",
    "conv1d_n8_c16_o16_i16_k5_p2_f32",
    "conv2d_n8_c16_o16_g16_i8_k3_p1_f32",
    "conv1d_n8_c16_o16_g16_i16_k4_p3:0_f32",
    "conv3d_n8_c16_o16_i6_k3_p1_f32",
    "convt2d_n8_c16_o16_i8_k3_p1_f32",
    DEFAULT_CASE.replace("f32", "f16"),
    DEFAULT_CASE.replace("f32", "bf16"),
    DEFAULT_CASE.replace("_b_f32", "_f16"),
    DEFAULT_CASE.replace("_b_f32", "_bf16"),
)
"""Layers to measure on, the usual one first: kernels of narrow domains compute another."""

MOST_LETTERS = 4000
"""How much of a tree's line is kept."""


def brief(backend: Backend, seconds: float) -> Arithmetic:
    """Return a backend's sheet in words, or why there is none; the parts that may take as long as they like get parts of ``seconds``."""
    layer = next((layer for layer in LAYERS if backend.supports(Case.parse(layer))), None)
    if layer is None:
        return Arithmetic(backend=backend.name, unmeasured="it computes none of the layers that are tried; convfuzz reveal takes another")
    try:
        return in_words(reveal(backend, layer, seconds=seconds))
    except ConvfuzzError as error:
        return Arithmetic(backend=backend.name, case=layer, unmeasured=str(error))


def in_words(sheet: Sheet) -> Arithmetic:
    """Return a sheet as a run keeps it."""
    found = sheet.violations
    return Arithmetic(
        backend=sheet.backend,
        case=sheet.case,
        line=line(sheet),
        rows=tuple(rows(sheet)),
        changes=tuple(
            Change(MEANINGS[kind], sheet.invariant[kind], found[kind].case if kind in found else "")
            for kind in KINDS
            if sheet.invariant[kind] is not None
        ),
        tree=sheet.tree if len(sheet.tree) <= MOST_LETTERS else f"{sheet.tree[:MOST_LETTERS]}…",
        outline=sheet.outline,
        declare=sheet.declare,
        coarser=sheet.coarser,
        not_understood=tuple(sheet.notes.not_understood),
    )
