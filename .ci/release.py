"""Builds what is published and holds it against what its users will do: `tox run -e dist`, with the tag as an argument for a release."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
KERNEL = """
import convfuzz

def conv(x, w, b, config):
    return convfuzz.reference(config, x, w, b).y.astype(x.dtype)
"""


class NotReadyError(Exception):
    """What is missing for a release."""


def main(arguments: list[str]) -> int:
    """Build and check; with a tag such as ``v0.2.0``, hold it against version and changelog first."""
    try:
        version = version_of((ROOT / "convfuzz" / "__init__.py").read_text(encoding="utf-8"))
        for tag in arguments:
            check_tag(tag, version, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
        shutil.rmtree(DIST, ignore_errors=True)
        # The wheel from the source archive, so that both are whole. What setuptools warns of is an error.
        run(sys.executable, "-m", "build", "--outdir", str(DIST), str(ROOT), PYTHONWARNINGS="error::UserWarning")
        built = sorted(str(path) for path in DIST.iterdir())
        run(sys.executable, "-m", "twine", "check", "--strict", *built)
        run("check-wheel-contents", "--toplevel", "convfuzz", str(DIST))
        with tempfile.TemporaryDirectory() as folder:
            try_wheel(version, Path(folder))
    except NotReadyError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


def version_of(source: str) -> str:
    """Return the version, which stands in ``convfuzz/__init__.py`` and nowhere else."""
    found = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    if found is None:
        raise NotReadyError('convfuzz/__init__.py has no line `__version__ = "…"`')
    return found[1]


def check_tag(tag: str, version: str, changelog: str) -> None:
    """Raise unless ``tag`` is that of ``version``, and the changelog has that version, with its date, as the latest."""
    if tag != f"v{version}":
        raise NotReadyError(f"the tag {tag} is not v{version}, the version in convfuzz/__init__.py")
    headings = re.findall(r"^## (.+)$", changelog, re.MULTILINE)
    released = [heading for heading in headings if heading != "[Unreleased]"]
    if not released or not re.fullmatch(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", released[0]):
        raise NotReadyError(f"CHANGELOG.md has no heading `## [{version}] - YYYY-MM-DD` above those of earlier versions")


def try_wheel(version: str, folder: Path) -> None:
    """Install the wheel where nothing else is, and use it as somebody would who writes a kernel."""
    venv.create(folder / "clean", with_pip=True)
    scripts = folder / "clean" / ("Scripts" if sys.platform == "win32" else "bin")
    run(str(scripts / "python"), "-m", "pip", "install", "--quiet", "--no-compile", *map(str, DIST.glob("*.whl")))
    (folder / "kernel.py").write_text(KERNEL, encoding="utf-8")
    convfuzz = str(scripts / "convfuzz")
    said = run(convfuzz, "--version", cwd=folder)
    if version not in said.split():
        raise NotReadyError(f"the wheel says that it is {said.strip()!r}, not version {version}")
    where = run(str(scripts / "python"), "-c", "import convfuzz; print(convfuzz.__file__)", cwd=folder).strip()
    if not Path(where).resolve().is_relative_to(folder.resolve()):
        raise NotReadyError(f"what ran is not the installed wheel but {where}")
    # The corpus, the list of known bugs and the report's templates are files of the package.
    run(convfuzz, *shlex.split("run --backends kernel.py::conv --strategy nightly --max-cases 40 --seed 1 --out out"), cwd=folder)
    run(convfuzz, *shlex.split("report out --format junit --out -"), cwd=folder)
    if not (folder / "out" / "report.html").is_file():
        raise NotReadyError("a run of the installed wheel leaves no report")


def run(*command: str, cwd: Path = ROOT, **environment: str) -> str:
    """Run a command, show what it prints, and return it; raise if it fails."""
    print("$", *command, flush=True)
    done = subprocess.run(command, cwd=cwd, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="", flush=True)
    if done.returncode:
        raise NotReadyError(f"{Path(command[0]).name} {command[1]} ended with status {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
