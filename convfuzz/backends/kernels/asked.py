"""What a kernel declares, asked for in the process of its own: plain options as they are, functions by asking them there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, fields
from typing import Any, Never

import msgspec

from convfuzz.backends.isolated import Elsewhere, IsolatedBackend, Surroundings, exception_named, wire
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.backends.kernels.declaration import _ATTRIBUTE, Declaration
from convfuzz.case import Case
from convfuzz.case.arguments import whole_number
from convfuzz.case.config import ConvConfig
from convfuzz.case.domain.declared import answered
from convfuzz.case.domain.watched import Notes, Wish, notes_of, unwatched, watched
from convfuzz.errors import BackendError
from convfuzz.judging.numerics import Numerics

_ASKED = {"supports", "numerics"}
"""The functions that are asked before a kernel is called; the others are called with it, where it runs."""


def kernel_elsewhere(name: str, surroundings: Surroundings) -> IsolatedBackend:
    """Return a kernel that runs in a process of its own, whose module is not imported here.

    Raises:
        BackendError: it cannot be loaded there.
    """
    elsewhere = Elsewhere(name, surroundings)
    reply = elsewhere.ask(wire.Question(about="declaration"))
    if reply.raised:
        raise BackendError(f"backend {name!r} cannot be loaded: {reply.message}")

    def kernel(*_: object) -> Never:
        raise AssertionError(f"{name} is called in a process of its own")

    functions = {"supports": _supports(elsewhere), "numerics": _numerics(elsewhere)}
    options = {option: functions.get(option, kernel) for option in reply.value["functions"]} | _as_declared(reply.value["options"])
    if "numerics" in reply.value["options"]:
        options["numerics"] = msgspec.convert(reply.value["options"]["numerics"], Numerics)
    setattr(kernel, _ATTRIBUTE, Declaration(**options))
    return IsolatedBackend(KernelBackend(name, kernel), surroundings, elsewhere)


def answer(declared: Declaration, question: wire.Question) -> wire.Answer:
    """Answer in the process of the kernel what :func:`kernel_elsewhere` asks; what the author's functions raise is the caller's to tell."""
    if question.about == "declaration":
        given = {one.name: getattr(declared, one.name) for one in fields(declared)}
        functions = [name for name, value in given.items() if callable(value)]
        return wire.Answer(value={"functions": functions, "options": {n: _plain(n, v) for n, v in given.items() if n not in functions}})
    config = Case.parse(question.case).config
    if question.about == "numerics":
        assert callable(declared.numerics), "a value needs no question"
        return wire.Answer(value=asdict(declared.numerics(config)))
    assert declared.supports is not None, "nobody asks without it"
    if not question.watched:
        return wire.Answer(value=answered(declared.supports(config)))
    copy, notes = watched(config)
    raised, message, value = "", "", None
    try:
        value = answered(declared.supports(copy))
    except Exception as error:  # noqa: BLE001 - the author's code, which may not expect a watched value
        raised, message = type(error).__name__, str(error)
    wishes = [(wish.name, list(wish.path), wish.value) for wish in notes.wishes]
    seen = wire.Watched(reads=notes.reads, wishes=wishes, compared=notes.compared)
    return wire.Answer(value=value, watched=seen, raised=raised, message=message)


def _supports(elsewhere: Elsewhere) -> Callable[[ConvConfig], str | bool]:
    """Return a function that asks the author's about a configuration; a watched one takes the notes that it takes there."""

    def supports(config: ConvConfig) -> str | bool:
        notes = notes_of(config)
        line = str(Case(config if notes is None else unwatched(config)))
        reply = elsewhere.ask(wire.Question(about="supports", case=line, watched=notes is not None))
        if notes is not None and reply.watched is not None:
            _note(notes, reply.watched)
        return str(_value(reply)) or True

    return supports


def _numerics(elsewhere: Elsewhere) -> Callable[[ConvConfig], Numerics]:
    def numerics(config: ConvConfig) -> Numerics:
        return msgspec.convert(_value(elsewhere.ask(wire.Question(about="numerics", case=str(Case(config))))), Numerics)

    return numerics


def _note(notes: Notes, there: wire.Watched) -> None:
    notes.reads += there.reads
    notes.wishes += [Wish(name, tuple(path), _as_declared(value)) for name, path, value in there.wishes]
    notes.compared += there.compared


def _value(reply: wire.Answer) -> Any:
    if reply.raised:
        raise exception_named(reply.raised)(reply.message)
    return reply.value


def _plain(name: str, value: Any) -> Any:
    """Return an option as JSON has it.

    Raises:
        BackendError: it holds something that has no such form.
    """
    if value is None or isinstance(value, bool | str | float):
        return value
    if isinstance(value, Numerics):
        return asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(name, one) for key, one in value.items()}
    if isinstance(value, Collection):
        return [_plain(name, one) for one in value]
    number = whole_number(value)
    if number is None:
        raise BackendError(f"{name} holds {value!r}, which cannot be told to another process")
    return number


def _as_declared(value: Any) -> Any:
    """Return what came as JSON with tuples again."""
    if isinstance(value, list):
        return tuple(map(_as_declared, value))
    return {key: _as_declared(one) for key, one in value.items()} if isinstance(value, dict) else value
