"""``convfuzz bisect`` over small packages made for it, in environments of their own, from a folder of wheels."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest

from cli.conftest import Call

SCRIPT = '''\
"""A finding.

Verdict: wrong
"""
import sys

import frame

got = frame.add(1, 1)
print("BUG is there" if got != 2 else "fixed: within the tolerance")
sys.exit(got != 2)
'''
RIGHT = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return a - b\n"
RELEASES = {"1.0": RIGHT, "1.1": RIGHT, "1.2": RIGHT, "2.0": WRONG, "2.1": WRONG, "2.1.1": WRONG, "2.2rc1": WRONG, "3.0": RIGHT}
INSTALLERS = ["pip", pytest.param("uv", marks=pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not on the path"))]


def wheel(folder: Path, name: str, version: str, files: dict[str, str], requires: str = "") -> None:
    """Write a wheel; the least that pip and uv install."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + (f"Requires-Dist: {requires}\n" if requires else "")
    content = files | {
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*content, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in (content | {f"{info}/RECORD": record}).items():
            archive.writestr(path, text)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with releases of the package ``frame``, and stand-ins for what every environment has; nothing else is asked."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for version, source in RELEASES.items():
        wheel(folder, "frame", version, {"frame.py": source})
    for needed in ("numpy", "ml_dtypes"):
        wheel(folder, needed, "1.0", {f"{needed}.py": ""})
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    (tmp_path / "script.py").write_text(SCRIPT)
    return folder


def options(wheels: Path, first: str, last: str, *more: str) -> list[str]:
    """Return the arguments of a bisection that asks no index."""
    where = ["--find-links", str(wheels), "--no-index", "--cache", str(wheels.parent / "cache")]
    return ["bisect", str(wheels.parent / "script.py"), "--package", "frame", "--from", first, "--to", last, *where, *more]


@pytest.mark.parametrize("installer", INSTALLERS)
def test_the_release_that_brought_a_bug_is_named(call: Call, wheels: Path, installer: str) -> None:
    """The table says what each tried release did, and the last line names the first bad one; the exit status is 0."""
    called = call(*options(wheels, "1.0", "2.1", "--installer", installer))
    assert called.status == 0, called.stdout + called.stderr
    assert called.stdout.splitlines()[-1] == "First bad release: frame 2.0 (1.2 is good)."
    assert "6 releases, 1.0 to 2.1.1" in called.stdout, "--to 2.1 covers 2.1.1, and no pre-release is tried"
    assert "made by " + installer in called.stdout


def test_the_release_that_mended_a_bug_is_named(call: Call, wheels: Path) -> None:
    """Where the oldest release is bad, the first good one is searched for; pre-releases are tried when they are asked for."""
    called = call(*options(wheels, "2.0", "3.0", "--installer", "pip", "--pre"))
    assert called.status == 0, called.stdout + called.stderr
    assert called.stdout.splitlines()[-1] == "First good release: frame 3.0 (2.2rc1 is bad)."


def test_what_cannot_be_installed_says_nothing(call: Call, wheels: Path) -> None:
    """A release that needs what is not there, and one in which the script does not run, are passed over and stay possible."""
    wheel(wheels, "frame", "1.2", {"frame.py": RIGHT}, requires="nothing-like-it")
    wheel(wheels, "frame", "2.0", {"frame.py": "raise ImportError('no such processor')\n"})
    called = call(*options(wheels, "1.0", "2.1", "--installer", "pip"))
    assert called.status == 0, called.stdout + called.stderr
    said = " ".join(called.stdout.split())
    assert "First bad release: frame 2.1 or one of 1.2, 2.0, which cannot be said (1.1 is good)." in said
    assert "it cannot be installed: ERROR: " in said
    assert "the script does not run: ImportError: no such processor" in said


def test_a_module_that_another_package_brings_is_asked_for_at_once(call: Call, wheels: Path) -> None:
    """The message names the option and the package, after one release instead of all; with the option the release is found."""
    script = wheels.parent / "script.py"
    script.write_text(SCRIPT.replace("import frame", "import frame\nimport msgspec"))
    refused = call(*options(wheels, "1.0", "2.1", "--installer", "pip"))
    assert refused.status == 2
    said = " ".join(refused.stderr.split())
    assert "the script imports msgspec, which the environment of frame 1.0 does not have: add --with msgspec" in said
    assert len(list((wheels.parent / "cache").iterdir())) == 1
    wheel(wheels, "msgspec", "1.0", {"msgspec.py": ""})
    called = call(*options(wheels, "1.0", "2.1", "--installer", "pip", "--with", "msgspec"))
    assert called.stdout.splitlines()[-1] == "First bad release: frame 2.0 (1.2 is good)."


def test_environments_are_kept(call: Call, wheels: Path) -> None:
    """A second bisection installs nothing: it needs no packages any more."""
    first = call(*options(wheels, "1.2", "2.0", "--installer", "pip"))
    assert "0 of them are there already" in first.stdout
    made = sorted((wheels.parent / "cache").iterdir())
    times = [path.stat().st_mtime_ns for path in made]
    second = call(*options(wheels, "1.2", "2.0", "--installer", "pip"))
    assert "2 of them are there already" in second.stdout
    assert second.stdout.splitlines()[-1] == first.stdout.splitlines()[-1] == "First bad release: frame 2.0 (1.2 is good)."
    assert [path.stat().st_mtime_ns for path in made] == times


def test_a_dry_run_installs_nothing(call: Call, wheels: Path) -> None:
    """It says which releases there are and what would be run, with the options that were given."""
    called = call(*options(wheels, "1.0", "2.1", "--installer", "pip", "--with", "numpy<2", "--dry-run"))
    assert called.status == 0
    assert [line.strip() for line in called.stdout.splitlines() if line.strip()[:1].isdigit()][1:] == [
        "1.0",
        "1.1",
        "1.2",
        "2.0",
        "2.1",
        "2.1.1",
    ]
    assert f"--no-index --find-links {wheels} frame==1.0 numpy ml_dtypes 'numpy<2'" in called.stdout
    assert not (wheels.parent / "cache").exists()


def test_ends_that_agree_are_exit_status_1(call: Call, wheels: Path) -> None:
    """Where oldest and newest release do the same there is nothing to name."""
    called = call(*options(wheels, "2.0", "2.1", "--installer", "pip"))
    assert called.status == 1
    assert "No change: frame 2.0 and 2.1.1 both have the bug." in called.stdout


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("one", "2", "'one' is not a version, such as 2.13 or 2.13.1"),
        ("4", "5", "frame has no release from 4 to 5; the index has 1.0, 1.1, 1.2, 2.0, 2.1, 2.1.1, 3.0"),
    ],
)
def test_what_is_no_release_is_refused(call: Call, wheels: Path, first: str, last: str, message: str) -> None:
    """The message names the value and what there is; the exit status is 2."""
    called = call(*options(wheels, first, last))
    assert called.status == 2
    assert message in called.stderr


def test_a_package_that_the_index_does_not_have_is_refused(call: Call, wheels: Path) -> None:
    """What pip says of it is passed on."""
    called = call(*[word if word != "frame" else "no-such-frame" for word in options(wheels, "1", "2")])
    assert called.status == 2
    assert "the releases of no-such-frame cannot be listed: " in called.stderr
