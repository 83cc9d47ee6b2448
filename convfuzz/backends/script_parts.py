"""Source that the reproduction scripts of several backends share."""

from __future__ import annotations

from collections.abc import Mapping

from convfuzz.case import Case
from convfuzz.case.dtypes import is_integer, numpy_dtype
from convfuzz.tensors.poison import unwritten

_WIDTH = 110


def namespace(attributes: Mapping[str, object], kind: str = "SimpleNamespace") -> str:
    """Return the source of an object with these attributes, several on a line."""
    lines = [""]
    for name, value in attributes.items():
        item = f"{name}={value!r}, "
        if len(lines[-1]) + len(item) > _WIDTH:
            lines.append("")
        lines[-1] += item
    return f"{kind}(\n" + "".join(f"    {line.rstrip()}\n" for line in lines) + ")"


def arguments(case: Case) -> str:
    """Return the arguments of a script's ``run``."""
    return "x, w, b, dy" if case.grad else "x, w, b"


def operands(case: Case) -> str:
    """Return the names of the arguments that are tensors: ``b`` is ``None`` without a bias."""
    return ", ".join(["x", "w", *(["b"] if case.config.bias else []), *(["dy"] if case.grad else [])])


def unwritten_source(dtype: str) -> tuple[str, str]:
    """Return the value that unwritten memory of ``dtype`` is filled with, and NumPy's name of the dtype; bfloat16 as bits."""
    if dtype == "bfloat16":
        return "0x7FC0", "uint16"  # NaN
    return str(unwritten((), numpy_dtype(dtype))[()]) if is_integer(dtype) else "np.nan", dtype


def results(case: Case) -> list[str]:
    """Return the lines that end ``run``: y as an array, or with the ``gradients`` their dictionary by pass."""
    if not case.grad:
        return ["return array(y)"]
    return [f"names = {case.passes}", "return {name: array(a) for name, a in zip(names, (y, *gradients), strict=True)}"]
