"""Shell completion: what a shell proposes for backends, strategies, cases and findings, and ``convfuzz completion``, which turns it on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from convfuzz.case.line import DTYPE_TOKENS, FLAWS, LAYOUT_TOKENS, PADDING_MODES, WEIGHT_LAYOUT_TOKENS
from convfuzz.cli import Command
from convfuzz.entry_points import STRATEGIES, registered

_HEADS = [f"{op}{dims}d" for op in ("conv", "convt") for dims in (1, 2, 3)]
_VALUES = {"n": "batch", "c": "channels in", "o": "channels out", "g": "groups", "i": "input size", "k": "kernel size"} | {
    "s": "stride", "p": "padding", "d": "dilation", "op": "output padding"
}  # fmt: skip
"""The tokens that take a number: a shell proposes the letter, and the number is the user's."""
_FINGERPRINT = re.compile(r"[0-9a-f]{8}")
_SHELLS = ("bash", "zsh", "fish")


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(_SHELLS), required=False)
def completion(shell: str | None) -> None:
    """Print what makes SHELL complete commands, backends, strategies and cases; the shell that runs by default.

    \b
    eval "$(convfuzz completion bash)"                                  in ~/.bashrc, or zsh in ~/.zshrc
    convfuzz completion fish > ~/.config/fish/completions/convfuzz.fish
    """  # noqa: D301 - click wants the character itself
    from convfuzz.cli import cli  # noqa: PLC0415 - the group that this command belongs to

    name = shell or Path(os.environ.get("SHELL", "bash")).name
    kind = get_completion_class(name) if name in _SHELLS else None
    if kind is None:
        raise click.UsageError(f"your shell is {name}; say one of {', '.join(_SHELLS)}")
    click.echo(kind(cli, {}, "convfuzz", "_CONVFUZZ_COMPLETE").source())
    if name == "bash":
        click.echo("COMP_WORDBREAKS=${COMP_WORDBREAKS//:}  # a colon is part of a name: torch:native, file.py::function")


def backends(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Propose backends for the last name of a list, with modes and variants, and files of kernels; no framework is loaded."""
    from convfuzz.backends import families  # noqa: PLC0415 - takes time, and not every completion is of backends
    from convfuzz.backends.kernels.mentions import functions_of  # noqa: PLC0415
    from convfuzz.backends.variants import VARIANTS  # noqa: PLC0415

    del ctx, param
    before, comma, last = incomplete.rpartition(",")
    base, plus, _ = last.rpartition("+")
    file = last.partition("::")[0] if "::" in last else last
    if file.endswith(".py"):
        names: Iterable[str] = (f"{file}::{function}" for function in functions_of(Path(file)))
    elif plus:
        names = (f"{base}+{variant}" for variant in VARIANTS)
    else:
        known = families()
        names = [f"{name}:{mode}" if mode else name for name, family in known.items() for mode in family.modes]
        names += [str(path) for path in sorted(Path(last).parent.glob("*.py"))] if last else []
    return [CompletionItem(f"{before}{comma}{name}") for name in names if name.startswith(last)]


def strategies(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Propose the named search spaces."""
    del ctx, param
    return [CompletionItem(name) for name in registered(STRATEGIES) if name.startswith(incomplete)]


def cases(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Propose the next token of a case; each one stands once in a case, and what takes a number is proposed as its letter."""
    del ctx, param
    before, underscore, last = incomplete.rpartition("_")
    if not underscore:
        return [CompletionItem(f"{head}_") for head in _HEADS if head.startswith(last)]
    used = set(before.split("_")[1:])
    words = [*DTYPE_TOKENS, *LAYOUT_TOKENS, *WEIGHT_LAYOUT_TOKENS, *(f"pm{mode}" for mode in PADDING_MODES), "b", "grad", "psame", "pvalid"]
    words += [f"bad-{flaw}" for flaw in FLAWS]
    is_given = {letter for letter in _VALUES if any(re.fullmatch(rf"{letter}[-\dx:]+", token) for token in used)}
    proposed = {**{letter: help_text for letter, help_text in _VALUES.items() if letter not in is_given}, **dict.fromkeys(words)}
    return [
        CompletionItem(f"{before}_{token}", help=help_text)
        for token, help_text in proposed.items()
        if token.startswith(last) and token not in used
    ]


def findings(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Propose the findings of the runs below the current folder, by their fingerprints too, and else files as the shell does."""
    del ctx, param
    files = sorted(path for place in ("*", "convfuzz-runs/*") for path in Path().glob(f"{place}/findings/*.json"))
    if _FINGERPRINT.match(incomplete.ljust(8, "0")) or not incomplete:
        found = [path for path in files if path.stem.startswith(incomplete)]
        if found:
            return [CompletionItem(str(path)) for path in found]
    return [CompletionItem(incomplete, type="file")]
