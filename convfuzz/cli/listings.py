"""``convfuzz backends`` and ``convfuzz strategies``: what there is."""

from __future__ import annotations

import inspect

import click
from rich.console import Console
from rich.table import Table

from convfuzz.backends import available, families, registry, resolve
from convfuzz.backends.variants import VARIANTS
from convfuzz.cli import Command
from convfuzz.entry_points import STRATEGIES, registered
from convfuzz.errors import BackendError


@click.command(cls=Command)
@click.option(
    "--names",
    "only_names",
    is_flag=True,
    help="Print only the names of those that run here, the reference excepted, as --backends takes them.",
)
def backends(*, only_names: bool) -> None:
    """List the backends: versions, modes, what each supports, why one is missing.

    \b
    convfuzz run --backends "$(convfuzz backends --names)"    a campaign over everything that is installed
    """  # noqa: D301 - click wants the character itself
    if only_names:
        click.echo(",".join(name for name in registry.names() if name != "reference" and available(name) is None))
        return
    console = Console(highlight=False, emoji=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("backend", "versions", "what it is"):
        table.add_column(column, overflow="fold")
    missing: list[str] = []
    for name, family in families().items():
        for mode, line in family.modes.items():
            full = f"{name}:{mode}" if mode else name
            try:
                state = ", ".join(f"{package} {version}" for package, version in resolve(full).versions.items()) or "-"
            except BackendError as error:
                state = "missing"
                missing.append(str(error))
            table.add_row(full, state, line)
    console.print(table)
    console.print()
    for reason in missing:
        console.print(reason, soft_wrap=True, markup=False)
    for name, variant in VARIANTS.items():
        console.print(
            f"+{name}: {_description(variant).splitlines()[0]} Usable on any backend: torch+{name}.", soft_wrap=True, markup=False
        )
    console.print("file.py::function or package.module::function: a kernel of your own.", soft_wrap=True)


@click.command(cls=Command)
def strategies() -> None:
    """List the named search spaces and what each covers."""
    console = Console(highlight=False, emoji=False)
    for point in registered(STRATEGIES).values():
        console.print(point.name, style="bold")
        console.print(_description(point.load()) + "\n", markup=False)


def _description(described: object) -> str:
    """Return a docstring, which is not there where somebody has written none, or ``python -OO`` has left it out."""
    return inspect.getdoc(described) or "no description."
