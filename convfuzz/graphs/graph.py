"""A traced model as plain data, and its evaluation: each operation by its rule, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convfuzz.case.dtypes import FLOATING
from convfuzz.errors import NotCovered
from convfuzz.graphs import (
    arithmetic,
    conditions,
    functions,
    layers,
    losses,
    normalisation,
    patches,
    products,
    reductions,
    resampling,
    shapes,
    transcendental,
    windows,
)
from convfuzz.graphs.bounded import Array, Bounded, Place
from convfuzz.graphs.reductions import Indices
from convfuzz.judging.numerics import Numerics

_TABLES: tuple[Mapping[str, Callable[..., Any]], ...] = (
    arithmetic.RULES, conditions.RULES, functions.RULES, layers.RULES, losses.RULES, normalisation.RULES, patches.RULES, products.RULES,
    reductions.RULES, resampling.RULES, shapes.RULES, transcendental.RULES, windows.RULES,
)  # fmt: skip
RULES: dict[str, Callable[..., Any]] = {name: rule for table in _TABLES for name, rule in table.items()}
"""Every operation that has a rule, by its ATen name, with the overload where that makes a difference."""
RULES["max.other"], RULES["min.other"] = RULES["maximum"], RULES["minimum"]
_VIEWS = {*shapes.VIEWS, *patches.VIEWS}
CONVOLUTIONS = frozenset(name for name in layers.RULES if name.startswith("conv"))
_STORAGE = ("layout", "device", "pin_memory", "memory_format")
"""Named arguments that say where a result lies, which changes no number."""
_CHECKS = ("_assert_tensor_metadata", "_assert_scalar", "sym_size")


@dataclass(frozen=True)
class Ref:
    """The result of an operation, or an operand of the model, by its name."""

    name: str


@dataclass(frozen=True)
class Operation:
    """One call: ``op`` is an ATen name with its overload, such as ``conv2d.default``, or ``getitem``."""

    name: str
    op: str
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]
    shape: tuple[int, ...] | None
    dtype: str | None

    @property
    def base(self) -> str:
        """The operation without its overload."""
        return self.op.partition(".")[0]

    @property
    def mutates(self) -> bool:
        """Whether it writes into its first argument."""
        return self.base.endswith("_") and not self.base.startswith("_")

    @property
    def rule(self) -> Callable[..., Any] | None:
        """Its rule, if it has one."""
        base = self.base.removesuffix("_") if self.mutates else self.base
        overload = self.op.partition(".")[2]
        return RULES.get(f"{base}.{overload}", RULES.get(base))


@dataclass(frozen=True)
class Graph:
    """A model at one shape: what its inputs and constants are called, its operations, and which results it returns.

    ``held`` maps the name of an operand to that of a parameter or buffer, ``constants`` to its value; ``inputs`` are in order.
    ``container`` is what the results come in, ``tuple`` or ``list``, and empty where the model returns one tensor.
    """

    inputs: tuple[str, ...]
    held: Mapping[str, str]
    constants: Mapping[str, Array]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    container: str = ""

    def uncovered(self) -> list[str]:
        """Return what has no rule: operations by name, and dtypes."""
        found = [f"aten.{one.op}" for one in self.operations if one.rule is None and one.base not in ("getitem", *_CHECKS)]
        masks = {one.name for one in self.operations if one.base.removesuffix("_") in conditions.COMPARISONS}
        for name, dtype in self.dtypes.items():
            if name in masks and name not in self.outputs:
                continue
            if dtype not in FLOATING or dtype == "float64":
                used = any(name in names_in((one.arguments, one.named)) for one in self.operations) or name in self.outputs
                found += [f"{dtype} ({name})"] * used
        found += [f"aten.{one.op} on a view" for one in self.operations if one.mutates and self._is_viewed(one)]
        return list(dict.fromkeys(found))

    def _is_viewed(self, mutating: Operation) -> bool:
        """Whether something else may share the memory that an operation writes into: an operand of the model, or a view."""
        target = mutating.arguments[0].name if mutating.arguments and isinstance(mutating.arguments[0], Ref) else ""
        if mutating.base in {f"{name}_" for name in _VIEWS}:
            return False  # changes how the tensor is seen, not what is in it
        by_name = {one.name: one for one in self.operations}
        source = by_name.get(target)
        if source is None:
            return True
        views = [one for one in self.operations if one.base.removesuffix("_") in _VIEWS and target in names_in(one.arguments)]
        return source.base.removesuffix("_") in {*_VIEWS, "getitem"} or any(view is not mutating for view in views)

    def convolution(self) -> Operation | None:
        """Return the one operation of a model that is a convolution of its input and nothing else."""
        if len(self.operations) != 1 or self.operations[0].base not in CONVOLUTIONS or self.outputs != (self.operations[0].name,):
            return None
        return self.operations[0]

    def multiplied(self) -> set[str] | None:
        """Return what convolutions and linear layers multiply; ``None`` where some of it is a result, or is used otherwise too."""
        products = [one for one in self.operations if one.base in layers.RULES]
        operands = set().union(*(names_in(_factors(one)) for one in products)) if products else set()
        elsewhere = set().union(*(names_in((one.arguments, one.named)) for one in self.operations if one.base not in layers.RULES))
        if not operands <= {*self.inputs, *self.held} or operands & elsewhere:
            return None
        return operands

    def evaluate(self, inputs: Sequence[Array], held: Mapping[str, Array], numerics: Numerics) -> list[Bounded]:
        """Return what the model gives for ``inputs`` with these parameters and buffers, and how far it may be off.

        What depends on a NaN or an Inf among the inputs is left open, since frameworks differ in that; nothing else may show it.

        Raises:
            NotCovered: an operation has no rule, or none for these arguments.
        """
        known: dict[str, Any] = dict(zip(self.inputs, map(Bounded.given, inputs), strict=True))
        known |= {name: Bounded.exact(held[parameter]) for name, parameter in self.held.items()}
        known |= {name: Bounded.exact(value) for name, value in self.constants.items()}
        last = {name: k for k, one in enumerate(self.operations) for name in names_in((one.arguments, one.named))}
        with np.errstate(all="ignore"):
            for k, one in enumerate(self.operations):
                if one.base in _CHECKS:
                    continue
                known[one.name] = _applied(one, known, numerics)
                if one.mutates:
                    known[one.arguments[0].name] = known[one.name]
                for name in names_in((one.arguments, one.named)) - set(self.outputs):
                    if last[name] == k:  # nothing needs it any more
                        del known[name]
        return [known[name] for name in self.outputs]


def _factors(one: Operation) -> tuple[Any, ...]:
    """Return what is multiplied; the offset of ``addmm`` comes first."""
    if one.base in CONVOLUTIONS:
        call = layers.ConvCall(one.base, one.arguments, one.named)
        return call.input, call.weight
    return one.arguments[1:3] if one.base == "addmm" else one.arguments[:2]


def _applied(one: Operation, known: Mapping[str, Any], numerics: Numerics) -> Any:
    arguments, named = _resolved(one.arguments, known), _resolved(dict(one.named), known)
    if one.base == "getitem":
        return arguments[0][arguments[1]]
    if one.rule is None:
        raise NotCovered(f"aten.{one.op}")
    if any(isinstance(argument, Indices) for argument in arguments):
        raise NotCovered(f"aten.{one.op} of indices")
    if any(isinstance(argument, conditions.Mask) for argument in arguments) and one.base.removesuffix("_") not in conditions.TAKE_MASKS:
        raise NotCovered(f"aten.{one.op} of truth values")
    at = Place(one.shape or (), one.dtype or "float32", numerics)
    try:
        found = one.rule(at, *arguments, **{name: value for name, value in named.items() if name not in _STORAGE})
    except TypeError as error:
        raise NotCovered(f"aten.{one.op} with these arguments ({error})") from None
    except NotCovered as error:
        raise NotCovered(f"aten.{one.op}: {error}") from None
    if isinstance(found, Bounded) and one.shape is not None and found.value.shape != one.shape:
        raise NotCovered(f"aten.{one.op}: its rule gives {found.value.shape}, the model {one.shape}")
    return found


def _resolved(given: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(given, Ref):
        if given.name not in known:
            raise NotCovered(f"computing with {given.name}")
        return known[given.name]
    if isinstance(given, dict):
        return {name: _resolved(value, known) for name, value in given.items()}
    if isinstance(given, list | tuple):
        return [_resolved(value, known) for value in given]
    return given


def names_in(given: Any) -> set[str]:
    """Return the names of the results and operands that arguments refer to."""
    if isinstance(given, Ref):
        return {given.name}
    if isinstance(given, Mapping):
        given = list(given.values())
    if isinstance(given, list | tuple):
        return set().union(*map(names_in, given)) if given else set()
    return set()
