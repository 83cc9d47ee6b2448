"""A plain loop over the products of one element: a correct sum, which shows what the order of the data does to rounding.

The statistical bound is for an order of summation that does not depend on the data. Data that were drawn keep to it;
data that somebody made up, such as a ramp or a constant, may not: their products come sorted, or round the same way every
time. Where a plain loop over them is beyond the bound too, the bound says nothing.
"""

from __future__ import annotations

import numpy as np

from convfuzz.case.config import DTYPES
from convfuzz.case.dtypes import numpy_dtype
from convfuzz.judging.element_products import products_in_two_orders
from convfuzz.judging.judge import Judge
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Array, Tensors

_LOOKED_AT = 5
"""How many elements a loop is run for, the worst ones."""


@np.errstate(all="ignore")
def strays(judge: Judge, tensors: Tensors, output: Array, numerics: Numerics, in_pass: str) -> bool:
    """Whether a plain loop over the products of one of the worst elements of ``output`` is beyond its tolerance.

    Its products are added up channel by channel, then site by site; the bias last. Real dtypes only.
    """
    config, expected = judge.case.config, judge.of(in_pass).expected
    error, tolerance = judge.errors(output, numerics, in_pass)
    form = numerics.in_pass(in_pass).accumulator_format(config.dtype)
    accumulator = numpy_dtype(form.name if form.name in DTYPES else "float32")  # TF32 is an accumulator that NumPy lacks
    worst = np.argsort(-np.nan_to_num(error / tolerance).reshape(-1), kind="stable")[:_LOOKED_AT]
    elements = np.stack(np.unravel_index(worst, error.shape), axis=1)
    exact = expected.y.reshape(-1)[worst]
    low = 0.0 if expected.y_lo is None else expected.y_lo.reshape(-1)[worst]
    for products in products_in_two_orders(config, tensors, in_pass, elements):
        total = np.add.accumulate(products.astype(accumulator), axis=0)[-1:].sum(axis=0, dtype=np.float64)
        if np.any(np.abs(total - exact - low) > tolerance.reshape(-1)[worst]):
            return True
    return False
