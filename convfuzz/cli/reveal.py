"""``convfuzz reveal``: the data sheet of a kernel's arithmetic, measured from outside."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from convfuzz.cli import Command, completion
from convfuzz.cli.options import OutputFile
from convfuzz.errors import UsageError
from convfuzz.record import tree_picture
from convfuzz.revealing.gradient_passes import MEASURED, Measured
from convfuzz.revealing.invariance import KINDS, MEANINGS
from convfuzz.revealing.measurement import DEFAULT_CASE
from convfuzz.revealing.measurement import reveal as measure
from convfuzz.revealing.sheet import Sheet
from convfuzz.revealing.text import rows
from convfuzz.system.files import write_named
from convfuzz.system.json_records import encode


@click.command(cls=Command)
@click.argument("backend", metavar="BACKEND", shell_complete=completion.backends)
@click.option(
    "--case", default=DEFAULT_CASE, show_default=True, metavar="CASE", shell_complete=completion.cases, help="The layer measured."
)
@click.option(
    "--pass", "in_pass", type=click.Choice(MEASURED), default="forward", show_default=True, help="Which result: the output, or a gradient."
)
@click.option("--json", "as_json", is_flag=True, help="The whole sheet as one JSON object, with the whole tree.")
@click.option("--svg", type=OutputFile(), metavar="FILE", help="Write a picture of the summation tree.")
def reveal(backend: str, case: str, in_pass: Measured, svg: Path | None, *, as_json: bool) -> None:
    """Measure the arithmetic of BACKEND from outside.

    In which order are the products of an output element added, in which formats, what changes a result that should not, and what is to
    be declared. BACKEND is NAME[:MODE][+VARIANT], or a kernel as file.py::function. Exit status 0; 2 if nothing can be measured, or drawn.
    """
    sheet = measure(backend, case, in_pass=in_pass)
    if as_json:
        click.echo(encode(sheet.as_record()).decode())
    else:
        _print(Console(highlight=False, emoji=False), sheet)
    if svg is not None:
        _draw(sheet, svg)  # last: what was measured is not lost with the picture


def _draw(sheet: Sheet, path: Path) -> None:
    if not sheet.outline:
        raise UsageError(f"{sheet.backend} has no summation tree to draw: {sheet.order_in_words}")
    picture = tree_picture.svg(sheet.outline, title=f"{sheet.backend} on {sheet.case}: {sheet.order_in_words}", standalone=True)
    write_named(path, picture.encode())


def _print(console: Console, sheet: Sheet) -> None:
    def say(line: str, style: str = "") -> None:
        console.print(line, markup=False, soft_wrap=True, style=style)

    versions = ", ".join(f"{name} {version}" for name, version in sheet.versions.items())
    in_pass = "" if sheet.in_pass == "forward" else f", {sheet.in_pass}"
    say(f"{sheet.backend} on {sheet.case}{in_pass}" + f" ({versions})" * bool(versions), "bold")
    for name, value in rows(sheet):
        say(f"  {name:16} {value}")
    say("\nBit for bit the same whatever is …", "bold")
    for kind in KINDS:
        said = {True: "yes", False: "NO", None: "not known"}[sheet.invariant[kind]]
        found = sheet.violations.get(kind)
        shown = f": {found.what}, max-abs {found.max_abs:.3g}: {found.case}" if found else ""
        say(f"  {MEANINGS[kind]:55} {said}{shown}")
    for title, lines in (
        ("What was seen", [f"{seen.probe}: {seen.result}" for seen in sheet.notes.seen]),
        ("What was inferred", sheet.notes.inferred),
        ("Not understood", sheet.notes.not_understood),
    ):
        if lines:
            say(f"\n{title}", "bold")
            for line in lines:
                say(f"  {line}")
