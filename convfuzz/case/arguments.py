"""Arguments as people hand them in: numbers of any library, one or several, and values that are chosen among known ones."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from convfuzz.errors import InvalidConfig, closest


def whole_number(value: Any) -> int | None:
    """Return what :func:`operator.index` takes as a plain ``int``; ``None`` for anything else, a bool of any library among it."""
    if type(value) is int:
        return value
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")):
        return None
    try:
        return operator.index(value)
    except (TypeError, ValueError, AttributeError, RuntimeError):  # what tensors raise that hold text or, as on a meta device, nothing
        return None


def several(value: Any) -> tuple[Any, ...] | None:
    """Return the items of a list, a tuple, a ``torch.Size``, a range or an array in their order; ``None`` for what has none."""
    if isinstance(value, str | bytes | Mapping | AbstractSet) or not hasattr(value, "__len__"):
        return None
    try:
        return tuple(value)
    except (TypeError, RuntimeError):  # an array without axes
        return None


def one_of(name: str, value: object, allowed: Iterable[object]) -> None:
    """Refuse a value that is none of the allowed ones: of their type, and equal.

    A NumPy dtype equals its name and is not it, and neither is ``True`` a 1.

    Raises:
        InvalidConfig: the message has the name, the value, what is allowed, and the closest of it.
    """
    if type(value) is str and value in allowed:
        return
    if not any(type(value) is type(one) and value == one for one in allowed):
        raise InvalidConfig(f"{name}={value!r} is not one of {', '.join(map(str, allowed))}{closest(value, allowed)}")


def some_of(name: str, values: object, allowed: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return some values, given in any collection, in the order of the allowed ones; numbers may be of any library.

    Raises:
        InvalidConfig: it is one value instead of several, there is none, or one is not allowed.
    """
    among = f"expected some of {', '.join(map(repr, allowed))}"
    given = tuple(values) if isinstance(values, AbstractSet) else several(values)
    if given is None:
        example = values if values in allowed else allowed[0]
        raise InvalidConfig(f"{name}={values!r} is not several values, as {name}=({example!r},) is: {among}")
    if not given:
        raise InvalidConfig(f"{name}={values!r} is empty: {among}")
    plain = [value if (number := whole_number(value)) is None else number for value in given]
    for value in plain:
        if not any(type(value) is type(one) and value == one for one in allowed):
            raise InvalidConfig(f"{name}={values!r}: {value!r} is not one of {', '.join(map(repr, allowed))}{closest(value, allowed)}")
    return tuple(one for one in allowed if one in plain)
