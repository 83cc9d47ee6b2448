"""What operands outside the normal range cost a sum: subnormal ones that are flushed, or those beyond a format they are rounded to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from convfuzz import oracle
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import component_format, is_complex
from convfuzz.judging.comparing import comparable
from convfuzz.judging.numerics import Rounding, top
from convfuzz.tensors.generator import Tensors

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

_OPERANDS = {"forward": ("x", "w"), "grad_input": ("dy", "w"), "grad_weight": ("x", "dy"), "grad_bias": ("dy",)}


def flushable(config: ConvConfig, tensors: Tensors, in_pass: str) -> Floats:
    """Return Σ|p| over the products with a subnormal operand, and a subnormal bias, of each element of a result; 0 where there is none."""
    tiny = component_format(config.dtype).tiny
    return _cost(config, tensors, in_pass, lambda sizes: np.where(sizes < tiny, sizes, 0.0))


def inf_meets_flushed(config: ConvConfig, tensors: Tensors, in_pass: str) -> Bools:
    """Mark elements with a product of Inf and a subnormal operand, which is NaN where that is flushed before; False where there is none."""
    tiny, (first, *second) = component_format(config.dtype).tiny, _OPERANDS[in_pass]
    sizes = {name: np.abs(comparable(a)) for name, a in tensors.named().items()}
    found = np.zeros((), bool)
    for one, other in [(first, name) for name in second] + [(name, first) for name in second]:
        marks = {one: np.isinf(sizes[one]), other: (sizes[other] > 0.0) & (sizes[other] < tiny)}
        found = found | _meeting(config, tensors, in_pass, marks)
    return found


def rounded_outside(config: ConvConfig, tensors: Tensors, in_pass: str, rounding: Rounding) -> Floats:
    """Return what an element loses where operands outside the normal range of another format are rounded to that; 0 where there are none.

    Below it rounding is absolute: half a step, or all of one where bits are left out, and never more than the operand itself. Above it
    rounding to nearest gives Inf, and nothing is said of the sum.
    """
    form, step = rounding.form, rounding.form.smallest_subnormal * (1.0 if rounding.truncated else 0.5)
    found = _cost(config, tensors, in_pass, lambda sizes: np.where(sizes < form.tiny, np.minimum(sizes, step), 0.0))
    if rounding.truncated:
        return found
    for name in (*_OPERANDS[in_pass], *(["b"] if in_pass == "forward" and tensors.b is not None else [])):
        sizes = np.abs(comparable(tensors.named()[name]))
        found = np.where(_meeting(config, tensors, in_pass, {name: np.isfinite(sizes) & (sizes >= top(form))}), np.inf, found)
    return found


def _meeting(config: ConvConfig, tensors: Tensors, in_pass: str, marks: dict[str, Bools]) -> Bools:
    """Mark elements with a product of marked operands, and of any where none of a name are marked; False where there is none."""
    if not all(of.any() for of in marks.values()):
        return np.zeros((), bool)
    parts = is_complex(config.dtype)
    if parts:
        marks = {name: np.asarray(of.any(axis=-1)) for name, of in marks.items()}
    if "b" in marks:
        met = marks["b"].reshape(-1, *(1,) * config.dims)
    else:
        others = {name: np.ones(array.shape) for name, array in tensors.named().items()}
        met = _magnitude(config, others | {name: of.astype(np.float64) for name, of in marks.items()}, in_pass) > 0.0
    return met[..., None] if parts else met


def _cost(config: ConvConfig, tensors: Tensors, in_pass: str, loss: Callable[[Floats], Floats]) -> Floats:
    """Return Σ(e·|b| + |a|·e′ + e·e′) over the products a·b, where e and e′ are the losses of their operands, given the magnitudes."""
    names = [*_OPERANDS[in_pass], *(["b"] if in_pass == "forward" and tensors.b is not None else [])]
    sizes = {name: np.nan_to_num(np.abs(comparable(a)), nan=0.0, posinf=0.0) for name, a in tensors.named().items()}
    lost = {name: loss(sizes[name]) for name in names}
    if not any(np.any(of) for of in lost.values()):
        return np.zeros(())
    if is_complex(config.dtype):  # no part of a product is larger than the parts together
        sizes, lost = ({name: a.sum(axis=-1) for name, a in of.items()} for of in (sizes, lost))
    first, *second = _OPERANDS[in_pass]
    found = _magnitude(config, sizes | {first: lost[first]} | {name: sizes[name] + lost[name] for name in second}, in_pass)
    if second and lost[second[0]].any():
        found = found + _magnitude(config, sizes | {second[0]: lost[second[0]]}, in_pass)
    if "b" in lost:
        found = found + lost["b"].reshape(-1, *(1,) * config.dims)
    return found[..., None] if is_complex(config.dtype) else found


def _magnitude(config: ConvConfig, operands: dict[str, Floats], in_pass: str) -> Floats:
    """Return the pass of real operands without a bias, whose sums nobody needs to more digits than float64 adds up."""
    real = config.replace(dtype="float64", bias=False)
    if in_pass == "forward":
        found: Floats = oracle.reference(real, operands["x"], operands["w"], exact=True).y
    else:
        real = real.replace(bias=config.bias)
        found = oracle.gradients(real, operands["x"], operands["w"], operands["dy"], exact=True, passes=(in_pass,))[in_pass].y
    return found
