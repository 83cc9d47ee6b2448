"""What of a model may be computed on its own: members of the batch, and what that costs."""

from __future__ import annotations

import math
from typing import Any

from convfuzz.graphs.graph import Graph, Operation, Ref, names_in

_ALONG_AN_AXIS = ("softmax", "log_softmax", "cat", "concat", "flip")


def cost(graph: Graph) -> tuple[int, int]:
    """Return how many products a model's layers are sums of, and how many numbers its largest result has."""
    products = 0
    for one in graph.operations:
        operands = [argument for argument in one.arguments[:3] if isinstance(argument, Ref)]
        if one.base.startswith("conv") and one.shape is not None and len(operands) > 1:
            x, w = (graph.shapes[ref.name] for ref in operands[:2])
            is_transposed = "transpose" in one.base or (one.base == "convolution" and bool(one.arguments[6]))
            products += math.prod(x if is_transposed else one.shape) * math.prod(w[1:])
        elif one.base in ("linear", "mm", "matmul", "addmm") and one.shape is not None and operands:
            products += math.prod(one.shape) * graph.shapes[operands[-2 if one.base == "addmm" else 0].name][-1]
    return products, max((math.prod(shape) for shape in graph.shapes.values()), default=0)


def is_by_member(graph: Graph, one_member: Graph, batch: int) -> bool:
    """Whether every member of a batch is computed from that member alone.

    Asked of the same model at a batch of ``batch`` and of one: each result that depends on the inputs has the batch as its first axis
    in both, nothing else about its shape depends on it, and no operation goes along that axis.
    """
    if [one.op for one in graph.operations] != [one.op for one in one_member.operations]:
        return False
    depending = set(graph.inputs)
    for whole, alone in zip(graph.operations, one_member.operations, strict=True):
        if not names_in((whole.arguments, whole.named)) & depending:
            continue
        depending.add(whole.name)
        if whole.base == "getitem" and whole.shape is None:
            continue
        if not whole.shape or not alone.shape or whole.shape[0] != batch or alone.shape[0] != 1 or whole.shape[1:] != alone.shape[1:]:
            return False
        if _goes_along_the_batch(whole, len(whole.shape)):
            return False
    return all(name in depending for name in graph.outputs)


def _goes_along_the_batch(one: Operation, ndim: int) -> bool:
    if one.base == "layer_norm":
        return len(one.arguments[1]) >= ndim
    if one.base == "permute":
        return bool(one.arguments[1][0] % ndim != 0)
    if one.base not in _ALONG_AN_AXIS:
        return False
    dims: Any = one.arguments[1] if len(one.arguments) > 1 else one.named.get("dim", one.named.get("dims", 0))
    return any(dim % ndim == 0 for dim in (dims if isinstance(dims, tuple | list) else (dims,)))
