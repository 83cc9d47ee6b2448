"""Numbers that come back where the model has NaN or Inf, which the rules of its operations leave open; and NaN where it has numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from convfuzz.graphs import arithmetic, shapes
from convfuzz.graphs.bounded import Array, Bounded
from convfuzz.graphs.graph import CONVOLUTIONS, Graph
from convfuzz.solutions.problem import Inputs, Problem, State, arrays_of

_AVERAGES = {f"{kind}{dims}d" for kind in ("avg_pool", "adaptive_avg_pool", "_adaptive_avg_pool") for dims in (1, 2, 3)}
_CARRIES = frozenset({*CONVOLUTIONS, *shapes.RULES, *_AVERAGES, *arithmetic.RULES}) - {"maximum", "minimum", "fmax", "fmin"} | {
    "linear", "mm", "bmm", "matmul", "addmm", "batch_norm", "sum", "mean", "neg", "getitem",
}  # fmt: skip
"""Operations that keep a NaN in whatever is computed from it, however they are written: sums, products and moves."""


def hidden(
    problem: Problem, state: State, inputs: Inputs, outputs: Sequence[Array], right: Sequence[Bounded]
) -> list[npt.NDArray[np.bool_]]:
    """Return where outputs are numbers, depend on a NaN or an Inf among the inputs, and PyTorch's own model has one.

    All is false where the inputs are numbers.
    """
    if all(np.isfinite(array.astype(np.float64)).all() for array in arrays_of(inputs)):
        return [np.zeros(output.shape, bool) for output in outputs]
    own = problem.outputs(state, inputs)
    with np.errstate(invalid="ignore"):
        return [
            np.isinf(one.error) & ~np.isfinite(model.astype(np.float64)) & np.isfinite(output.astype(np.float64))
            for one, model, output in zip(right, own, outputs, strict=True)
        ]


def spread(inputs: Inputs, output: Array, right: Array, members: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.bool_]:
    """Return where NaN or Inf came back of members of the batch that have one, in elements that do not depend on it, or NaN for Inf.

    A kernel that is filled up with zeros, or a sum that is a product with a matrix, multiplies them by zero. ``members`` says of which
    member each element is, by default of that of the first axis.
    """
    has_some = np.logical_or.reduce([~np.isfinite(one.astype(np.float64)).reshape(len(one), -1).all(axis=1) for one in arrays_of(inputs)])
    of_such = has_some.reshape(-1, *(1,) * (output.ndim - 1)) if members is None else has_some[members]
    came = output.astype(np.float64)
    there: npt.NDArray[np.bool_] = of_such & ((np.isfinite(right) & ~np.isfinite(came)) | (np.isinf(right) & np.isnan(came)))
    return there


def is_certain(graph: Graph) -> bool:
    """Whether each operation of a model keeps a NaN: a maximum, say, need not, and whole networks are written either way."""
    return all(one.base.removesuffix("_") in _CARRIES for one in graph.operations)
