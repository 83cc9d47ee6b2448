"""What a finding's script says of one release: the bug only where it fails as the finding does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from convfuzz.bisection.script import Said, Script, brought_by_another
from convfuzz.bisection.search import Answer
from convfuzz.errors import UsageError

WRONG = Script(Path("a.py"), "wrong")
ERROR = Script(Path("a.py"), "error", "InvalidArgument: the shape is inconsistent with the spatial dimensions of 3")
TRACEBACK = "Traceback (most recent call last):\n  File 'a.py', line 3, in f\n    call()\n{}\nand a second line\n"
RAISED = "BUG: raised on a valid configuration\n"


@pytest.mark.parametrize(
    ("script", "status", "output", "errors", "expected"),
    [
        (WRONG, 0, "max-abs 0\nfixed: within the tolerance\n", "", Answer.GOOD),
        (WRONG, 1, "max-abs 3\nBUG is there\n", "", Answer.BAD),
        (WRONG, 1, "BUG: output shape (1,) expected (2,)\n", "", Answer.BAD),
        (WRONG, 1, "", TRACEBACK.format("ModuleNotFoundError: No module named 'torch'"), Answer.UNKNOWN),
        (WRONG, 1, RAISED, TRACEBACK.format("TypeError: conv2d() got an unexpected keyword"), Answer.UNKNOWN),
        (WRONG, -11, "", "", Answer.UNKNOWN),
        (WRONG, 2, "", "", Answer.UNKNOWN),
        (ERROR, 1, RAISED, TRACEBACK.format("capi.state.InvalidArgument: the shape (4,) is inconsistent with dimensions of 9"), Answer.BAD),
        (ERROR, 1, RAISED, TRACEBACK.format("capi.state.InvalidArgument: unsupported IR version 10"), Answer.UNKNOWN),
        (ERROR, 1, RAISED, TRACEBACK.format("TypeError: the shape is inconsistent with the spatial dimensions"), Answer.UNKNOWN),
        (ERROR, 1, "BUG is there\n", "", Answer.BAD),
        (Script(Path("own.py")), 1, "", TRACEBACK.format("AssertionError"), Answer.BAD),
        (Script(Path("own.py")), 0, "", "", Answer.GOOD),
    ],
)
def test_a_script_shows_the_bug_or_does_not_apply(script: Script, status: int, output: str, errors: str, expected: Answer) -> None:
    """An API that is not there, another exception and a crash of something else say nothing of the release."""
    assert script.read(status, output, errors).answer is expected


def test_a_script_says_what_it_is_about(tmp_path: Path) -> None:
    """Verdict and exception are read from the head of the script, a reason over several lines too."""
    path = tmp_path / "0123abcd.py"
    path.write_text('"""A finding.\n\nVerdict: error\nReason: RuntimeError: one\ntwo three.\nRun again: confirmed.\n"""\n')
    assert Script.of(path) == Script(path, "error", "RuntimeError: one two three.")
    path.write_text('"""A finding.\n\nVerdict: wrong\nReason: 3 of 4 elements\n"""\n')
    assert Script.of(path) == Script(path, "wrong")


@pytest.mark.parametrize(
    ("module", "package", "expected"),
    [
        ("ml_dtypes", "torch", "ml_dtypes"),
        ("ml_dtypes", "ml-dtypes", ""),
        ("_pytest", "frame", "pytest"),
        ("no_such_module", "frame", ""),
    ],
)
def test_a_module_of_another_package_is_told_from_the_own(module: str, package: str, expected: str) -> None:
    """A module that the package has in other releases is no other package's; of one that is not here nothing is known."""
    assert brought_by_another(module, package) == expected


def test_a_script_names_the_module_that_it_lacks() -> None:
    """A module of a package that is there is none of another package."""
    missing = TRACEBACK.format("ModuleNotFoundError: No module named '{}'").replace("\nand a second line", "")
    assert WRONG.read(1, "", missing.format("onnx")).lacks == "onnx"
    assert not WRONG.read(1, "", missing.format("torch._inductor")).lacks


def test_a_script_that_does_not_end_says_nothing(tmp_path: Path) -> None:
    """It is ended after its time."""
    path = tmp_path / "slow.py"
    path.write_text("import time\ntime.sleep(60)\n")
    assert Script.of(path).run(Path(sys.executable), 0.5) == Said(Answer.UNKNOWN, "the script did not end within 0.5 s")


def test_other_packages_do_not_leak_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What PYTHONPATH names is no part of a release's environment."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "leaked.py").write_text("")
    path = tmp_path / "sub" / "script.py"
    path.parent.mkdir()
    path.write_text("import leaked\n")
    assert "No module named 'leaked'" in Script(path, "wrong").run(Path(sys.executable), 60).why


def test_a_finding_without_a_script_is_refused(tmp_path: Path) -> None:
    """The message says where the script should be."""
    with pytest.raises(UsageError, match="is not there; give the script itself"):
        Script.of(tmp_path / "0123abcd.py")
