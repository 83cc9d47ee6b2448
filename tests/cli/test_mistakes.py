"""What a mistake gets: refused before anything is loaded, with the remedy first and in a message that is short enough to read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import msgspec
import pytest

from convfuzz import __version__, cli
from convfuzz.cli.ledger import ledger
from convfuzz.errors import UsageError
from convfuzz.record.run_directory import RunInfo, write_run_info

from .conftest import Call

CASE = "conv1d_c1_o1_i3_k2_f32@integers.0"
FRAMEWORKS = ("torch", "tensorflow", "jax", "onnxruntime", "openvino", "numba", "multiprocessing.forkserver.started")


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
    """A name that leads to nothing is refused with the closest one; nothing large is loaded, no child started, no directory made."""
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
        ("::right", "backend '::right' names no file; name one before the colons, such as kernels.py::right\n"),
        ("folder.py::right", "folder.py is a folder, and a kernel is in a file\n"),
        ("kernels.py::right kernels.py::wrong", "several are joined by commas, as in kernels.py::right,kernels.py::wrong\n"),
        ("torch jax", "several are joined by commas, as in torch,jax\n"),
    ],
)
def test_file_without_its_function(call: Call, name: str, message: str) -> None:
    """A kernel's file alone, or with one colon, gets the name that was meant, and not a list of all backends."""
    Path("broken.py").write_text("this is no Python")
    Path("folder.py").mkdir()
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
    ("arguments", "message"),
    [
        (("rnu",), "No such command 'rnu' (closest: 'run')."),
        (("ledger", "lst"), "No such command 'lst' (closest: 'list')."),
        (("zzzz",), "No such command 'zzzz'.\n"),
        (("help",), "No such command 'help'; it is an option: --help."),
        (("version",), "No such command 'version'; it is an option: --version."),
        (
            ("check", "kernels.py::right"),
            "'kernels.py::right' is a backend, and not a case such as conv1d_c3_o8_i9_k3_f32; say --backends kernels.py",
        ),
        (
            ("check", CASE, "torch:native"),
            "'torch:native' is a backend, and not a case such as conv1d_c3_o8_i9_k3_f32; say --backends torch:native",
        ),
        (("explain", "torch"), "'torch' is a backend, and not a case such as conv1d_c3_o8_i9_k3_f32; say --backend torch"),
        (("reduce", "finding.json"), "'finding.json' is a file, and not a case; a finding is run again by: convfuzz replay finding.json"),
        (("run", "--dask", "", "--backends", "kernels.py::right"), "--dask '': no scheduler answers there"),
        (("bisect", ".", "--package", "torch", "--from", "1", "--to", "2"), ". cannot be read: it is a folder"),
        (("run", "--backends", "kernels.py::right", "--workers", "1000000"), "--workers 1000000: each takes at least 128 MiB, and this "),
        (("run", "--max-cases", "2.5"), "'2.5' is not a valid whole number"),
        (("run", "--time", "9" * 400), "(402 characters) is more than 366 days"),
        (("check", CASE, "--case-timeout", "9000h"), "'9000h' is more than 366 days"),
        (("run", "my kernel.py::f"), "extra argument (my kernel.py::f). Backends are named by an option: --backends 'my kernel.py::f'"),
        (("run", "torch"), "unexpected extra argument (torch)\n"),
        (("check", CASE, "--backends", "torch:"), "backend 'torch' has no mode ''"),
        (("report", "kernels.py"), "kernels.py is not a run directory: it is a file"),
        (("report", "a", "./a"), "a is given twice, and a run counts once"),
        (
            ("ledger", "add", "no/l.toml", "f", "--tolerate", "--reason", "r", "--link", "u"),
            "no/l.toml cannot be written: there is no folder no",
        ),
        (("explain", CASE, "--backend", ""), "unknown backend ''"),
        (("explain", CASE, "--backend", "torhc"), "unknown backend 'torhc' (closest: 'torch')"),
        (("bisect", "kernels.py", "--package", "../x", "--from", "1", "--to", "2"), "'../x' is not the name of a package"),
        (("bisect", "kernels.py", "--package", "x", "--from", "2.9", "--to", "2.6"), "--from 2.9 is newer than --to 2.6"),
        (("bisect", "kernels.py", "--package", "x", "--from", "1", "--to", "2", "--with", "a b"), "'a b' is not a requirement such as"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_said_before_anything_is_done(call: Call, arguments: tuple[str, ...], message: str) -> None:
    """A word that no option or command knows is refused with the rule, and the closest where there is one; nothing else is printed."""
    Path("finding.json").touch()
    called = call(*arguments)
    assert (called.status, called.stdout) == (2, "")
    assert message in called.stderr


BISECT = ("bisect", "kernels.py", "--package", "x", "--from", "1", "--to", "2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--seed", "1", "--seed", "2"), "--seed is given 2 times, and only one could hold; give it once."),
        (
            ("check", CASE, "--backends", "torch", "--backends", "jax"),
            "--backends is given 2 times, and only one could hold; give it once with A,B,",
        ),
        (("run", "--arithmetic", "--no-arithmetic"), "--arithmetic and --no-arithmetic exclude each other; give one of them, once."),
        (
            ("ledger", "add", "l", "f", "--tolerate", "--quarantine", "--reason", "r", "--link", "u"),
            "--tolerate and --quarantine exclude each other; give one of them.",
        ),
        ((*BISECT, "--no-index", "--index-url", "u"), "--no-index and --index-url exclude each other"),
        ((*BISECT, "--no-index", "--extra-index-url", "u"), "--no-index and --extra-index-url exclude each other"),
        ((*BISECT, "--no-index"), "--no-index leaves only --find-links, which is not given."),
    ],
    ids=lambda value: " ".join(value[-4:]) if isinstance(value, tuple) else "",
)
def test_option_does_not_replace_another_in_silence(call: Call, arguments: tuple[str, ...], message: str) -> None:
    """Of two options that cannot both hold neither is dropped: they are refused, and what can be repeated still can."""
    called = call(*arguments)
    assert (called.status, called.stdout) == (2, "")
    assert message in called.stderr
    assert not Path("l").exists()
    again = call("check", CASE, "--json", "--json", "--backends", "kernels.py::right")
    assert again.status == 0


def test_every_command_refuses_what_would_replace_another() -> None:
    """No command is of Click's own class, in which the last of several values holds."""
    commands = [cli.cli.get_command(click.Context(cli.cli), name) for name in cli.cli.list_commands(click.Context(cli.cli))]
    commands += list(ledger.commands.values())
    for command in commands:
        assert isinstance(command, cli.Command | cli.NearestGroup), command


@pytest.mark.parametrize("arguments", [(), ("ledger",)], ids=" ".join)
def test_no_command_gets_the_help_once(call: Call, arguments: tuple[str, ...]) -> None:
    """Without a command there is the help, with one line of usage and no word of an error."""
    called = call(*arguments)
    assert called.status == 2
    assert called.stderr.count("Usage:") == 1
    assert "Error" not in called.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("judge", "kernels.py", "kernels.py", "--html"),
        ("reveal", "kernels.py::right", "--svg"),
        ("report", "kernels.py", "--out"),
        ("replay", "kernels.py", "--record"),
    ],
    ids=lambda arguments: arguments[0],
)
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("folder", "'folder' is a directory"),
        ("nowhere/file", "nowhere/file cannot be written: there is no folder nowhere"),
        ("kernels.py/file", "kernels.py/file cannot be written: kernels.py is not a folder"),
        ("", "the path is empty"),
    ],
)
def test_file_that_cannot_be_written(call: Call, arguments: tuple[str, ...], path: str, message: str) -> None:
    """A file that a command is to write at its end is refused before its work begins where it cannot be written."""
    Path("folder").mkdir()
    called = call(*arguments, path)
    assert (called.status, called.stdout) == (2, "")
    assert message in called.stderr


def test_dash_is_no_file_where_it_is_not_standard_output(call: Call) -> None:
    """``--svg -`` and its like are refused with what to say instead; no file of that name is left."""
    for arguments in (
        ("judge", "kernels.py", "kernels.py", "--html"),
        ("reveal", "kernels.py::right", "--svg"),
        ("replay", "kernels.py", "--record"),
    ):
        called = call(*arguments, "-")
        assert called.status == 2
        assert "- is not standard output here, which has something else; for that say /dev/stdout, and ./- for a file" in called.stderr
    assert not Path("-").exists()


def test_measured_sheet_outlives_its_picture(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured is printed although the picture of it turns out not to fit on the disk."""

    def full(path: Path, _: bytes) -> None:
        raise UsageError(f"{path} cannot be written: No space left on device")

    monkeypatch.setattr("convfuzz.cli.reveal.write_named", full)
    called = call("reveal", "kernels.py::right", "--case", "conv1d_c2_o1_i3_k2_f32", "--svg", "tree.svg")
    assert called.status == 2
    assert "What was seen" in called.stdout
    assert called.stderr == "convfuzz: tree.svg cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('boom')", "kernel.py::f raised ValueError on conv1d_c1_o1_i3_k2_f32@integers.0: boom"),
        ("return x", "kernel.py::f returned shape (1, 1, 3) on conv1d_c1_o1_i3_k2_f32@integers.0, expected (1, 1, 2)"),
    ],
)
def test_kernel_that_explain_cannot_use(call: Call, body: str, message: str) -> None:
    """``explain`` with a kernel that raises, or returns another shape, ends with what it did and on which case."""
    Path("kernel.py").write_text(f"def f(x, w, b, config):\n    {body}\n")
    called = call("explain", CASE, "--backend", "kernel.py::f")
    assert (called.status, called.stderr) == (2, f"convfuzz: {message}\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "x"), "convfuzz: x: No space left on device\n"),
        (FileNotFoundError(2, "No such file or directory"), "convfuzz: the current folder is not there any more\n"),
        (ZeroDivisionError("1/0"), f"ZeroDivisionError: 1/0\nconvfuzz: this is a bug of convfuzz {__version__} itself; please report it\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_error_that_nobody_foresaw_is_no_finding(call: Call, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str) -> None:
    """What the system refuses is one line, a bug of convfuzz itself shows where it is, and neither has the status of findings."""

    def fails(_: list[str]) -> None:
        raise error

    monkeypatch.setattr("convfuzz.cli.check.parse_cases", fails)
    called = call("check", CASE)
    assert called.status == 2
    assert called.stderr.endswith(said)
    assert ("Traceback" in called.stderr) == isinstance(error, ZeroDivisionError)


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


def test_files_that_go_while_they_are_looked_for(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that goes while ``replay`` looks for findings below another, or that may not be read, is passed over."""
    Path("below/deeper").mkdir(parents=True)
    Path("below/f.convfuzz.json").write_text("{}")
    listed = os.scandir

    def scandir(folder: str) -> object:
        if Path(folder).name == "deeper":
            raise FileNotFoundError(2, "No such file or directory", folder)
        return listed(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    called = call("replay", ".")
    assert (called.status, called.stderr) == (2, "")
    assert "below/f.convfuzz.json" in called.stdout


ARGUMENTS = {"backends": ["kernels.py::right"], "strategy": "smoke", "time": None, "max_cases": 2, "seed": 1, "workers": 1} | {
    "case_timeout": 20.0, "memory_limit": 4.0, "ledger": None, "known": "show"
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"strategy": "defualt"}, "unknown strategy 'defualt'; known are boundary, corpus, default"),
        ({"backends": ["torhc"]}, "unknown backend 'torhc' (closest: 'torch')"),
    ],
)
def test_run_whose_names_are_gone_is_not_resumed(call: Call, changed: dict[str, object], message: str) -> None:
    """What a run began with and is not installed any more is refused before anything loads, and the run stays as it was."""
    info = RunInfo.here(seed=1, strategy="smoke", backends=["kernels.py::right"], arguments={}, started=1.0, backend_versions={})
    named = msgspec.structs.replace(info, **(changed | {"arguments": ARGUMENTS | changed}))
    Path("run").mkdir()
    write_run_info(Path("run"), named)
    before = Path("run/run.json").read_bytes()
    called = call("run", "--resume", "run", "--max-cases", "3")
    assert called.status == 2
    assert called.stderr.startswith(f"convfuzz: {message}")
    assert Path("run/run.json").read_bytes() == before


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


@pytest.mark.slow
def test_file_called_as_a_module_of_python_s(tmp_path: Path) -> None:
    """A random.py beside a kernel is not imported by the processes that run it, and what they start is told nothing of that."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "start.py").write_text("from convfuzz.__main__ import main\n\nif __name__ == '__main__':\n    main()\n")
    (tmp_path / "random.py").write_text("raise RuntimeError('not this one')\n")
    (tmp_path / "kernel.py").write_text(
        "import os\nimport convfuzz\n\n"
        "def right(x, w, b, config):\n"
        "    assert 'PYTHONSAFEPATH' not in os.environ\n"
        "    return convfuzz.reference(config, x, w, b).y.astype(x.dtype)\n"
    )
    command = [sys.executable, "bin/start.py", "check", CASE, "--backends", "kernel.py::right"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
