"""What a mistake gets: refused before anything is loaded, with the remedy first and in a message that is short enough to read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Call

CASE = "conv1d_c1_o1_i3_k2_f32@integers.0"
FRAMEWORKS = ("torch", "tensorflow", "jax", "onnxruntime", "openvino", "multiprocessing.forkserver.started")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategy", "defualt"], "unknown strategy 'defualt'; known are boundary, corpus, default"),
        (["--strategy", "defualt"], "(closest: 'default')"),
        (["--strategy", ""], "unknown strategy ''"),
        (["--backends", "torhc"], "unknown backend 'torhc' (closest: 'torch')"),
        (["--backends", "torch:nativ"], "has no mode 'nativ' (closest: 'torch:native')"),
        (["--backends", "torch+splitt"], "(closest: 'split')"),
        (["--backends", "kernels.py::nothing.py"], "has no 'nothing.py'"),
    ],
)
def test_names_are_refused_before_a_framework_loads(tmp_path: Path, arguments: list[str], message: str) -> None:
    """A name that leads to nothing is refused with the closest one; no framework is loaded, no child started, no directory made."""
    (tmp_path / "kernels.py").write_text("def right(x, w, b, config): ...")
    code = f"""
import sys
from convfuzz import cli
sys.argv = ["convfuzz", "run", "--out", "out", *{arguments!r}]
try:
    cli.main()
finally:
    from multiprocessing import forkserver
    print([name for name in {FRAMEWORKS!r} if name in sys.modules], forkserver._forkserver._forkserver_pid)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 2
    assert message in done.stderr
    if "nothing.py" not in message:  # what a file defines is known when it has been imported, in a child
        assert done.stdout == "[] None\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kernels.py", "backend 'kernels.py' names no function; name a function: kernels.py::right, kernels.py::wrong, "),
        ("kernels.py:right", "names no function; name a function with two colons: kernels.py::right\n"),
        ("kernels.py:rihgt", "kernels.py defines no 'rihgt' (closest: 'right'): name a function with two colons, such as "),
        ("kernels.py::", "backend 'kernels.py::' names no function; name a function: kernels.py::right"),
        ("kernel.py", "backend 'kernel.py' names no function, and there is no file kernel.py in "),
        ("kernel.py::right", "there is no file kernel.py in "),
        ("broken.py", "backend 'broken.py' names no function; name a function: broken.py::function\n"),
    ],
)
def test_file_without_its_function(call: Call, name: str, message: str) -> None:
    """A kernel's file alone, or with one colon, gets the name that was meant, and not a list of all backends."""
    Path("broken.py").write_text("this is no Python")
    called = call("check", CASE, "--backends", name)
    assert called.status == 2
    assert message in called.stderr
    assert "tensorflow" not in called.stderr
    assert len(called.stderr) < 400


def test_function_that_a_file_lacks(call: Call) -> None:
    """A function that a file does not define is refused with the closest that it does."""
    called = call("check", CASE, "--backends", "kernels.py::rihgt")
    assert called.status == 2
    assert "kernels.py has no 'rihgt'; it defines " in called.stderr
    assert "(closest: 'right')" in called.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--out", ""),
        ("run", "--out", "  "),
        ("run", "--ledger", ""),
        ("run", "--resume", ""),
        ("report", ""),
        ("report", "x", "--out", ""),
        ("report", "x", "--history", ""),
        ("compare", "", "x"),
        ("replay", "kernels.py", "--record", ""),
        ("ledger", "list", ""),
        ("bisect", "kernels.py", "--package", "torch", "--from", "1", "--to", "2", "--cache", ""),
    ],
    ids=" ".join,
)
def test_empty_path_is_refused(call: Call, arguments: tuple[str, ...]) -> None:
    """An empty path, as of a variable that is not set, is not the current folder: nothing is scattered there."""
    before = sorted(Path().iterdir())
    called = call(*arguments)
    assert called.status == 2
    assert "the path is empty" in called.stderr
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("dangling", "dangling cannot be written: dangling is a link to nowhere, which is not there"),
        ("dangling/below", "dangling/below cannot be written: dangling is a link to nowhere, which is not there"),
        ("loop", "loop cannot be written: loop is a link to loop, which is not there"),
        ("kernels.py", "kernels.py cannot be written: kernels.py is not a folder"),
        ("kernels.py/below", "kernels.py/below cannot be written: kernels.py is not a folder"),
    ],
)
def test_run_directory_that_cannot_be(call: Call, out: str, message: str) -> None:
    """A link that leads nowhere, and a file in the way, are called what they are."""
    Path("dangling").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    called = call("run", "--backends", "kernels.py::right", "--max-cases", "3", "--out", out)
    assert (called.status, called.stderr) == (2, f"convfuzz: {message}\n")


@pytest.mark.parametrize("content", [b"", b"not json", b'{"format": 1,', b"\xff\xfe", b"format: 1\n"], ids=repr)
@pytest.mark.parametrize("command", ["replay", "ledger add", "bisect"])
def test_file_that_is_no_json(call: Call, command: str, content: bytes) -> None:
    """A finding file that is broken is said not to be JSON, whatever is wrong with it, by every command that reads one."""
    Path("f.json").write_bytes(content)
    more = {
        "replay": ["replay", "f.json"],
        "ledger add": ["ledger", "add", "l.toml", "f.json", "--tolerate", "--reason", "r", "--link", "l"],
        "bisect": ["bisect", "f.json", "--package", "torch", "--from", "1", "--to", "2"],
    }
    called = call(*more[command])
    assert called.status == 2
    said = called.stdout + called.stderr
    assert "f.json is not a finding: it is not JSON, or not all of it: " in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", f"conv1d_c1_o1_i3_k2_{'x' * 100_000}"),
        ("check", f"conv1d_c1_o1_i3_k2@{'x' * 100_000}"),
        ("check", CASE, "--backends", "x" * 100_000),
        ("run", "--strategy", "x" * 100_000),
        ("run", "--seed", "x" * 100_000),
        ("explain", CASE, "x" * 100_000),
        ("x" * 100_000,),
    ],
    ids=lambda arguments: arguments[0][:10],
)
def test_long_word_is_not_echoed_whole(call: Call, arguments: tuple[str, ...]) -> None:
    """A message about a word of 100,000 characters shows its beginning, and the rest of the message can be read."""
    called = call(*arguments)
    assert called.status == 2
    assert len(called.stdout + called.stderr) < 4000
    assert "characters)" in called.stderr


def test_padding_with_half_a_pair_is_told_the_pair(call: Call) -> None:
    """``p1:`` gets the form ``lo:hi``."""
    called = call("check", "conv1d_c1_o1_i3_k2_p1:")
    assert called.status == 2
    assert "two as lo:hi, such as 1 or 1:2" in called.stderr


def test_control_characters_of_an_argument_are_shown(call: Call) -> None:
    """A message of the option parser, too, shows control characters as escapes."""
    called = call("run", "--seed", "\x1b[31mred")
    assert called.status == 2
    assert "\x1b" not in called.stderr
    assert "\\x1b[31mred" in called.stderr


@pytest.mark.slow
def test_limit_below_what_the_frameworks_take(process: Call) -> None:
    """A memory limit that leaves nothing beside the loaded frameworks is refused with both amounts and what to do."""
    pytest.importorskip("torch")
    called = process("run", "--backends", "torch", "--memory-limit", "128MiB", "--max-cases", "3000")
    assert called.status == 2
    assert "the limit is 128 MiB" in called.stderr
    assert "give a greater --memory-limit" in called.stderr
    assert "last words" not in called.stderr
    assert "0.0 GiB" not in called.stderr
