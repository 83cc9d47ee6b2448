"""The header of a session: what is compared, in which versions and on what device; it imports no framework."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from convfuzz import __version__
from convfuzz.backend_names import family_of
from convfuzz.record.versions import machine, versions
from convfuzz.testing.options import chosen


def header(config: pytest.Config) -> list[str]:
    """Return the lines of the session's header."""
    del config
    backends = chosen("backends", None, ())
    known = versions({name: framework_versions(name) for name in backends})
    listed = ", ".join(f"{name} {number}" for name, number in known.items() if name not in ("convfuzz", "python") and number)
    lines = [f"convfuzz: {__version__} ({listed}) on {_device()}"]
    said = {"backends": ",".join(backends)} | {name: chosen(name, None, "") for name in ("strategy", "cases", "seed")}
    if any(value != "" for value in said.values()):
        lines.append("convfuzz: " + ", ".join(f"{name} {value}" for name, value in said.items() if value != ""))
    return lines


def framework_versions(backend: str) -> dict[str, str]:
    """Return the version of the framework behind a backend's name, as it is installed."""
    name = family_of(backend)
    if name in ("", "reference"):
        return {}
    try:
        return {name: version(name)}
    except PackageNotFoundError:
        return {}


def _device() -> str:
    about = machine()
    gpus = [
        line.partition(":")[2].strip()
        for information in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        for line in information.read_text().splitlines()
        if line.startswith("Model")
    ]
    return ", ".join([f"{about['processor']} ({about['cores']} cores)", *gpus])
