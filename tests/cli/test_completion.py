"""What a shell proposes, and what turns that on."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from convfuzz.cli import cli

from .conftest import Call


def proposed(*words: str) -> list[str]:
    """Return what a shell proposes for the last word."""
    shell = ShellComplete(cli, {}, "convfuzz", "_CONVFUZZ_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.parametrize(
    ("words", "some"),
    [
        (("re",), {"reduce", "replay", "report"}),
        (("run", "--str"), {"--strategy"}),
        (("run", "--strategy", "n"), {"nightly"}),
        (("run", "--known", "t"), {"tolerate"}),
        (("run", "--backends", "torch,tensorflow:na"), {"torch,tensorflow:native"}),
        (("check", "x", "--backends", "torch+split-"), {"torch+split-in", "torch+split-group", "torch+split-batch"}),
        (("run", "--backends", "kernels.py"), {"kernels.py::right", "kernels.py::wrong"}),
        (("run", "--backends", "torch,kernels.py::ri"), {"torch,kernels.py::right"}),
        (("run", "--backends", "ker"), {"kernels.py"}),
        (("explain", "x", "--backend", "torch:na"), {"torch:native"}),
        (("check", "convt"), {"convt1d_", "convt2d_", "convt3d_"}),
        (("check", "conv2d_c3_o8_b"), {"conv2d_c3_o8_b", "conv2d_c3_o8_bf16"}),
        (("check", "conv2d_c3_o8_i5_k3_gra"), {"conv2d_c3_o8_i5_k3_grad"}),
        (("replay", "8993"), {"out/findings/89934799.json"}),
        (("ledger", "add", "l.toml", "89"), {"out/findings/89934799.json"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_proposals(call: Call, words: tuple[str, ...], some: set[str]) -> None:
    """Commands, options, strategies, backends with modes and variants, functions of a file, tokens and findings are proposed."""
    del call  # it has made a folder with kernels.py the current one
    Path("out/findings").mkdir(parents=True)
    Path("out/findings/89934799.json").write_text("{}")
    found = set(proposed(*words))
    assert some <= found
    assert all(word.startswith(words[-1]) or word.endswith(f"{words[-1]}99.json") or "/findings/" in word for word in found)


def test_token_of_a_case_is_proposed_once(call: Call) -> None:
    """What a case has already is not proposed again."""
    del call
    found = proposed("check", "conv2d_c3_b_")
    assert "conv2d_c3_b_b" not in found
    assert "conv2d_c3_b_c" not in found
    assert "conv2d_c3_b_o" in found


def test_completing_loads_no_framework(call: Call) -> None:
    """A proposal is there at once: no framework is loaded for it."""
    del call
    before = set(sys.modules)
    assert proposed("run", "--backends", "tor")
    assert not {"torch", "tensorflow", "jax", "onnxruntime"} & (set(sys.modules) - before)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(call: Call, shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``convfuzz completion`` prints the script of the shell that is named, or else of one's own."""
    named = call("completion", shell)
    assert named.status == 0
    assert "_CONVFUZZ_COMPLETE" in named.stdout
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    assert call("completion").stdout == named.stdout


def test_other_shells_are_refused(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the own shell is none of them, the message names it and those there are."""
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    called = call("completion")
    assert called.status == 2
    assert "your shell is tcsh; say one of bash, zsh, fish" in called.stderr


def test_help_names_what_to_begin_with(call: Call) -> None:
    """``convfuzz --help`` has three commands that can be copied, and each has options that there are."""
    text = call("--help").stdout
    _, _, after = text.partition("Begin with these:")
    commands = [line.split()[1] for line in after.splitlines()[1:4]]
    assert commands == ["run", "run", "check"]
    with click.Context(cli) as context:
        for line in after.splitlines()[1:4]:
            command = cli.get_command(context, line.split()[1])
            assert command is not None
            known = {name for parameter in command.params for name in parameter.opts}
            assert {word for word in line.split() if word.startswith("--")} <= known
