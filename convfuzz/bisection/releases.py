"""Which releases of a package there are, as its index says, and where packages are to come from."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version

from convfuzz.errors import UsageError

_LISTED = re.compile(r"^Available versions: (.+)$", re.MULTILINE)
_CONFIGURED = re.compile(r"^(?:global|install|:env:)\.([a-z-]+)=(.+)$")
_SECONDS = 120


@dataclass(frozen=True)
class Sources:
    """Where packages come from, in the words of pip, which are those of uv too: indexes, folders, and constraints."""

    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    constraints: tuple[str, ...] = ()

    def options(self, *, constraints: bool = True) -> list[str]:
        """Return them as options of ``pip install`` or ``uv pip install``; ``pip index`` knows no ``constraints``."""
        words = ["--index-url", self.index_url] if self.index_url else []
        words += ["--no-index"] if self.no_index else []
        for option, values in (("--extra-index-url", self.extra_index_urls), ("--find-links", self.find_links)):
            words += [word for value in values for word in (option, value)]
        if constraints:
            words += [word for value in self.constraints for word in ("--constraint", value)]
        return words

    def beside(self, other: Sources) -> Sources:
        """Return these, with what ``other`` says where they say nothing."""
        return Sources(
            self.index_url or other.index_url,
            (*self.extra_index_urls, *other.extra_index_urls),
            (*self.find_links, *other.find_links),
            self.no_index or other.no_index,
            (*self.constraints, *other.constraints),
        )


def releases(package: str, sources: Sources, first: str, last: str, *, pre: bool = False) -> list[Version]:
    """Return the releases of ``package`` from ``first`` to ``last``, oldest first, that this interpreter can install.

    ``last`` covers what begins with it: 2.13 is 2.13.1 too. Yanked releases are left out, and pre-releases unless ``pre``.

    Raises:
        UsageError: a name or a version is none, there is no pip, the index does not answer or does not know the package, or there is no
            release in between.
    """
    try:
        canonicalize_name(package, validate=True)
    except InvalidName:
        raise UsageError(f"{package!r} is not the name of a package: letters, digits, dots, dashes and underscores") from None
    low, high = (_version(text) for text in (first, last))
    if low > high and low.release[: len(high.release)] > high.release:
        raise UsageError(f"--from {first} is newer than --to {last}: the oldest release comes first, whichever of them is bad")
    command = [sys.executable, "-m", "pip", "index", "versions", package, *sources.options(constraints=False), *(["--pre"] if pre else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)  # noqa: S603 - pip, as the user has it
    except subprocess.TimeoutExpired:
        raise UsageError(f"the releases of {package} cannot be listed: the index has not answered in {_SECONDS} s") from None
    listed = _LISTED.search(done.stdout)
    if done.returncode or listed is None:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise UsageError(f"the releases of {package} cannot be listed: {said[-1] if said else 'pip says nothing'}")
    found = sorted({Version(Version(text.strip()).public) for text in listed[1].split(",")})
    chosen = [version for version in found if low <= version and version.release[: len(high.release)] <= high.release]
    if not chosen:
        raise UsageError(f"{package} has no release from {first} to {last}; the index has {', '.join(map(str, found))}")
    return chosen


def configured() -> Sources:
    """Return what pip's own files and variables say, which uv does not read."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)  # noqa: S603
    return _read_configured(done.stdout.splitlines() if done.returncode == 0 else ())


def _read_configured(lines: Iterable[str]) -> Sources:
    said: dict[str, list[str]] = {}
    for line in lines:
        if found := _CONFIGURED.match(line):
            said.setdefault(found[1], []).extend(_words(found[2]))
    urls: Sequence[str] = said.get("index-url", [])
    return Sources(
        urls[-1] if urls else "",
        tuple(dict.fromkeys(said.get("extra-index-url", ()))),
        tuple(dict.fromkeys(said.get("find-links", ()))),
        no_index=said.get("no-index", ["false"])[-1].lower() in {"1", "true", "yes"},
        constraints=tuple(dict.fromkeys(said.get("constraint", ()))),
    )


def _words(shown: str) -> list[str]:
    """Read a value as pip shows it: quoted, several words in it, in lines of their own or in one."""
    return [word for value in shlex.split(shown) for word in value.replace("\\n", " ").split()]


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        raise UsageError(f"{text!r} is not a version, such as 2.13 or 2.13.1") from None
