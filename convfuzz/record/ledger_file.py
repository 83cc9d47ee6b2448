"""Reads a ledger file, and adds entries without touching comments and layout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT

from convfuzz.case import Case
from convfuzz.case.features import needed
from convfuzz.errors import UnreadableFile, UsageError
from convfuzz.record.finding import Finding
from convfuzz.record.ledger import FORMAT_VERSION, MOST_BYTES, Entry, Ledger, decode_ledger
from convfuzz.system.files import replace_named

_NEW = f"# Known findings: convfuzz run --ledger FILE\nformat = {FORMAT_VERSION}\n".encode()


def read_ledger(path: Path) -> Ledger:
    """Read the ledger in ``path``.

    Raises:
        UnreadableFile: it cannot be read, or is not a ledger; see :func:`~convfuzz.record.ledger.decode_ledger`.
    """
    return decode_ledger(_bytes_of(path), str(path))


def entry_of(finding: Finding, action: Literal["tolerate", "quarantine"], *, reason: str, link: str) -> Entry:
    """Return the ledger entry for ``finding``.

    It matches by the features that tell the finding's kind. Where the case is not minimal, so that they do not, it matches by
    everything particular about that case, so that the entry covers too little rather than too much. What the reduction has added
    (such as a 1x1 kernel) is left out: the first case failed without it.

    Raises:
        UsageError: the entry breaks a rule, such as a quarantine of something that is not a crash.
    """
    stated = {name: getattr(finding, name) for name in ("fingerprint", "backend", "verdict", "in_pass", "model", "case")}
    try:
        return msgspec.convert(stated | {"action": action, "features": _features(finding), "reason": reason, "link": link}, Entry)
    except msgspec.ValidationError as error:
        raise UsageError(f"finding {finding.fingerprint}: {error}") from None


def _features(finding: Finding) -> list[str]:
    return finding.features if finding.is_telling else needed(Case.parse(finding.case).config, Case.parse(finding.first_case).config)


def add_entry(path: Path, entry: Entry) -> None:
    """Append ``entry`` to the ledger in ``path``, which is created if need be; comments and layout stay.

    Raises:
        UnreadableFile: the file is not a ledger, or would not be one with the entry, such as one that has it already.
        UsageError: its entries are written in one line, or it cannot be written.
    """
    data = _bytes_of(path) if path.exists() else _NEW
    decode_ledger(data, str(path))
    try:
        document = tomlkit.parse(data)
    except TOMLKitError as error:
        raise UnreadableFile(f"{path} is not TOML: {error}") from None
    entries = document.setdefault("entry", tomlkit.aot())
    if not isinstance(entries, AoT):
        raise UsageError(f"{path}: entry = […] cannot be added to; write [[entry]] above each one")
    entries.append(_table(entry))
    changed = tomlkit.dumps(document).encode()
    decode_ledger(changed, f"{path} with this entry")
    try:
        replace_named(path, changed)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None


def _table(entry: Entry) -> tomlkit.items.Table:
    """Return the entry as a TOML table, each value that is not the default on a line of its own."""
    table = tomlkit.table()
    table.trivia.indent = "\n"  # an empty line above it
    for name in entry.__struct_fields__:
        value = getattr(entry, name)
        if value and (name, value) != ("in_pass", "forward"):
            table.add(name, str(value) if isinstance(value, str) else value)
    return table


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror or error}") from None
