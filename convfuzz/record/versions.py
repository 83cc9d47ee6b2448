"""The versions of everything that affects a verdict, and the machine that a campaign runs on."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from convfuzz import __version__

_INSTRUCTIONS = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_bf16", "amx_int8", "amx_fp16", "asimd", "asimdhp", "bf16", "i8mm", "sve", "sve2", "sme"),
)
_ALWAYS = ("numpy", "numba", "hypothesis", "ml_dtypes")


def installed(packages: Iterable[str] = ()) -> dict[str, str]:
    """Return the versions of convfuzz, of the libraries that it is built on, and of those ``packages`` that are installed."""
    known = {"convfuzz": __version__, "python": platform.python_version()}
    for package in (*_ALWAYS, *packages):
        with contextlib.suppress(PackageNotFoundError):
            known.setdefault(package, version(package))
    return known


def versions(backends: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the versions of everything that affects a verdict; ``backends`` holds those of the libraries behind each backend."""
    known = installed()
    for own in backends.values():
        known.update(own)
    return known


def machine() -> dict[str, str]:
    """Return what a reader of the report needs to know of this machine: processor, cores, memory and system, but no names."""
    return {
        "processor": _processor(),
        "instruction sets": " ".join(name for name in _INSTRUCTIONS if name in instruction_sets()),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "byte order": sys.byteorder,
    }


def environment() -> dict[str, str]:
    """Return what a bug report says of the machine: frameworks choose their kernels by what the processor can do."""
    known = machine()
    chosen = {name: known[name] for name in ("system", "processor", "instruction sets")}
    return {"Python": platform.python_version()} | {name: value for name, value in chosen.items() if value}


@cache
def instruction_sets() -> frozenset[str]:
    """Return the processor's vector and matrix instructions that frameworks choose kernels by; empty where the system has no list."""
    flags = (flag for name, line in _cpu_lines() if name in ("flags", "Features") for flag in line.split())
    return frozenset(flags) & frozenset(_INSTRUCTIONS)


def _processor() -> str:
    names = [value for name, value in _cpu_lines() if name == "model name"]
    return names[0] if names else platform.processor() or platform.machine()


def _cpu_lines() -> list[tuple[str, str]]:
    """Return the names and values in the system's description of its processors; nothing where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    return [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
