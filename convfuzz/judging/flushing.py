"""What flushing subnormal operands to zero may cost a sum: the magnitude of its products with one of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from convfuzz import oracle
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import component_format, is_complex
from convfuzz.judging.comparing import comparable
from convfuzz.tensors.generator import Tensors

Floats = npt.NDArray[np.float64]

_OPERANDS = {"forward": ("x", "w"), "grad_input": ("dy", "w"), "grad_weight": ("x", "dy"), "grad_bias": ("dy",)}


def flushable(config: ConvConfig, tensors: Tensors, in_pass: str) -> Floats:
    """Return Σ|p| over the products with a subnormal operand, and a subnormal bias, of each element of a result; 0 where there is none."""
    tiny, given = component_format(config.dtype).tiny, tensors.named()
    has_bias = in_pass == "forward" and tensors.b is not None
    wide = {name: np.abs(comparable(given[name])) for name in (*_OPERANDS[in_pass], *(["b"] if has_bias else []))}
    if not any(np.any((size < tiny) & (size > 0.0)) for size in wide.values()):
        return np.zeros(())
    sizes = {name: np.nan_to_num(np.abs(comparable(a)), nan=0.0, posinf=0.0) for name, a in given.items()}
    small = {name: np.where(size < tiny, size, 0.0) for name, size in sizes.items()}
    if is_complex(config.dtype):  # no part of a product is larger than the parts together
        sizes, small = ({name: a.sum(axis=-1) for name, a in of.items()} for of in (sizes, small))
    first, *second = _OPERANDS[in_pass]
    found = _magnitude(config, sizes | {first: small[first]}, in_pass)
    if second and small[second[0]].any():
        found = found + _magnitude(config, sizes | {second[0]: small[second[0]]}, in_pass)
    if has_bias:
        found = found + small["b"].reshape(-1, *(1,) * config.dims)
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
