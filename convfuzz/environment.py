"""Where a campaign runs: the versions that have a part in a verdict, and the machine."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from convfuzz import __version__

_ALWAYS = ("numpy", "numba", "hypothesis", "ml_dtypes")


def installed(packages: Iterable[str] = ()) -> dict[str, str]:
    """Return the versions of convfuzz, of what it is built on, and of those of ``packages`` that are installed."""
    known = {"convfuzz": __version__, "python": platform.python_version()}
    for package in (*_ALWAYS, *packages):
        with contextlib.suppress(PackageNotFoundError):
            known.setdefault(package, version(package))
    return known


def versions(backends: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the versions of everything that has a part in a verdict."""
    known = installed()
    for own in backends.values():
        known.update(own)
    return known


def machine() -> dict[str, str]:
    """Return what of this machine a reader of the report needs: processor, cores, memory, system; no names."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "byte order": sys.byteorder,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
