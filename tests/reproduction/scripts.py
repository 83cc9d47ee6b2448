"""Reproduction scripts in tests: of a kernel in a file of its own, run in this process or in one without convfuzz."""

from __future__ import annotations

import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from campaign.kernel_sources import kernel_source

from convfuzz import Case, Finding, Verdict
from convfuzz.backends import Backend, resolve
from convfuzz.record.events import BackendEnded
from convfuzz.record.finding import fingerprint
from convfuzz.reproduction import reproduction_script

from .whole_kernel import RIGHT, whole_kernel


class KernelFile:
    """A kernel in a file of its own, whose body can be replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"{path}::kernel"

    def load(self, source: str, variant: str = "") -> Backend:
        """Replace the file and load the kernel afresh."""
        self.path.write_text(source)
        forget_kernels()
        return resolve(f"{self.name}{variant}")

    def write(self, body: str, *, header: str = "", decorator: str = "", out: bool = False) -> Backend:
        """Replace the file by a kernel of forward convolutions with this body; with ``out`` it fills an array."""
        arguments = "x, w, b, config, out" if out else "x, w, b, config"
        return self.load(
            header + kernel_source(body).replace("\n\ndef kernel(x, w, b, config)", f"\n\n{decorator}\ndef kernel({arguments})")
        )

    def write_whole(self, forward: str = RIGHT, backward: str = RIGHT, *, declared: str = "", variant: str = "") -> Backend:
        """Replace the file by a kernel of the whole operation that these statements change."""
        return self.load(whole_kernel(forward, backward, declared=declared), variant)


def forget_kernels() -> None:
    """Make the next import of a kernel file read it again."""
    for name in [name for name in sys.modules if name.startswith(("convfuzz_kernel_", "kernel_under_test", "script_under_test"))]:
        del sys.modules[name]


def finding_of(line: str, backend: Backend | str, verdict: str, reason: str = "", **changes: Any) -> Finding:
    """Return a finding of ``backend`` whose minimal case is ``line``."""
    case, name = Case.parse(line), backend if isinstance(backend, str) else backend.name
    kind = Verdict(verdict)
    fields: dict[str, Any] = {"fingerprint": fingerprint(case, name, kind), "verdict": kind, "backend": name, "case": str(case)}
    return Finding(**(fields | {"first_case": str(case), "reason": reason} | changes))


def script_of(line: str, backend: Backend, verdict: str = "wrong", in_pass: str = "forward", result: BackendEnded | None = None) -> str:
    """Return the script of a finding, which is about the elements that ``result`` names where one is given."""
    found = result.discrepancies.get(in_pass) if result else None  # type: ignore[call-overload] # a pass is a string here
    source = reproduction_script(finding_of(line, backend, verdict, in_pass=in_pass, discrepancy=found), backend)
    assert source is not None
    return source


def loaded(source: str) -> ModuleType:
    """Execute a script up to, and without, its main function."""
    module = ModuleType("script_under_test")
    sys.modules[module.__name__] = module
    exec(_compiled(source), module.__dict__)  # noqa: S102 - that is what a script is for
    return module


@lru_cache(maxsize=16)
def _compiled(source: str) -> CodeType:
    """Compile a script once for all its runs: with the kernel's mistake and without."""
    return compile(source, "script", "exec")


def status(source: str) -> int:
    """Return the exit status of a script, run in this process."""
    try:
        result: int = loaded(source).main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return result


WITHOUT_CONVFUZZ = """
import runpy, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("convfuzz", "numba", "msgspec", "hypothesis", "click", "rich"):
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Blocked())
try:
    import convfuzz
except ImportError:
    runpy.run_path(sys.argv[1], run_name="__main__")
"""


def run_alone(source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in an interpreter in which convfuzz and what it needs cannot be imported."""
    path = folder / "repro.py"
    path.write_text(source)
    command = [sys.executable, "-c", WITHOUT_CONVFUZZ, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=300)
