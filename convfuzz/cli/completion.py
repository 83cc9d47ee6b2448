"""Shell completion: what a shell proposes for backends, strategies, cases and findings, and ``convfuzz completion``, which turns it on."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from convfuzz.case.line import DTYPE_TOKENS, FLAWS, LAYOUT_TOKENS, PADDING_MODES, WEIGHT_LAYOUT_TOKENS
from convfuzz.case.recipe import REGIMES
from convfuzz.cli import Command
from convfuzz.cli.shells import PART, SHELLS
from convfuzz.entry_points import REPORTS, STRATEGIES, registered

_HEADS = [f"{op}{dims}d" for op in ("conv", "convt") for dims in (1, 2, 3)]
_VALUES = {"n": "batch", "c": "channels in", "o": "channels out", "g": "groups", "i": "input size", "k": "kernel size"} | {
    "s": "stride", "p": "padding", "d": "dilation", "op": "output padding"
}  # fmt: skip
"""The tokens that take a number: a shell proposes the letter, and the number is the user's."""
_FINGERPRINT = re.compile(r"[0-9a-f]{8}")


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(list(SHELLS)), required=False)
def completion(shell: str | None) -> None:
    """Print what makes SHELL complete commands, backends, strategies and cases; the shell that runs by default.

    \b
    eval "$(convfuzz completion bash)"                                  in ~/.bashrc, or zsh in ~/.zshrc
    convfuzz completion fish > ~/.config/fish/completions/convfuzz.fish
    """  # noqa: D301 - click wants the character itself
    from convfuzz.cli import cli  # noqa: PLC0415 - the group that this command belongs to

    name = shell or Path(os.environ.get("SHELL", "bash")).name
    if name not in SHELLS:
        raise click.UsageError(f"your shell is {name}; say one of {', '.join(SHELLS)}")
    click.echo(SHELLS[name](cli, {}, "convfuzz", "_CONVFUZZ_COMPLETE").source(), nl=False)


def backends(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Propose backends for the last name of a list, with modes and variants, and kernels of files; no framework is loaded."""
    from convfuzz.backends import families  # noqa: PLC0415 - takes time, and not every completion is of backends
    from convfuzz.backends.variants import VARIANTS  # noqa: PLC0415

    del ctx, param
    before, comma, last = incomplete.rpartition(",")
    base, plus, _ = last.rpartition("+")
    folders: list[str] = []
    if "::" in last and not plus:
        names = _kernels(last.partition("::")[0])
    elif plus:
        names = [f"{base}+{variant}" for variant in VARIANTS]
    else:
        known = families()
        names = [f"{name}:{mode}" if mode else name for name, family in known.items() for mode in family.modes]
        files, folders = _files(last) if last else ([], [])
        names += _kernels(files[0]) if len(files) == 1 else files
    return [
        CompletionItem(f"{before}{comma}{name}", type=kind)
        for kind, some in (("plain", names), (PART, folders))
        for name in some
        if name.startswith(last)
    ]


def _kernels(file: str) -> list[str]:
    from convfuzz.backends.kernels.mentions import functions_of  # noqa: PLC0415 - as above

    return [f"{file}::{function}" for function in functions_of(Path(file))]


def _files(begun: str) -> tuple[list[str], list[str]]:
    """Return the files of Python, and the folders, whose paths begin so."""
    folder, slash, name = begun.rpartition("/")
    try:
        found = sorted(path for path in Path(folder + slash).iterdir() if path.name.startswith(name) and (name or path.name[0] != "."))
    except OSError:  # no such folder, or one that cannot be read
        return [], []
    files = [f"{folder}{slash}{path.name}" for path in found if path.suffix == ".py" and path.is_file()]
    return files, [f"{folder}{slash}{path.name}/" for path in found if path.is_dir()]


def strategies(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Propose the named search spaces."""
    del ctx, param
    return [CompletionItem(name) for name in registered(STRATEGIES) if name.startswith(incomplete)]


def reports(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Propose the formats of reports."""
    del ctx, param
    return [CompletionItem(name) for name in registered(REPORTS) if name.startswith(incomplete)]


def cases(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Propose the next token of a case; each one stands once in a case, and what takes a number is proposed as its letter."""
    del ctx, param
    line, at, data = incomplete.partition("@")
    if at:
        return [CompletionItem(f"{line}@{regime}.", type=PART) for regime in REGIMES if regime.startswith(data)]
    before, underscore, last = incomplete.rpartition("_")
    if not underscore:
        return [CompletionItem(f"{head}_", type=PART) for head in _HEADS if head.startswith(last)]
    used = set(before.split("_")[1:])
    words = [*DTYPE_TOKENS, *LAYOUT_TOKENS, *WEIGHT_LAYOUT_TOKENS, *(f"pm{mode}" for mode in PADDING_MODES), "b", "grad", "psame", "pvalid"]
    words += [f"bad-{flaw}" for flaw in FLAWS]
    is_given = {letter for letter in _VALUES if any(re.fullmatch(rf"{letter}[-\dx:]+", token) for token in used)}
    proposed = {**{letter: help_text for letter, help_text in _VALUES.items() if letter not in is_given}, **dict.fromkeys(words)}
    return [
        CompletionItem(f"{before}_{token}", type=PART, help=help_text)
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
