"""One environment for each release, made by uv or by venv and pip, and kept for the next time."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.version import Version

from convfuzz.bisection.releases import Sources, configured
from convfuzz.errors import UsageError
from convfuzz.system.safe_text import one_line

Installer = Literal["uv", "pip"]
_COMPLETE = "convfuzz-complete"
"""The file that an environment has when its installation has come to an end."""
NEEDED = ("numpy", "ml_dtypes")
"""What a script imports besides the framework."""


class CannotBeInstalled(Exception):
    """A release that this machine cannot have; the message says why."""


def default_installer() -> Installer:
    """Return uv where it is there: it links what it has installed before instead of copying it."""
    return "uv" if shutil.which("uv") else "pip"


@dataclass(frozen=True)
class Environments:
    """The environments in ``folder``, each with one release of ``package``, what a script needs, and what else is ``wanted``."""

    folder: Path
    package: str
    sources: Sources
    installer: Installer
    wanted: tuple[str, ...] = ()
    seconds: float = 1800.0

    def path(self, version: Version) -> Path:
        """Return where the environment of a release is, or would be: another source or interpreter has another one."""
        differs = json.dumps([sys.version, self.installer, self.sources.options(), self.wanted])
        return self.folder / f"{self.package}-{version}-{hashlib.sha256(differs.encode()).hexdigest()[:8]}"

    def has(self, version: Version) -> bool:
        """Whether the environment of a release has been made."""
        return (self.path(version) / _COMPLETE).is_file()

    def commands(self, version: Version) -> list[list[str]]:
        """Return what makes the environment of a release."""
        path, interpreter = str(self.path(version)), str(self.interpreter(version))
        what = [f"{self.package}=={version}", *self._needed(), *self.wanted]
        if self.installer == "uv":
            sources = self.sources.beside(configured())
            # As pip does: the best version over all indexes, not the first index that knows the package.
            every = ["--index-strategy", "unsafe-best-match"]
            return [
                ["uv", "venv", "--quiet", "--python", sys.executable, path],
                ["uv", "pip", "install", "--quiet", "--python", interpreter, *every, *sources.options(), *what],
            ]
        # The pip that is here, not the one that venv bundles: that takes longer to unpack than to use.
        install = [sys.executable, "-m", "pip", "--python", interpreter, "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        return [[sys.executable, "-m", "venv", "--without-pip", path], [*install, *self.sources.options(), *what]]

    def make(self, version: Version) -> Path:
        """Return the interpreter of a release's environment, which is made first where it is not there.

        Raises:
            CannotBeInstalled: it cannot be installed; nothing of it is left.
            UsageError: the folder cannot be written to.
        """
        if self.has(version):
            return self.interpreter(version)
        path = self.path(version)
        try:
            shutil.rmtree(path, ignore_errors=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            for command in self.commands(version):
                self._run(command)
            (path / _COMPLETE).touch()
        except OSError as error:
            raise UsageError(f"no environment can be made at {path}: {error.strerror or error}") from None
        finally:
            if not self.has(version):
                shutil.rmtree(path, ignore_errors=True)
        return self.interpreter(version)

    def interpreter(self, version: Version) -> Path:
        """Return where an environment's interpreter is."""
        return self.path(version) / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

    def nbytes(self, versions: Sequence[Version]) -> int:
        """Return what the environments of ``versions`` take, a file that several share counted once."""
        files: dict[tuple[int, int], int] = {}
        for version in versions:
            for file in self.path(version).rglob("*"):
                if file.is_file() and not file.is_symlink():
                    stat = file.stat()
                    files[stat.st_dev, stat.st_ino] = stat.st_size
        return sum(files.values())

    def _needed(self) -> list[str]:
        return [name for name in NEEDED if name != self.package]

    def _run(self, command: list[str]) -> None:
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=self.seconds)  # noqa: S603
        except subprocess.TimeoutExpired:
            raise CannotBeInstalled(f"installing took more than {self.seconds:g} s") from None
        if done.returncode:
            raise CannotBeInstalled(_why(done.stderr or done.stdout, command[0]))


def _why(said: str, installer: str) -> str:
    """Return the line of an installer's message that says what went wrong."""
    lines = [one_line(line.strip()) for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("ERROR", "error", "×", "╰─▶"))] or lines
    return " ".join(telling[:2]) or f"{Path(installer).name} says nothing"
