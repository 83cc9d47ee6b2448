"""A plain loop over the products of one element: a correct sum, which shows what the order of the data does to rounding.

The statistical bound is for an order of summation that does not depend on the data. Data that were drawn keep to it;
data that somebody made up, such as a ramp or a constant, may not: their products come sorted, or round the same way every
time. Where a plain loop over them is beyond the bound too, the bound says nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from convfuzz.case.config import DTYPES, ConvConfig
from convfuzz.case.dtypes import numpy_dtype
from convfuzz.judging.judge import Judge
from convfuzz.judging.numerics import Numerics
from convfuzz.oracle import gradients, reference
from convfuzz.tensors.generator import Array, Tensors

Floats = npt.NDArray[np.float64]

_LOOKED_AT = 5
"""How many elements a loop is run for, the worst ones: each costs a pass of the reference."""


@np.errstate(all="ignore")
def strays(judge: Judge, tensors: Tensors, output: Array, numerics: Numerics, in_pass: str) -> bool:
    """Whether a plain loop over the products of one of the worst elements of ``output`` is beyond its tolerance."""
    config, expected = judge.case.config, judge.of(in_pass).expected
    error, tolerance = judge.errors(output, numerics, in_pass)
    form = numerics.in_pass(in_pass).accumulator_format(config.dtype)
    accumulator = numpy_dtype(form.name if form.name in DTYPES else "float32")  # TF32 is an accumulator that NumPy lacks
    for k in np.argsort(-np.nan_to_num(error / tolerance).reshape(-1), kind="stable")[:_LOOKED_AT]:
        place = tuple(int(i) for i in np.unravel_index(k, error.shape))
        low = 0.0 if expected.y_lo is None else expected.y_lo[place]
        for products in _in_two_orders(config, tensors, in_pass, place):
            total = np.add.accumulate(products.astype(accumulator))[-1:].sum(dtype=np.float64)
            if abs(total - expected.y[place] - low) > tolerance[place]:
                return True
    return False


def _in_two_orders(config: ConvConfig, tensors: Tensors, in_pass: str, place: tuple[int, ...]) -> list[Floats]:
    """Return the products that the element at ``place`` is the sum of: channel by channel, then site by site; the bias last."""
    operand, factors, bias = products_of(config, tensors, in_pass, place)
    products: Floats = operand * factors
    return [np.concatenate([ordered.reshape(-1), bias]) for ordered in (products, np.moveaxis(products, 0, -1))]


def products_of(config: ConvConfig, tensors: Tensors, in_pass: str, place: tuple[int, ...]) -> tuple[Array, Array, Floats]:
    """Return one operand, what each of its elements is multiplied by in the element at ``place``, and the bias that is added.

    Real dtypes only; the factors broadcast against the operand.
    """
    bias = np.zeros(0)
    if in_pass == "forward" and tensors.b is not None:
        bias = tensors.b[[place[-config.dims - 1]]].astype(np.float64)
    return *_operand_and_factors(config, tensors, in_pass, place), bias


def _operand_and_factors(config: ConvConfig, tensors: Tensors, in_pass: str, place: tuple[int, ...]) -> tuple[Array, Array]:
    """Return one operand and what each of its elements is multiplied by: the layer is linear, so that its effect on a one tells."""
    x, w, dy = (np.zeros(0) if a is None else a.astype(np.float64) for a in (tensors.x, tensors.w, tensors.dy))
    if in_pass == "grad_bias":
        return np.moveaxis(dy, -config.dims - 1, 0)[place[0]], np.ones(1)
    if in_pass == "grad_weight":
        return dy, reference(config, x, _one_at(place, w.shape), moments=False).y
    sample, at = config.replace(batch=None), place
    if config.batch is not None:
        x, dy, at = x[place[0]], dy[place[0]] if dy.size else dy, place[1:]
    if in_pass == "grad_input":
        return dy, reference(sample, _one_at(at, x.shape), w, moments=False).y
    return x, gradients(sample, x, w, _one_at(at, sample.output_shape), moments=False)["grad_input"].y


def _one_at(place: tuple[int, ...], shape: tuple[int, ...]) -> Floats:
    ones = np.zeros(shape)
    ones[place] = 1.0
    return ones
