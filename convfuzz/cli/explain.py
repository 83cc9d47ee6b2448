"""``convfuzz explain``: the arithmetic of one convolution, in words and with the numbers filled in."""

from __future__ import annotations

from dataclasses import replace

import click
from rich.console import Console
from rich.table import Table

from convfuzz.backends import available, resolve
from convfuzz.case import EXPLICIT, Case, DataRecipe
from convfuzz.case.explicit_data import assignments
from convfuzz.checking.explanation import explanation, split_check
from convfuzz.checking.result_table import number
from convfuzz.cli import Command, completion
from convfuzz.cli.options import CaseLine
from convfuzz.errors import UsageError

_MOST_ROWS = 32


@click.command(cls=Command)
@click.argument("case", type=CaseLine(), metavar="CASE", shell_complete=completion.cases)
@click.option(
    "--backend",
    "name",
    shell_complete=completion.backends,
    help="Backend of the split check. Default: torch where installed, else the reference.",
)
def explain(case: str, name: str | None) -> int:
    """Show what one convolution computes, and check it by applying the kernels one by one."""
    parsed = Case.parse(case)
    backend = resolve(name if name is not None else "torch" if available("torch") is None else "reference")
    console = Console(highlight=False, emoji=False)
    console.print(str(parsed), style="bold", markup=False, soft_wrap=True)
    for title, lines in [*explanation(parsed.config), *_data(parsed)]:
        console.print(f"\n{title}", style="bold")
        for line in lines:
            console.print(f"  {line}", markup=False, soft_wrap=True)
    if not parsed.config.is_valid:
        return 0
    parsed = replace(parsed, grad=False)  # the split is of the forward pass
    support = backend.supports(parsed)
    if not support:
        raise UsageError(f"{backend.name} does not compute this case: {support.reason}")
    drawn, exact = split_check(parsed, backend), split_check(Case(parsed.config, DataRecipe("integers", parsed.recipe.seed)), backend)
    console.print("\nThe split check", style="bold")
    console.print(f"  {backend.name} on all kernels at once, against each kernel on its own with the maps concatenated.", soft_wrap=True)
    console.print(
        "  On integers every sum is exact, so the two must be equal; on other data another order of summation may round apart.",
        soft_wrap=True,
    )
    table = Table(box=None, header_style="dim")
    for column in ("kernel", "max-abs on integers", f"max-abs on {parsed.recipe}"):
        table.add_column(column, justify="right")
    for kernel, (on_integers, on_drawn) in enumerate(zip(exact[:_MOST_ROWS], drawn[:_MOST_ROWS], strict=True)):
        table.add_row(str(kernel), number(on_integers), number(on_drawn))
    table.add_section()
    table.add_row("all", number(max(exact, default=0.0)), number(max(drawn, default=0.0)), style="bold")
    console.print(table)
    if len(exact) > _MOST_ROWS:
        console.print(f"  ({len(exact) - _MOST_ROWS} more kernels are in the last row only)")
    return 0


def _data(case: Case) -> list[tuple[str, list[str]]]:
    """Return the section of a case whose elements are named: where each of them lies."""
    if case.recipe.regime != EXPLICIT:
        return []
    return [("Data", ["zeros" + ", but for" * bool(case.recipe.entries), *assignments(case.recipe.entries, case.config, grad=case.grad)])]
