"""What a shell proposes, and what turns that on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import get_completion_class

from convfuzz.cli import cli
from convfuzz.cli.shells import SHELLS, answer_shells

from .conftest import Call


def proposed(*words: str) -> list[str]:
    """Return what a shell proposes for the last word."""
    shell = SHELLS["zsh"](cli, {}, "convfuzz", "_CONVFUZZ_COMPLETE")
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
        (("run", "--backends", "ker"), {"kernels.py::right", "kernels.py::wrong"}),
        (("run", "--backends", "./ker"), {"./kernels.py::right", "./kernels.py::wrong"}),
        (("run", "--backends", "ou"), {"out/"}),
        (("run", "--backends", "out/"), {"out/a.py", "out/b.py", "out/findings/"}),
        (
            (
                "run",
                "--backends=torch,tensorflow:na",
            ),
            {"--backends=torch,tensorflow:native"},
        ),
        (("report", "--format", "s"), {"sarif"}),
        (("check", "conv2d_c3_o8_i5_k3_f32@no"), {"conv2d_c3_o8_i5_k3_f32@normal."}),
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
    for name in ("a.py", "b.py"):
        (Path("out") / name).write_text("def f(): ...")
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


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "in_zsh_and_fish", "in_bash"),
    [
        ("convfuzz run --strategy ni", "plain\tnightly", "plain\tnightly"),
        ("convfuzz run --strategy=ni", "plain\t--strategy=nightly", "plain\tnightly"),
        ("convfuzz run --backends torch,tensorflow:na", "plain\ttorch,tensorflow:native", "plain\tnative"),
        ("convfuzz run --backends 'a folder/k.py::ri", "plain\ta folder/k.py::right", "plain\tright"),
        ("convfuzz run --backends a\\ folder/k.py::ri", "plain\ta folder/k.py::right", "plain\tright"),
        ("convfuzz run --backends a\\ f", "part\ta folder/", "part\ta folder/"),
        ("convfuzz check conv1d_c1_f32@nor", "part\tconv1d_c1_f32@normal.", "part\t@normal."),
        ("convfuzz check conv1d_p1:2_gr", "part\tconv1d_p1:2_grad", "part\t2_grad"),
        ("convfuzz run --ledger=le", "file\tle", "file\tle"),
        ("convfuzz report --format mark", "plain\tmarkdown", "plain\tmarkdown"),
        ("convfuzz run --resume ", "file\t", "file\t"),
        ("convfuzz compl", "plain\tcompletion\tPrint what makes SHELL complete", "plain\tcompletion\tPrint what makes SHELL complete"),
    ],
)
def test_each_shell_is_answered(
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    shell: str,
    line: str,
    in_zsh_and_fish: str,
    in_bash: str,
) -> None:
    """A word with commas, colons, spaces or an option before it is completed as each shell puts it in."""
    del call
    Path("a folder").mkdir()
    Path("a folder/k.py").write_text("def right(): ...")
    for name, value in {"_CONVFUZZ_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_BREAKS": "\"'@><=;|&(:"}.items():
        monkeypatch.setenv(name, value)
    answer_shells()
    assert get_completion_class(shell) is SHELLS[shell]
    with pytest.raises(SystemExit):
        cli.main([], prog_name="convfuzz")
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert said[0].startswith(in_bash if shell == "bash" else in_zsh_and_fish)


IN_BASH = """
eval "$(convfuzz completion bash)"
convfuzz() { env convfuzz "$@"; }
compopt() { echo "compopt $*"; }
COMP_LINE="$1" COMP_POINT=${#1} COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2))
_convfuzz_completion convfuzz
printf '%s\\n' "${COMPREPLY[@]}"
"""
IN_ZSH = """
compdef() { :; }
compadd() { print -rl -- ${(P)@[-1]}; }
compset() { print -r compset "$@"; }
_path_files() { print -r files "$@"; }
eval "$(convfuzz completion zsh)"
words=("${@:2}") CURRENT=$#words PREFIX=$words[-1]
_convfuzz_completion
"""
IN_FISH = """
convfuzz completion fish | source
complete -C "$argv[1]"
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "words", "lines"),
    [
        ("bash", ["run", "--strategy", "=", "ni"], ["nightly"]),
        ("bash", ["run", "--backends", "torch,tensorflow", ":", "na"], ["native"]),
        ("bash", ["check", "convt1"], ["compopt -o nospace", "convt1d_"]),
        ("bash", ["run", "--backends", "a\\ f"], ["compopt -o nospace", "a\\ folder/"]),
        ("bash", ["run", "--ledger", "le"], ["compopt -o default", ""]),
        ("zsh", ["run", "--strategy=ni"], ["--strategy=nightly"]),
        ("zsh", ["run", "--backends", "torch,tensorflow:na"], ["torch,tensorflow:native"]),
        ("zsh", ["check", "convt1"], ["convt1d_"]),
        ("zsh", ["run", "--ledger=le"], ["compset -P --[a-z-]##=", "files"]),
        ("fish", ["run", "--strategy=ni"], ["--strategy=nightly"]),
        ("fish", ["run", "--backends", "torch,tensorflow:na"], ["torch,tensorflow:native"]),
        ("fish", ["run", "--ledger=led"], ["--ledger=ledger.toml"]),
        ("fish", ["check", "convt1"], ["convt1d_"]),
    ],
)
def test_script_of_each_shell(call: Call, shell: str, words: list[str], lines: list[str]) -> None:
    """What ``convfuzz completion`` prints runs in its shell, and hands on what is proposed."""
    del call
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    Path("a folder").mkdir()
    Path("ledger.toml").touch()
    line = re.sub(" ([:=]) ", r"\1", " ".join(["convfuzz", *words]))
    code = {"bash": IN_BASH, "zsh": IN_ZSH, "fish": IN_FISH}[shell]
    started = {"bash": ["bash", "-c", code, "bash"], "zsh": ["zsh", "-f", "-c", code, "zsh"], "fish": ["fish", "--no-config", "-c", code]}[
        shell
    ]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([*started, line, "convfuzz", *words], env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.stderr == ""
    assert done.stdout.splitlines() == lines


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
