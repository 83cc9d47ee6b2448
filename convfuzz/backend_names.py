"""Names of backends, ``NAME[:MODE][+VARIANT…]`` or a kernel's ``file.py::function``, taken apart without loading any."""

from __future__ import annotations


def family_of(name: str) -> str:
    """Return the name of the framework in a backend's name, such as ``torch`` of ``torch:native+split``; empty for a kernel."""
    return "" if "::" in name else name.partition("+")[0].partition(":")[0]
