"""Option types and options that several commands share."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from convfuzz.backends import families
from convfuzz.case.line import shown
from convfuzz.checking.limits import GIB, Limits
from convfuzz.cli import completion
from convfuzz.errors import UsageError
from convfuzz.system.files import require_writable

if TYPE_CHECKING:
    from click import ParamType as ParamType  # noqa: PLC0414 - for the modules of other commands
else:

    class ParamType(click.ParamType):
        """The base class of option types: generic to a type checker, and in no version of Click before 8.4."""

        def __class_getitem__(cls, converted: type) -> type[Self]:
            """Return the class itself, whatever it converts to."""
            return cls


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smh])+|\d+(?:\.\d+)?")
_MOST_DAYS = 366
_MEMORY = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(?:([mgt])(?:i?b)?)?")
_BYTES = {"m": 2**20, "g": GIB, "t": 2**40}
LEAST_MEMORY = 128 * 2**20
"""Python and the numerical libraries of a worker take about 110 MiB before any framework."""
_MOST_MEMORY = 2**60


class Duration(ParamType[float]):
    """A length of time such as ``60s``, ``10m``, ``1h30m``; a bare number is seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, float | int):
            return float(value)
        text = str(value).strip().lower()
        if not _DURATION.fullmatch(text):
            self.fail(f"{value!r} is not a length of time such as 60s, 10m or 1h30m", param, ctx)
        parts = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", text)
        seconds = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
        if seconds <= 0:
            self.fail(f"{value!r} is not more than 0 seconds", param, ctx)
        if seconds > _MOST_DAYS * 86400:
            self.fail(f"{value!r} is more than {_MOST_DAYS} days", param, ctx)
        return seconds


class Memory(ParamType[int]):
    """An amount of memory such as ``4GiB``, ``512MiB`` or ``4G``, in powers of 1024; a bare number is GiB."""

    name = "memory"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return bytes."""
        if isinstance(value, int):
            return value
        parts = _MEMORY.fullmatch(str(value).strip().lower())
        if not parts:
            self.fail(f"{value!r} is not an amount of memory such as 4GiB, 512MiB or 4 (in GiB)", param, ctx)
        size = float(parts[1]) * _BYTES[parts[2] or "g"]
        if size < LEAST_MEMORY:
            self.fail(f"{value!r} is less than 128MiB: a worker takes about that before it loads a framework", param, ctx)
        if size > _MOST_MEMORY:
            self.fail(f"{value!r} is more than 1048576TiB, more than any process can use", param, ctx)
        return int(size)


class PathName(click.Path):
    """The path of a file or folder; an empty one, such as of a variable that is not set, is not the current folder but a mistake."""

    def __init__(self, *, exists: bool = False, dir_okay: bool = True) -> None:
        super().__init__(exists=exists, dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        if not str(value).strip():
            self.fail("the path is empty; for the current folder say .", param, ctx)
        return super().convert(value, param, ctx)


_EXAMPLE = "conv1d_c3_o8_i9_k3_f32"


class CaseLine(ParamType[str]):
    """The line of a case; what is named by something else is refused with the way to name it."""

    name = "case"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the line, which is not parsed yet."""
        line = str(value)
        is_backend = "::" in line or ("_" not in line and line.partition(":")[0] in families())
        if is_backend:
            self.fail(
                f"{shown(line)} is a backend, and not a case such as {_EXAMPLE}; say {_backends_option(ctx)} {shlex.quote(line)}",
                param,
                ctx,
            )
        if line.endswith(".json") and Path(line).is_file():
            self.fail(
                f"{shown(line)} is a file, and not a case; a finding is run again by: convfuzz replay {shlex.quote(line)}", param, ctx
            )
        return line


def _backends_option(ctx: click.Context | None) -> str:
    """Return the option of a command that names backends."""
    return next((option for p in (ctx.command.params if ctx else ()) for option in p.opts if option.startswith("--backend")), "--backends")


class OutputFile(PathName):
    """The path of a file that a command writes at its end; one that cannot be written is refused before the work.

    ``-`` is standard output where the command says so, and else refused, so that nobody looks in vain for what a file of that name has.
    """

    def __init__(self, *, may_be_stdout: bool = False) -> None:
        super().__init__(dir_okay=False)
        self._may_be_stdout = may_be_stdout

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        path = super().convert(value, param, ctx)
        if str(value) == "-" and not self._may_be_stdout:
            self.fail(
                "- is not standard output here, which has something else; for that say /dev/stdout, and ./- for a file of that name",
                param,
                ctx,
            )
        try:
            require_writable(path)
        except UsageError as error:
            self.fail(str(error), param, ctx)
        return path


class Whole(click.IntRange):
    """A whole number within limits."""

    name = "whole number"


def memory_text(size: int) -> str:
    """Return bytes as :class:`Memory` reads them."""
    return f"{size / GIB:g}GiB"


class Names(ParamType[tuple[str, ...]]):
    """A list of names joined by commas."""

    name = "names"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names."""
        del param, ctx
        if isinstance(value, tuple):
            return value
        return tuple(name.strip() for name in str(value).split(",") if name.strip())


backends_option = click.option(
    "--backends",
    type=Names(),
    metavar="A,B",
    shell_complete=completion.backends,
    help="NAME[:MODE][+VARIANT], or a kernel as file.py::function. Default: torch, torch+split and tensorflow, as installed.",
)


def limits_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--case-timeout`` and ``--memory-limit`` to a command, which gets both as ``limits``."""

    @wraps(command)
    def limited(*arguments: Any, case_timeout: float, memory_limit: int, **options: Any) -> Any:
        return command(*arguments, limits=Limits(case_timeout=case_timeout, memory=memory_limit), **options)

    default = Limits()
    timeout = click.option(
        "--case-timeout",
        type=Duration(),
        default=f"{default.case_timeout:g}s",
        show_default=True,
        help="A backend that takes longer on one case is a `timeout`.",
    )
    memory = click.option(
        "--memory-limit",
        type=Memory(),
        default=memory_text(default.memory),
        show_default=True,
        help="A backend whose process has more resident memory is a `memory` finding: 4GiB, 512MiB, or a number of GiB.",
    )
    return timeout(memory(limited))
