"""Names of backends, ``NAME[:MODE][+VARIANT…]`` or a kernel's ``file.py::function``, and the default ones. No backend is loaded here."""

from __future__ import annotations

from importlib.util import find_spec

from convfuzz.errors import UsageError


def family_of(name: str) -> str:
    """Return the name of the framework in a backend's name, such as ``torch`` of ``torch:native+split``; empty for a kernel."""
    return "" if "::" in name else name.partition("+")[0].partition(":")[0]


def framework_of(name: str) -> str:
    """Return who computes, whatever the mode or the variant: a framework, or one kernel, ``file.py::function``."""
    file, separator, function = name.rpartition("::")
    return f"{file}::{function.partition('+')[0]}" if separator else family_of(name)


def default_backends() -> tuple[str, ...]:
    """Return the default backends whose frameworks are installed; none is imported to find out.

    Raises:
        UsageError: none of them is installed.
    """
    names = tuple(name for name in ("torch", "torch+split", "tensorflow") if find_spec(name.partition("+")[0]) is not None)
    if not names:
        raise UsageError(
            "neither torch nor tensorflow is installed: pip install 'convfuzz[torch]', or name a kernel with --backends file.py::function"
        )
    return names
