"""A configuration that notes what a predicate asks of it and what it compares the answers with.

A predicate that declines tells, by its last comparisons, what it would have accepted: where ``c.kernel_size == (7, 7)`` is false,
a kernel of 7x7 is worth trying. Fuzzers of programs find their way past comparisons like that (REDQUEEN, Aschermann et al., NDSS
2019). What a set or a dictionary is asked for is not seen, nor what is done with a bool: that is left to trial.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from convfuzz.case.config import ConvConfig

Path = tuple[int, ...]
"""Where in an attribute a value is: nothing for the whole, the axis, or the axis and the side."""

_DERIVED = frozenset({"pads", "effective_kernel", "output_size", "input_shape", "weight_shape", "output_shape"})
_NOTED = frozenset(f.name for f in fields(ConvConfig)) | _DERIVED


@dataclass(frozen=True)
class Wish:
    """A value of an attribute that gives a comparison another outcome."""

    name: str
    path: Path
    value: Any


@dataclass
class Notes:
    """What a predicate has read and compared, in order, and for each comparison what would have made it come out otherwise."""

    reads: list[str] = field(default_factory=list)
    wishes: list[Wish] = field(default_factory=list)
    compared: int = 0

    @property
    def progress(self) -> tuple[int, int]:
        """How far the predicate came: it reads and compares on as long as nothing makes it decline."""
        return len(set(self.reads)), self.compared


class WatchedConfig(ConvConfig):
    """A configuration whose attributes note what they are compared with; equal to a plain one in all else."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name not in _NOTED:
            return value
        notes: Notes | None = super().__getattribute__("__dict__").get("_notes")
        if notes is None:
            return value
        notes.reads.append(name)
        return _noting(value, name, (), notes)


def watched(config: ConvConfig) -> tuple[WatchedConfig, Notes]:
    """Return a watched copy of ``config`` and the notes that it takes."""
    copy, notes = WatchedConfig(**config.as_fields()), Notes()
    for name in (*_DERIVED, "invalid_reason"):
        getattr(copy, name)  # what is derived reads the parameters itself, once, before notes are taken
    object.__setattr__(copy, "_notes", notes)
    return copy, notes


def unwatched(config: ConvConfig) -> ConvConfig:
    """Return a plain configuration that is equal to a watched one, of which no notes are taken."""
    return ConvConfig(**{field.name: vars(config)[field.name] for field in fields(ConvConfig)})


def notes_of(config: ConvConfig) -> Notes | None:
    """Return the notes that a watched configuration takes; ``None`` for a plain one."""
    notes: Notes | None = vars(config).get("_notes")
    return notes


def _noting(value: Any, name: str, path: Path, notes: Notes) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _Int(value)._at(name, path, notes)  # noqa: SLF001 - of this module
    if isinstance(value, str):
        return _Str(value)._at(name, path, notes)  # noqa: SLF001 - of this module
    return _Tuple(_noting(one, name, (*path, i), notes) for i, one in enumerate(value))._at(name, path, notes)  # noqa: SLF001 - of this module


class _Noting:
    """What the watched values share: where they are, and noting a comparison with another value."""

    _name: str
    _path: Path
    _notes: Notes

    def _at(self, name: str, path: Path, notes: Notes) -> Any:
        self._name, self._path, self._notes = name, path, notes
        return self

    def _wish(self, value: Any) -> None:
        self._notes.compared += 1
        self._notes.wishes.append(Wish(self._name, self._path, value))


class _Int(_Noting, int):
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, int):
            return False
        equal = int.__eq__(self, other)
        self._wish(int(self) + 1 if equal else int(other))
        return equal

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: int) -> bool:
        self._wish(int(other) if (less := int.__lt__(self, other)) else int(other) - 1)
        return less

    def __le__(self, other: int) -> bool:
        self._wish(int(other) + 1 if (less := int.__le__(self, other)) else int(other))
        return less

    def __gt__(self, other: int) -> bool:
        self._wish(int(other) if (more := int.__gt__(self, other)) else int(other) + 1)
        return more

    def __ge__(self, other: int) -> bool:
        self._wish(int(other) - 1 if (more := int.__ge__(self, other)) else int(other))
        return more

    def __mod__(self, other: int) -> int:
        rest = int.__mod__(self, other)
        self._wish(int(self) - rest + abs(int(other)))
        return rest

    __hash__ = int.__hash__


class _Str(_Noting, str):  # noqa: SLOT000 - its notes are in its dictionary
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str):
            return False
        self._wish(str(other))
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


class _Tuple(_Noting, tuple[Any, ...]):  # noqa: SLOT001 - a tuple of any length has no slots
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str | tuple):
            return False
        self._wish(_plain(other))
        return bool(_plain(self) == _plain(other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__


def _plain(value: Any) -> Any:
    """Return a watched value as the plain one that it stands for."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if isinstance(value, bool):
        return value
    return int(value) if isinstance(value, int) else str(value) if isinstance(value, str) else value
