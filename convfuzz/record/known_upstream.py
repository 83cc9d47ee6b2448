"""What is known of released frameworks, in ``known_upstream.toml`` beside this module, and which failures it explains.

It is no ledger: it tolerates nothing by itself. A failure is matched by the rule that a ledger's entries match by, and the
file is validated as strictly as one.
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from itertools import product
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from convfuzz.case import Case, Pass
from convfuzz.case.condition import Condition
from convfuzz.case.features import has_tap_in_padding, named
from convfuzz.errors import InvalidConfig, UnreadableFile
from convfuzz.record.events import BackendEnded
from convfuzz.record.failure_kind import Kind, Signature
from convfuzz.record.ledger import check_line, check_link
from convfuzz.record.versions import instruction_sets
from convfuzz.system.code_spans import without_backticks
from convfuzz.verdicts import VALUES, Verdict, one_class

FORMAT_VERSION = 1
FILE = "known_upstream.toml"

_SomeOf = msgspec.Meta(min_length=1)


class Sign(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way in which a bug shows: ``backends`` that fail with one of these verdicts, passes and models on cases like ``case``.

    A case is like it that has every one of ``features``, plain ones too; the very ``kernel_size``, where one is named; NaN or Inf among
    its data where ``non_finite_data``; a column of its kernel that meets nothing but padding where ``tap_in_padding``; no output channels
    where ``no_output_channels``; and gradients to compute where ``case`` has them. Its numbers meet each of ``where``, which are written
    as :class:`~convfuzz.case.condition.Condition` reads them. A mode named here has its variants with it: ``torch`` is ``torch+split``
    too, but ``torch+split`` is itself alone. ``processor`` are the instruction sets without which ``case`` shows nothing,
    ``not_processor`` those with one of which the framework takes other kernels, so that the sign explains nothing there.

    Raises:
        ValueError: a field breaks a rule, which the message names.
    """

    backends: Annotated[tuple[str, ...], _SomeOf]
    verdicts: Annotated[tuple[Verdict, ...], _SomeOf]
    passes: Annotated[tuple[Pass, ...], _SomeOf] = ("forward",)
    models: Annotated[tuple[str, ...], _SomeOf] = ("",)
    features: tuple[str, ...] = ()
    kernel_size: tuple[int, ...] = ()
    non_finite_data: bool = False
    tap_in_padding: bool = False
    no_output_channels: bool = False
    where: tuple[str, ...] = ()
    processor: tuple[str, ...] = ()
    not_processor: tuple[str, ...] = ()
    case: str

    def __post_init__(self) -> None:
        for name, values in (
            *(("backends", self.backends), ("models", self.models)),
            *(("processor", self.processor), ("not_processor", self.not_processor)),
        ):
            for value in values:
                check_line(name, value, may_be_empty=name == "models")
        if unfailing := [str(verdict) for verdict in self.verdicts if not verdict.failing]:
            raise ValueError(f"verdict {unfailing[0]!r} is no failure")
        case, has = Case.parse(self.case), named(Case.parse(self.case).config)
        if not_run := [name for name in self.passes if name not in case.passes]:
            raise ValueError(f"pass {not_run[0]!r} does not run in case {self.case!r}; it runs {', '.join(case.passes)}")
        if missing := [feature for feature in self.features if feature not in has]:
            raise ValueError(f"feature {missing[0]!r} is none of its case's, which are: {', '.join(sorted(has)) or 'none'}")
        if not any((self.features, self.kernel_size, self.non_finite_data, self.no_output_channels, self.where)):
            raise ValueError("a sign without features would explain every case")
        self._check_case(case)

    def _check_case(self, case: Case) -> None:
        """Check that the sign's own case has what the sign takes beside the features."""
        if self.non_finite_data and not case.recipe.has_non_finite:
            raise ValueError(f"case {self.case!r} has neither NaN nor Inf among its data, which non_finite_data asks for")
        if self.tap_in_padding and not has_tap_in_padding(case.config):
            raise ValueError(
                f"each column of the kernel of case {self.case!r} meets the input, where tap_in_padding asks for one that does not"
            )
        if self.no_output_channels and case.config.out_channels:
            raise ValueError(f"case {self.case!r} has output channels, where no_output_channels asks for none")
        for condition in self.conditions:
            if not condition.is_met_by(case.config):
                raise ValueError(f"case {self.case!r} does not meet {condition.text!r}, which the sign asks for")
        if self.kernel_size and self.kernel_size != case.config.kernel_size:
            raise ValueError(f"kernel_size {self.kernel_size} is not its case's, which is {case.config.kernel_size}")

    def is_met_by(self, case: Case) -> bool:
        """Whether a case has what it takes beside the features, and this machine's processor leaves it possible."""
        here = instruction_sets()
        return (
            (here.issuperset(self.processor) or not here)
            and here.isdisjoint(self.not_processor)
            and (case.grad or not Case.parse(self.case).grad)
            and (case.recipe.has_non_finite or not self.non_finite_data)
            and self.kernel_size in ((), case.config.kernel_size)
            and (has_tap_in_padding(case.config) or not self.tap_in_padding)
            and (case.config.out_channels == 0 or not self.no_output_channels)
            and all(condition.is_met_by(case.config) for condition in self.conditions)
        )

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What the numbers of a case have to meet.

        Raises:
            ValueError: one is no condition.
        """
        try:
            return tuple(map(Condition.parse, self.where))
        except InvalidConfig as error:
            raise ValueError(str(error)) from None

    @property
    def signatures(self) -> Iterator[Signature]:
        """What the failures that it explains look like."""
        return (Signature(*one) for one in product(self.backends, self.verdicts, self.passes, self.models))


class Bug(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One bug of a released framework: what it is, in which versions, who knows of it, and by which signs it shows.

    ``name`` names it in files and ``title`` in a sentence; ``text`` goes on from there, in Markdown. ``package`` is the one
    whose version counts: ``affects`` says which have the bug, as far as that is known (every one, where it is empty), and
    ``seen`` is the newest with which the signs were seen. ``threads`` describe the same behaviour, ``related`` one that is
    like it. ``commands`` are arguments of ``convfuzz check`` that show it, beside what is right.

    Raises:
        ValueError: a field breaks a rule, which the message names.
    """

    name: str
    framework: str
    package: str
    affects: str = ""
    seen: str
    title: str
    text: str = ""
    threads: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    found_by: Literal["convfuzz", "its reporter"]
    commands: Annotated[tuple[str, ...], _SomeOf]
    sign: Annotated[tuple[Sign, ...], _SomeOf]

    def __post_init__(self) -> None:
        for name in ("name", "framework", "package", "seen", "title", "text"):
            check_line(name, getattr(self, name), may_be_empty=name == "text")
        for link in (*self.threads, *self.related):
            check_link(link)
        if self.found_by == "its reporter" and not self.threads:
            raise ValueError("found_by is 'its reporter', but there is no thread")
        try:
            SpecifierSet(self.affects)
            Version(self.seen)
        except (InvalidSpecifier, InvalidVersion) as error:
            raise ValueError(f"affects and seen are versions of {self.package}: {error}") from None
        for command in self.commands:
            command_of(command)

    @property
    def link(self) -> str:
        """The thread to read first; empty where none is known."""
        return next(iter(self.threads), "")

    @property
    def reference(self) -> str:
        """Where it can be read about: the thread, or its place on the page that is made from the file."""
        return self.link or f"docs/findings.md#{self.name}"

    @property
    def label(self) -> str:
        """What it is called in a line: ``known: pytorch #169688``, or its name where no thread is known."""
        return f"known: {short_link(self.link)}" if self.link else f"known: {self.name}, no thread known"

    def affected(self, versions: Mapping[str, str]) -> bool:
        """Whether the bug is in these versions of libraries, as far as anything is known of them."""
        installed = _version_of(versions.get(self.package, ""))
        return installed is None or SpecifierSet(self.affects).contains(installed, prereleases=True)

    def unseen_in(self, versions: Mapping[str, str]) -> bool:
        """Whether these are newer than what it was seen with, so that it is open whether it is there still."""
        installed = _version_of(versions.get(self.package, ""))
        return installed is not None and Version(installed.public) > Version(self.seen) and self.affected(versions)


class Gone(msgspec.Struct, frozen=True):
    """A bug that no longer shows: ``seen`` is the newest version of ``package`` that had it, ``installed`` the one that has not."""

    name: str
    title: str
    package: str
    seen: str
    installed: str

    @property
    def said(self) -> str:
        """It in a sentence."""
        title = without_backticks(self.title)
        return f"{self.name} no longer shows with {self.package} {self.installed} (seen with {self.seen}): {title}"


def command_of(words: str) -> tuple[list[str], list[str]]:
    """Return the cases and the backends of a command.

    Raises:
        ValueError: it is not ``CASE… --backends A,B``, or a case does not parse.
    """
    given = shlex.split(words)
    if len(given) < 3 or given[-2] != "--backends":
        raise ValueError(f"command {words!r} is not CASE… --backends A,B")
    for line in given[:-2]:
        Case.parse(line)
    return given[:-2], given[-1].split(",")


@dataclass(frozen=True)
class KnownUpstream:
    """The bugs that are known, and which of them a failure is a sign of; without bugs it is none of any."""

    bugs: tuple[Bug, ...] = ()

    @cached_property
    def _kinds(self) -> dict[Signature, list[tuple[Bug, Sign, Kind]]]:
        """By signature: each sign with the kind of failure that it explains."""
        kinds: dict[Signature, list[tuple[Bug, Sign, Kind]]] = {}
        for bug in self.bugs:
            for sign in bug.sign:
                for signature in sign.signatures:
                    kind = Kind(signature, frozenset(sign.features))
                    kinds.setdefault(signature, []).append((bug, sign, kind))
        return kinds

    def explaining(self, signature: Signature, case: Case, versions: Mapping[str, str]) -> Bug | None:
        """Return the bug that a failure with ``signature`` on ``case`` is a sign of, in these versions of the libraries.

        The first bug of the file that explains it does.
        """
        found = self.explained(signature, case, versions)
        return found[0] if found else None

    def explained(self, signature: Signature, case: Case, versions: Mapping[str, str]) -> tuple[Bug, Sign] | None:
        """Return as :meth:`explaining` does, and by which of its signs."""
        features: frozenset[str] | None = None
        for backend in _itself_and_plain(signature.backend):
            own = Signature(backend, signature.verdict, signature.in_pass, signature.model)
            for bug, sign, kind in self._kinds.get(own, ()):
                features = named(case.config) if features is None else features
                if kind.covers(own, features) and sign.is_met_by(case) and bug.affected(versions):
                    return bug, sign
        return None

    def candidates(self, signature: Signature, case: Case, versions: Mapping[str, str]) -> Iterator[tuple[Bug, Sign]]:
        """Yield the signs that a failure may be of, which it takes an experiment to say.

        They are of its backend and pass, and its verdict is one of theirs; or both are about values, which a bug that reads what lies
        in memory gets wrong in any way.
        """
        backends = set(_itself_and_plain(signature.backend))
        for bug in self.bugs:
            for sign in bug.sign if bug.affected(versions) else ():
                if (
                    backends & set(sign.backends)
                    and signature.in_pass in sign.passes
                    and any(one_class(signature.verdict, verdict) or {signature.verdict, verdict} <= VALUES for verdict in sign.verdicts)
                    and sign.is_met_by(case)
                ):
                    yield bug, sign

    def gone(
        self,
        versions: Mapping[str, Mapping[str, str]],
        evaluate: Callable[[Case, str], BackendEnded],
        has_time: Callable[[], bool] = lambda: True,
    ) -> Iterator[Gone]:
        """Run the cases of bugs that were seen with older versions than these, by backend; yield those bugs that are gone.

        A bug is gone where each of its signs that can be tried agrees with what is right, on each backend that is here. Those that
        ``has_time`` leaves no time for stay open.
        """
        for bug in self.about(versions).bugs:
            open_signs = [(sign, name) for sign in bug.sign for name in sign.backends if bug.unseen_in(versions.get(name, {}))]
            if not open_signs or any(sign.processor or sign.not_processor for sign, _ in open_signs):  # which may not be this one
                continue
            if all(has_time() and evaluate(Case.parse(sign.case), name).verdict is Verdict.AGREE for sign, name in open_signs):
                installed = versions[open_signs[0][1]][bug.package]
                yield Gone(bug.name, bug.title, bug.package, bug.seen, installed)

    def about(self, backends: Iterable[str]) -> KnownUpstream:
        """Return the bugs with a sign on one of ``backends``."""
        names = {name for backend in backends for name in _itself_and_plain(backend)}
        return KnownUpstream(tuple(bug for bug in self.bugs if any(names & set(sign.backends) for sign in bug.sign)))


def _itself_and_plain(backend: str) -> Sequence[str]:
    """Return a backend's name, and that of what its variants are built around, which computes for them."""
    plain = backend.partition("+")[0] if "::" not in backend else backend
    return (backend,) if plain == backend else (backend, plain)


@cache
def known_upstream() -> KnownUpstream:
    """Return what ships with the package."""
    return decode_known_upstream(files(__package__).joinpath(FILE).read_bytes(), FILE)


def decode_known_upstream(data: bytes, source: str) -> KnownUpstream:
    """Read a file of known bugs; it is data and is validated as such.

    Raises:
        UnreadableFile: it is no TOML, of another format version, or a bug breaks a rule; the message names the file, the bug by
            its number, and the rule.
    """
    try:
        document: dict[str, Any] = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(f"{source} is no TOML: {error}") from None
    version, listed = document.pop("format", None), document.pop("bug", [])
    if type(version) is not int or version != FORMAT_VERSION:
        raise UnreadableFile(f"{source} has format {version!r}; this convfuzz reads format {FORMAT_VERSION}")
    if document or not isinstance(listed, list):
        raise UnreadableFile(f"{source} has something else than format and [[bug]] tables")
    bugs: dict[str, Bug] = {}
    for number, record in enumerate(listed, 1):
        try:
            bug = msgspec.convert(record, Bug)
        except msgspec.ValidationError as error:
            raise UnreadableFile(f"{source}, bug {number}: {error}") from None
        if bug.name in bugs:
            raise UnreadableFile(f"{source}, bug {number}: it has the name {bug.name!r} of another one")
        bugs[bug.name] = bug
    return KnownUpstream(tuple(bugs.values()))


def short_link(link: str) -> str:
    """Return ``pytorch #169688`` for the thread's address, or the address where it is of another form."""
    parts = urlsplit(link).path.strip("/").split("/")
    return f"{parts[1]} #{parts[3]}" if len(parts) == 4 and parts[3].isdigit() else link


def _version_of(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None
