"""Option types that several commands share."""

from __future__ import annotations

import re

import click

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smh])+|\d+(?:\.\d+)?")


class Duration(click.ParamType[float]):
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
        return seconds


class Names(click.ParamType[tuple[str, ...]]):
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
    help="NAME[:MODE][+VARIANT], or a kernel as file.py::function. Default: torch, torch+split and tensorflow, as installed.",
)
