"""Finding backends by name: ``NAME[:MODE][+VARIANT…]`` from the entry points, or ``file.py::function``."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from convfuzz.backends.isolated import IsolatedBackend, Surroundings, is_own_process, own_process, start_server
from convfuzz.backends.kernels.mentions import frameworks_first, kernel_meant, require_kernel
from convfuzz.backends.protocol import Backend
from convfuzz.backends.variants import VARIANTS
from convfuzz.errors import BackendError, closest

GROUP = "convfuzz.backends"


@dataclass(frozen=True)
class Family:
    """What an entry point of group ``convfuzz.backends`` refers to: a framework and the modes it can run in.

    ``modes`` maps each mode to one line on it, the default mode under ``""``. ``load(mode)`` imports the framework and
    returns the backend; an ``ImportError`` from it means that the framework is missing, and ``extra`` installs it.
    """

    summary: str
    modes: Mapping[str, str]
    load: Callable[[str], Backend]
    extra: str | None = None
    preload: Callable[[str], None] | None = None
    """``preload(mode)`` imports what a mode needs and starts no thread; called before workers are forked."""
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The environment variables that each mode needs when its framework, the module of the family's name, is imported. The first
    mode that a process loads decides its environment; modes with another one run in a separate process."""
    own_process: bool = False
    """Whether the framework is imported in a separate process only, as it does not bear others beside it; ``load`` does not import it."""


@cache
def _entry_points() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def families() -> dict[str, Family]:
    """Return every registered family by name, without loading any framework."""
    return {name: _family(name) for name in _entry_points()}


def _family(name: str) -> Family:
    family = _entry_points()[name].load()
    if not isinstance(family, Family):
        raise BackendError(f"entry point {name!r} of group {GROUP!r} is a {type(family).__name__}, not a Family")
    return family


_environments: dict[str, Mapping[str, str]] = {}
"""The environment of each family that this process has loaded."""
_found: dict[str, str | None] = {}
"""The values of the variables before they were set here."""


def _enter_environment(family_name: str, mode: str) -> Surroundings | None:
    """Set the environment that a mode needs before its framework is imported.

    Returns:
        ``None``, or the environment of another process to run in, if this one has imported the framework with different variables.
    """
    family = _family(family_name)
    if family.own_process:
        return None if is_own_process(family_name) else own_process(family_name, {})
    if not family.environment:
        return None
    wanted = family.environment.get(mode, {})
    if family_name in _environments:
        differs = _environments[family_name] != wanted
    else:
        differs = family_name in sys.modules and any(os.environ.get(name) != value for name, value in wanted.items())
    if differs:
        variables = {name: _found.get(name, os.environ.get(name)) for values in family.environment.values() for name in values}
        return Surroundings(family_name, tuple(sorted((variables | dict(wanted)).items())))
    _environments[family_name] = wanted
    for name in wanted:
        _found.setdefault(name, os.environ.get(name))
    os.environ.update(wanted)
    return None


def names() -> list[str]:
    """Return every name without variants, such as ``torch`` and ``torch:native``."""
    return [f"{name}:{mode}" if mode else name for name, family in families().items() for mode in family.modes]


def resolve(name: str) -> Backend:
    """Load the backend called ``name``.

    Raises:
        BackendError: the name is unknown (known ones and the closest are listed), the framework is not installed (the
            extra that installs it is named), or the file or function does not exist.
    """
    require(name)
    base, *variants = _split_variants(name)
    backend = _resolve_base(base)
    for variant in variants:
        backend = VARIANTS[variant](backend)
    return backend


def require(name: str) -> None:
    """Refuse a name that leads to no backend; no framework is imported to find out, and no kernel.

    Raises:
        BackendError: no such backend, mode, variant or file is known.
    """
    base, *variants = _split_variants(name)
    for variant in variants:
        if variant not in VARIANTS:
            known = ", ".join(f"+{one}" for one in VARIANTS)
            raise BackendError(f"backend {name!r}: unknown variant +{variant}; known are {known}{closest(variant, VARIANTS)}")
    if "::" in base:
        if base.count("::") > 1 and len(base.split()) > 1:
            raise BackendError(f"backend {name!r} has more than one function: several are joined by commas, as in {','.join(name.split())}")
        require_kernel(base)
        return
    family_name, _, mode = base.partition(":")
    if family_name not in _entry_points():
        meant = kernel_meant(base)
        if meant:
            raise BackendError(f"backend {name!r} names no function{meant}")
        if len(name.split()) > 1:
            raise BackendError(f"unknown backend {name!r}: several are joined by commas, as in {','.join(name.replace(',', ' ').split())}")
        raise BackendError(f"unknown backend {name!r}{_closest(base)}; known are {', '.join(names())}, or a kernel as file.py::function")
    modes = _family(family_name).modes
    if mode not in modes or base.endswith(":"):
        known = ", ".join(f"{family_name}:{m}" if m else family_name for m in modes)
        raise BackendError(f"backend {family_name!r} has no mode {mode!r}{_closest(base)}; known are {known}")


def require_all(listed: Iterable[str]) -> None:
    """Refuse a list of names that holds one of no backend, or one twice; nothing is loaded.

    Raises:
        BackendError: as :func:`require`, or the list is empty or holds a name twice.
    """
    wanted = list(listed)
    if not wanted:
        raise BackendError("no backend to compare with the reference; name some, such as torch,torch+split")
    for name in wanted:
        if wanted.count(name) > 1:
            raise BackendError(f"backend {name!r} is listed twice")
        require(name)


def resolve_all(listed: Iterable[str]) -> list[Backend]:
    """Load every backend of a list of names.

    Raises:
        BackendError: as :func:`resolve`, or the list is empty or holds a name twice.
    """
    wanted = list(listed)
    require_all(wanted)
    return [resolve(name) for name in wanted]


def summary_of(name: str) -> str:
    """Return a line on the mode of the backend called ``name``; empty for a kernel."""
    family_name, _, mode = name.partition("+")[0].partition(":")
    if "::" in name or family_name not in _entry_points():
        return ""
    return _family(family_name).modes.get(mode, "")


def preload(name: str) -> None:
    """Import the framework of the backend called ``name`` ahead of time; do nothing for unknown names.

    Of a kernel the frameworks are imported that its file imports first, and nothing of its own; where it runs in a process of its own,
    the server that forks it is started instead.

    Raises:
        BackendError: importing the framework ends the separate process, or the mode is not available here.
        InvalidConfig: the process that a kernel declares is none.
        ImportError: the framework is not installed.
    """
    family_name, _, mode = name.partition("+")[0].partition(":")
    if "::" in name:
        from convfuzz.backends.kernels.loading import surroundings_of  # noqa: PLC0415 - the registry's own user-kernel door

        kernel = _split_variants(name)[0]
        needed = surroundings_of(kernel)
        if needed is not None:
            start_server(kernel, needed)
            return
        for framework in frameworks_first(kernel):
            importlib.import_module(framework)
    elif family_name in _entry_points():
        family = _family(family_name)
        if family.preload is not None:
            elsewhere = _enter_environment(family_name, mode)
            if elsewhere is None:
                family.preload(mode)
            else:
                start_server(name, elsewhere)


def available(name: str) -> str | None:
    """Return why the backend cannot be loaded here, or ``None`` when it can; loads its framework."""
    try:
        resolve(name)
    except BackendError as error:
        return str(error)
    return None


def _split_variants(name: str) -> list[str]:
    # A file's path may hold a plus sign: variants follow the function's name only.
    path, separator, rest = name.partition("::")
    base, *variants = (rest if separator else path).split("+")
    return [f"{path}{separator}{base}" if separator else base, *variants]


def _resolve_base(name: str) -> Backend:
    if "::" in name:
        from convfuzz.backends.kernels.loading import load_kernel  # noqa: PLC0415 - the registry's own user-kernel door

        return load_kernel(name)
    family_name, _, mode = name.partition(":")
    family = _family(family_name)
    elsewhere = _enter_environment(family_name, mode)
    try:
        loaded = family.load(mode)
    except ImportError as error:
        install = f"; install it with: pip install 'convfuzz[{family.extra}]'" if family.extra else ""
        raise BackendError(f"backend {name!r} cannot be loaded: {error}{install}") from error
    return loaded if elsewhere is None else IsolatedBackend(loaded, elsewhere)


def _closest(name: str) -> str:
    close = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
    return f" (closest: {close[0]!r})" if close else ""
