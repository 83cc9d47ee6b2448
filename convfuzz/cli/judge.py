"""``convfuzz judge``: does a solution compute what its problem's model does?"""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

import click
from rich.console import Console

from convfuzz.backends import Numerics
from convfuzz.cli import Command
from convfuzz.cli.options import Duration, OutputFile, ParamType, PathName, Whole
from convfuzz.errors import InvalidConfig
from convfuzz.solutions.judge import ACCEPTED, REJECTED, Judged
from convfuzz.solutions.judge import judge as judged
from convfuzz.system.files import write_named
from convfuzz.system.json_records import encode
from convfuzz.system.safe_text import one_line

_STYLES = {ACCEPTED: "bold green", REJECTED: "bold red"}
_MOST_ROWS = 8


class Declared(ParamType[Numerics]):
    """The arithmetic that is allowed, as ``inputs=tfloat32,algorithm=transform``."""

    name = "numerics"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Numerics:
        """Return the declaration."""
        if isinstance(value, Numerics):
            return value
        given: dict[str, object] = {}
        known = [field.name for field in fields(Numerics) if field.name not in ("gradients", "values")]
        for part in str(value).split(","):
            name, separator, word = (text.strip() for text in part.partition("="))
            if not separator or name not in known:
                self.fail(f"{part.strip()!r} is not NAME=VALUE with a NAME of {', '.join(known)}", param, ctx)
            if name in given:
                self.fail(f"{name} is given twice, as {given[name]!r} and as {word!r}: give it once", param, ctx)
            given[name] = {"true": True, "false": False}.get(word.lower(), word)
        try:
            return Numerics(**given)  # type: ignore[arg-type] # which checks every value
        except InvalidConfig as error:
            self.fail(str(error), param, ctx)


@click.command(cls=Command)
@click.argument("problem", type=PathName(dir_okay=False))
@click.argument("solution", type=PathName(dir_okay=False))
@click.option("--seed", type=Whole(0, 2**31 - 1), help="What the trials are drawn from. Default: drawn, and printed.")
@click.option("--time", "seconds", type=Duration(), default=60.0, show_default="60s", help="How long to go on judging.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where the solution computes.")
@click.option("--numerics", type=Declared(), help="The arithmetic that is allowed, such as inputs=tfloat32,algorithm=transform.")
@click.option("--html", type=OutputFile(), help="Write the verdict as a page, too.")
@click.option("--json", "as_json", is_flag=True, help="The verdict as one JSON object.")
def judge(
    problem: Path,
    solution: Path,
    seed: int | None,
    seconds: float,
    device: str,
    numerics: Numerics | None,
    html: Path | None,
    *,
    as_json: bool,
) -> int:
    """Judge the ModelNew of SOLUTION by the Model of PROBLEM.

    PROBLEM is a Python file with a class Model, an nn.Module, get_inputs() and get_init_inputs(); SOLUTION one with a class
    ModelNew. Exit status: 0 accepted, 1 rejected, 2 not covered: an operation of the model has no rule, so that nothing is said.
    """
    found = judged(problem, solution, seed=seed, seconds=seconds, device=device, numerics=numerics)
    if as_json:
        sys.stdout.write(encode(found).decode() + "\n")
    else:
        _print(Console(highlight=False, emoji=False), found)
    if html is not None:
        from convfuzz.solutions.page import page  # noqa: PLC0415 - when a page is wanted

        write_named(html, page(found).encode())  # last: the verdict is not lost with the page
    return found.status


def _print(console: Console, found: Judged) -> None:
    console.print(found.verdict, style=_STYLES.get(found.verdict, "bold yellow"))
    for line in (*found.reasons, *(f"note: {note}" for note in found.notes)):
        console.print(f"  {one_line(line)}", markup=False, soft_wrap=True)
    wrong = [one for one in found.trials if one.verdict != "agree"]
    for one in wrong[:_MOST_ROWS]:
        console.print(f"  {one.instance}, {one.name}: {one.verdict}: {one_line(one.reason)}", markup=False, soft_wrap=True)
    if len(wrong) > _MOST_ROWS:
        console.print(f"  and {len(wrong) - _MOST_ROWS} more trials")
    judged_of = f"{found.elements_judged:,} of {found.elements:,} elements in {len(found.trials)} trials"
    console.print(f"{judged_of}, {found.seconds:.1f} s; again: --seed {found.seed}", style="dim")
