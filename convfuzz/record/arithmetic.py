"""What a run measured of its backends' arithmetic, as ``run.json`` keeps it, and the sheets that earlier runs have left."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from convfuzz import __version__
from convfuzz.errors import UnreadableFile
from convfuzz.record.tree_picture import Branch
from convfuzz.record.versions import machine
from convfuzz.system.files import read_regular, write_atomically
from convfuzz.system.json_records import decode_file, encode_indented

_FORMAT_VERSION = 1
_MOST_BYTES = 2**20
_DECIDES = ("processor", "instruction sets", "cores", "system", "byte order")
"""What of a machine a framework chooses its kernels by."""


class Change(msgspec.Struct, frozen=True):
    """Something that must not change a result: in words, whether results stay the same (``None``: not known), and a case that shows it."""

    what: str
    same: bool | None
    case: str = ""


class Arithmetic(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The arithmetic of a backend on one layer, ``case``, in words; or why it was not measured.

    ``rows`` are pairs of a short name and a phrase, ``line`` says the most important of them at once. ``tree`` is the summation tree
    as a line, cut off where that is long, and ``outline`` what its picture shows. ``declare`` is the declaration that is advised,
    ``coarser`` what of it allows more than the present one. ``not_understood`` are measurements that contradict one another.
    ``measured`` is the day, where it was an earlier one.
    """

    backend: str
    case: str = ""
    line: str = ""
    rows: tuple[tuple[str, str], ...] = ()
    changes: tuple[Change, ...] = ()
    tree: str = ""
    outline: tuple[Branch, ...] = ()
    declare: str = ""
    coarser: tuple[str, ...] = ()
    not_understood: tuple[str, ...] = ()
    measured: str = ""
    unmeasured: str = ""


class _Kept(msgspec.Struct, frozen=True):
    """A sheet in a file of its own."""

    arithmetic: Arithmetic
    format: int = _FORMAT_VERSION


class SheetCache:
    """Sheets in a folder, by backend, versions and machine: what is the same in all of them has the same arithmetic.

    Users' kernels have no version that says so, and are not kept; nor is what was not measured.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "convfuzz" / "arithmetic"

    def get(self, backend: str, versions: Mapping[str, str]) -> Arithmetic | None:
        """Return what is kept; a file that is damaged is as good as none."""
        path = self._path(backend, versions)
        if path is None:
            return None
        try:
            data = read_regular(path, _MOST_BYTES)
            kept = decode_file(data, _Kept, source=str(path), name="sheet", version=_FORMAT_VERSION, most_bytes=_MOST_BYTES)
        except (OSError, UnreadableFile):
            return None
        return kept.arithmetic if kept.arithmetic.backend == backend else None

    def put(self, arithmetic: Arithmetic, versions: Mapping[str, str], day: str) -> None:
        """Keep a sheet that was measured on ``day``; a folder that cannot be written keeps nothing."""
        path = self._path(arithmetic.backend, versions)
        if path is None or arithmetic.unmeasured:
            return
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, encode_indented(_Kept(msgspec.structs.replace(arithmetic, measured=day))))

    def _path(self, backend: str, versions: Mapping[str, str]) -> Path | None:
        if "::" in backend or not versions:
            return None
        here = machine()
        known = [__version__, backend, sorted(versions.items()), [here[name] for name in _DECIDES]]
        return self._folder / f"{hashlib.sha256(msgspec.json.encode(known)).hexdigest()[:32]}.json"
