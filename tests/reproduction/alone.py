"""An environment of its own that holds NumPy and the frameworks, and no convfuzz: what a maintainer has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

K = TypeVar("K")
PLANTS = Path(__file__).with_name("plants.py")
_LEFT_OUT = ("convfuzz", "__editable__", "__pycache__", "sitecustomize", "numba", "hypothesis", "msgspec", "pytest", "_pytest")
_PLANTED = """\
import os
if "PLANT" in os.environ:
    import plants
    plants.plant(os.environ["PLANT"])
"""


class Ended(NamedTuple):
    """How a program ended, below 0 by a signal, and what it printed."""

    status: int
    printed: str


@dataclass(frozen=True)
class Alone:
    """The environment: a virtual one whose packages are links to this one's, convfuzz and what it alone needs left out."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Alone:
        """Make it in a folder that is not there yet."""
        venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
        made = cls(folder)
        (packages,) = folder.glob("lib/python*/site-packages")
        for place in map(Path, sys.path):
            if place.name in ("site-packages", "dist-packages") and place.is_dir():
                for entry in place.iterdir():
                    link = packages / entry.name
                    if not entry.name.startswith(_LEFT_OUT) and entry.suffix != ".pth" and not link.exists():
                        link.symlink_to(entry)
        (packages / "sitecustomize.py").write_text(_PLANTED)
        (packages / "plants.py").symlink_to(PLANTS)
        return made

    def python(self, *arguments: str, plant: str = "") -> Ended:
        """Run its interpreter, in its folder, with a bug planted from the start."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CONVFUZZ"))}
        environment |= {"PLANT": plant} if plant else {}
        command = [str(self.folder / "bin" / "python"), *arguments]
        ended = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd=self.folder, env=environment, timeout=300
        )
        return Ended(ended.returncode, ended.stdout)

    def program(self, source: str, name: str = "program") -> str:
        """Write a program down and return its path."""
        path = self.folder / f"{name}.py"
        path.write_text(source)
        return str(path)

    def run_all(self, programs: dict[K, tuple[str, str]], *frameworks: str) -> dict[K, Ended]:
        """Run programs, sources each with a bug to plant or none; the frameworks are imported once for all of them."""
        jobs = [
            {"program": self.program(source, f"program_{number}"), "plant": plant}
            for number, (source, plant) in enumerate(programs.values())
        ]
        (self.folder / "jobs.json").write_text(json.dumps(jobs))
        ended = self.python(str(PLANTS), "jobs.json", *frameworks)
        assert ended.status == 0, ended.printed
        return {key: Ended(**result) for key, result in zip(programs, json.loads(ended.printed.splitlines()[-1]), strict=True)}
