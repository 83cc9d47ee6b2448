"""The ledger: known findings that a team tolerates, or quarantines so that their cases do not run at all.

It is a TOML file from outside: data, validated strictly, of limited size, and shown escaped. ``docs/ledger.md`` describes it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
import msgspec.inspect

from convfuzz.case import Case, Pass
from convfuzz.case.features import particular
from convfuzz.errors import UnreadableFile, closest
from convfuzz.record.events import FINGERPRINT, BackendEnded, EntryRechecked, Recheck
from convfuzz.record.failure_kind import Kind, Signature
from convfuzz.system.json_records import require_format
from convfuzz.verdicts import Verdict

FORMAT_VERSION = 1
MOST_BYTES = 2**20
MOST_CHARACTERS = 1000
CRASH_CLASS = (Verdict.CRASH, Verdict.TIMEOUT, Verdict.MEMORY)
"""The verdicts that cost a process; only these are reason enough not to run a case at all."""
_RECHECKS = 3
"""How often a case has to pass before it counts as fixed: crashes and nondeterminism come and go."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One known finding: what it is, what to do about it, why, and where that was decided.

    ``tolerate``: a failure with the same backend, verdict, pass and model on a case that has all ``features`` is known; it
    is reported and does not make the run fail. ``quarantine``: a case that has all ``features`` is never run on ``backend``.

    Raises:
        ValueError: a field breaks a rule, which the message names.
    """

    action: Literal["tolerate", "quarantine"]
    fingerprint: str
    backend: str
    verdict: Verdict
    in_pass: Pass = "forward"
    model: str = ""
    case: str
    features: list[str] = []
    reason: str
    link: str

    def __post_init__(self) -> None:
        for name in ("fingerprint", "backend", "model", "case", "reason", "link"):
            check_line(name, getattr(self, name), may_be_empty=name == "model")
        if not re.fullmatch(FINGERPRINT, self.fingerprint):
            raise ValueError(f"fingerprint {self.fingerprint!r} is not 8 hex digits")
        check_link(self.link)
        if not self.verdict.failing:
            raise ValueError(f"verdict {str(self.verdict)!r} is no failure")
        case = Case.parse(self.case)
        if self.in_pass not in case.passes:
            raise ValueError(f"in_pass {self.in_pass!r} does not run in case {self.case!r}; it runs {', '.join(case.passes)}")
        has = particular(case.config)
        for feature in self.features:
            if feature not in has:
                raise ValueError(f"feature {feature!r} is not one of its case, which are: {', '.join(has) or 'none'}")
        if self.action == "quarantine":
            self._check_quarantine()

    def _check_quarantine(self) -> None:
        if self.verdict not in CRASH_CLASS:
            raise ValueError(f"verdict {str(self.verdict)!r} cannot be quarantined, only {', '.join(CRASH_CLASS)}; tolerate it instead")
        if not self.features:
            raise ValueError(f"a quarantine without features would keep every case from {self.backend}")


def check_line(name: str, text: str, *, may_be_empty: bool) -> None:
    """Require one printable line: other characters can overwrite a terminal's lines or reverse the order of letters.

    Raises:
        ValueError: it is not.
    """
    if not text.strip() and not may_be_empty:
        raise ValueError(f"{name} is empty")
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"{name} has {len(text)} characters; it may have at most {MOST_CHARACTERS}")
    if not text.isprintable():
        raise ValueError(f"{name} {text!r} is not one line of printable characters")


def check_link(link: str) -> None:
    """Refuse what is no link that a page may show.

    Raises:
        ValueError: it is not an http or https address.
    """
    try:
        parts = urlsplit(link)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and " " not in link
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"link {link!r} is not an http or https address")


@dataclass(frozen=True)
class Withheld:
    """Says that a case must not run on a backend: the ledger's ``entry`` (a fingerprint) quarantines it, for this ``reason``."""

    reason: str
    entry: str

    def __bool__(self) -> bool:
        """Return false, as what a backend says of a case that it does not support."""
        return False

    def ended(self, backend: str) -> BackendEnded:
        """Return the result of ``backend`` on the case: unsupported, without having run."""
        return BackendEnded(backend=backend, verdict=Verdict.UNSUPPORTED, seconds=0.0, reason=self.reason, quarantine=self.entry)


@dataclass(frozen=True)
class _Rule:
    """An entry, with its text parsed once."""

    entry: Entry
    kind: Kind
    needs_gradients: bool

    @classmethod
    def of(cls, entry: Entry) -> _Rule:
        return cls(entry, Kind.of(entry, entry.features), Case.parse(entry.case).grad)

    def concerns(self, backend: str, case: Case, features: frozenset[str]) -> bool:
        """Whether the entry is about ``case``; an entry whose minimal case still has its gradients needs them to fail."""
        return self.kind.may_meet(backend, features) and (case.grad or not self.needs_gradients)


class Ledger(msgspec.Struct, frozen=True, dict=True):
    """The entries of a ledger, which know the cases and failures that they are about."""

    entries: tuple[Entry, ...] = ()

    @cached_property
    def _rules(self) -> tuple[_Rule, ...]:
        return tuple(map(_Rule.of, self.entries))

    @cached_property
    def _backends(self) -> frozenset[str]:
        return frozenset(entry.backend for entry in self.entries)

    @property
    def tolerate(self) -> tuple[Entry, ...]:
        """The entries whose cases run."""
        return tuple(entry for entry in self.entries if entry.action == "tolerate")

    @property
    def quarantine(self) -> tuple[Entry, ...]:
        """The entries whose cases do not run."""
        return tuple(entry for entry in self.entries if entry.action == "quarantine")

    def about(self, backends: Collection[str]) -> Ledger:
        """Return the entries about some of ``backends``."""
        return Ledger(tuple(entry for entry in self.entries if entry.backend in backends))

    def has(self, entry: Entry) -> bool:
        """Whether there is an entry of the same fingerprint, or one that matches the same failures."""
        kind = Kind.of(entry, entry.features)
        return any(rule.entry.fingerprint == entry.fingerprint or rule.kind == kind for rule in self._rules)

    def concerning(self, backend: str, case: Case) -> list[Entry]:
        """Return the entries about cases such as ``case`` on ``backend``, by its features; nothing is run for that."""
        if backend not in self._backends:
            return []
        features = frozenset(particular(case.config))
        return [rule.entry for rule in self._rules if rule.concerns(backend, case, features)]

    def withheld(self, backend: str, case: Case) -> Withheld | None:
        """Return why ``case`` must not run on ``backend``, or ``None`` where it may."""
        for entry in self.concerning(backend, case):
            if entry.action == "quarantine":
                return Withheld(f"quarantined: {entry.fingerprint} {entry.reason}", entry.fingerprint)
        return None

    def tolerating(self, signature: Signature, case: Case) -> Entry | None:
        """Return the entry that tolerates a failure with ``signature`` on ``case``, or ``None``."""
        if signature.backend not in self._backends:
            return None
        features = frozenset(particular(case.config))
        for rule in self._rules:
            if rule.entry.action == "tolerate" and rule.kind.covers(signature, features):
                return rule.entry
        return None


def decode_ledger(data: bytes, source: str) -> Ledger:
    """Read a ledger from outside; it is data and is validated as such.

    Raises:
        UnreadableFile: it is too large, not TOML, of another format version, or an entry breaks a rule; the message names
            the file, the entry by its number, and the rule.
    """
    if len(data) > MOST_BYTES:
        raise UnreadableFile(f"{source} has more than {MOST_BYTES} bytes, which is the most that a ledger may have")
    try:
        document: dict[str, Any] = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(f"{source} is not TOML: {error}") from None
    require_format(document.pop("format", None), FORMAT_VERSION, f"{source} has ledger format")
    listed = document.pop("entry", [])
    if document:
        raise UnreadableFile(f"{source} has the unknown key {next(iter(document))!r}; a ledger has format and [[entry]] tables")
    if not isinstance(listed, list):
        raise UnreadableFile(f"{source}: entry is not a list; write [[entry]] above each one")
    entries: list[Entry] = []
    for number, record in enumerate(listed, 1):
        try:
            entries.append(msgspec.convert(record, Entry))
        except msgspec.ValidationError as error:
            raise UnreadableFile(f"{source}, entry {number}: {_said(error)}") from None
    _refuse_duplicates(entries, source)
    return Ledger(tuple(entries))


def _said(error: msgspec.ValidationError) -> str:
    """Return what is wrong with an entry; of a word that is none of those allowed also these, and the closest."""
    said = str(error)
    types = {field.name: field.type for field in msgspec.inspect.type_info(Entry).fields}  # type: ignore[attr-defined] # of a struct
    key = re.search(r"unknown field `(.*)`", said)
    word = re.search(r"Invalid enum value '(.*)' - at `\$\.(\w+)`", said)
    if key:
        return f"{said}; it has {', '.join(types)}{closest(key[1], types)}"
    if word:
        kind = types[word[2]]
        allowed = kind.values if isinstance(kind, msgspec.inspect.LiteralType) else kind.cls
        return f"{said}; allowed are {', '.join(map(str, allowed))}{closest(word[1], allowed)}"
    return said


def _refuse_duplicates(entries: Iterable[Entry], source: str) -> None:
    seen: dict[object, int] = {}
    for number, entry in enumerate(entries, 1):
        identities: dict[str, object] = {
            "fingerprint": entry.fingerprint,
            "backend, verdict, pass, model and features": Kind.of(entry, entry.features),
        }
        for what, identity in identities.items():
            if identity in seen:
                raise UnreadableFile(f"{source}, entry {number}: it has the {what} of entry {seen[identity]}")
            seen[identity] = number


def recheck(entry: Entry, evaluate: Callable[[Case, str], BackendEnded]) -> EntryRechecked:
    """Run the minimal case of ``entry`` again, a few times unless it fails as stated, and return what became of it."""
    case = Case.parse(entry.case)
    otherwise = ""
    for _ in range(_RECHECKS):
        found = evaluate(case, entry.backend)
        if found.verdict is Verdict.UNSUPPORTED:
            return EntryRechecked(entry=entry.fingerprint, outcome=Recheck.ERROR, reason=f"unsupported: {found.reason}")
        if Signature.of(found) == Signature.of(entry):
            return EntryRechecked(entry=entry.fingerprint, outcome=Recheck.STILL_FAILING, reason=found.reason)
        if found.verdict.failing:
            otherwise = f"{found.verdict}{f' ({found.model})' if found.model else ''} in {found.in_pass}: {found.reason}"
    outcome = Recheck.CHANGED if otherwise else Recheck.FIXED
    return EntryRechecked(entry=entry.fingerprint, outcome=outcome, reason=otherwise)
