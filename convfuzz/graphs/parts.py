"""What of a model may be computed on its own: members of the batch, and what that costs."""

from __future__ import annotations

import math
from typing import Any

from convfuzz.graphs.graph import Graph, Operation, Ref, names_in

_ALONG_AN_AXIS = {"softmax": 0, "log_softmax": 0, "cat": 0, "concat": 0, "concatenate": 0, "flip": 0, "cumsum": 0, "cumprod": 0,
                  "logcumsumexp": 0, "sort": -1, "topk": -1, "roll": None}  # fmt: skip
"""Operations that keep the shape along an axis that they mix, and which axis that is by default: all for ``None``."""
_AXIS_IS_THIRD = ("topk", "roll")


def cost(graph: Graph) -> tuple[int, int]:
    """Return how many products a model's layers are sums of, and how many numbers its largest result has."""
    products = 0
    for one in graph.operations:
        operands = [argument for argument in one.arguments[:3] if isinstance(argument, Ref)]
        if one.base.startswith("conv") and one.shape is not None and len(operands) > 1:
            x, w = (graph.shapes[ref.name] for ref in operands[:2])
            is_transposed = "transpose" in one.base or (one.base == "convolution" and bool(one.arguments[6]))
            products += math.prod(x if is_transposed else one.shape) * math.prod(w[1:])
        elif one.base in ("linear", "mm", "matmul", "bmm", "addmm", "baddbmm", "mv", "dot") and one.shape is not None and operands:
            products += math.prod(one.shape) * graph.shapes[operands[-2 if one.base.startswith(("addmm", "badd")) else 0].name][-1]
        elif one.base == "einsum":
            products += math.prod(_lengths(graph, one).values())
        elif one.base == "scaled_dot_product_attention" and one.shape is not None:
            q, k = (graph.shapes[ref.name] for ref in operands[:2])
            products += math.prod(one.shape[:-1]) * k[-2] * (q[-1] + one.shape[-1])
    return products, max((math.prod(shape) for shape in graph.shapes.values()), default=0)


def _lengths(graph: Graph, one: Operation) -> dict[str, int]:
    """Return how long each index of an ``einsum`` is."""
    equation, tensors = one.arguments[:2]
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    shapes = [graph.shapes[ref.name] for ref in tensors]
    return {letter: size for term, shape in zip(terms, shapes, strict=False) for letter, size in zip(term, shape, strict=False)}


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
    if one.base == "batch_norm":
        return bool(one.arguments[5])
    if one.base in ("movedim", "moveaxis"):
        return 0 in {axis % ndim for given in one.arguments[1:3] for axis in ([given] if isinstance(given, int) else given)}
    if one.base == "_weight_norm":
        return True
    if one.base in ("tril", "triu", "scaled_dot_product_attention"):
        return ndim == 2  # over the last two axes
    if one.base not in _ALONG_AN_AXIS:
        return False
    at, default = 1 + (one.base in _AXIS_IS_THIRD), _ALONG_AN_AXIS[one.base]
    dims: Any = one.arguments[at] if len(one.arguments) > at else one.named.get("dim", one.named.get("dims", default))
    if dims is None or dims in ((), []):
        return True
    return any(dim % ndim == 0 for dim in (dims if isinstance(dims, tuple | list) else (dims,)))
