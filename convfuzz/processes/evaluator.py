"""The child's side of a sandbox: the messages between the two, and a process that answers them."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from convfuzz.backends import resolve_all
from convfuzz.case import Case
from convfuzz.checking.checker import Checker, fold_check
from convfuzz.checking.evidence import locate, worst_elements
from convfuzz.entry_points import load_strategy
from convfuzz.errors import ConvfuzzError
from convfuzz.processes.child_setup import Descriptors, detach
from convfuzz.record.error_map import ErrorMap
from convfuzz.record.events import BackendEnded
from convfuzz.record.finding import Element, Finding
from convfuzz.record.ledger import Entry, Ledger
from convfuzz.reproduction import Draft, draft, reproduction_script
from convfuzz.system.json_records import Real, decode, encode

# -- answering ------------------------------------------------------------------------------------------------------------


class Opened(msgspec.Struct, frozen=True, tag=True):
    """The backends are loaded: their names and versions."""

    backends: list[str]
    versions: dict[str, dict[str, str]]


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The backends or the strategy cannot be loaded: why."""

    message: str


class Ask(msgspec.Struct, frozen=True, tag=True):
    """Ask for the results of some backends on one case; one case in ``repeated_share`` runs twice."""

    case: str
    backends: list[str]
    repeated_share: int = 1


class Checked(msgspec.Struct, frozen=True, tag=True):
    """The results of one case, as :class:`~convfuzz.checking.checker.CheckResult` has them."""

    results: tuple[BackendEnded, ...]
    pairs: tuple[tuple[str, str, Real], ...] = ()
    skipped: str = ""


class Document(msgspec.Struct, frozen=True, tag=True):
    """Ask for the evidence of a finding."""

    finding: Finding


class Evidence(msgspec.Struct, frozen=True, tag=True):
    """The worst elements of a finding's minimal case, its reproduction script, and what a bug report says of it."""

    elements: list[Element]
    script: str | None
    draft: Draft


class Locate(msgspec.Struct, frozen=True, tag=True):
    """Ask where in the failing result of ``finding``, on the case that it was found on, the errors sit."""

    finding: Finding


class Located(msgspec.Struct, frozen=True, tag=True):
    """The map of the errors, where there are any to be seen."""

    error_map: ErrorMap | None


Question = Ask | Document | Locate


def answer(connection: Connection, names: list[str], strategy: str | None, log: str, quarantine: bytes) -> None:
    """Load the backends called ``names``, then answer questions until the connection closes; a process's entry point.

    A ``strategy`` is only looked up, so that a campaign learns at once that there is none of that name. ``quarantine`` holds
    the ledger's entries that keep cases from backends, as JSON.
    """
    detach(Path(log))
    ledger = Ledger(decode(quarantine, tuple[Entry, ...]))
    try:
        backends = {backend.name: backend for backend in resolve_all(names)}
        if strategy is not None:
            load_strategy(strategy)
    except ConvfuzzError as error:
        connection.send_bytes(encode(Refused(str(error))))
        return
    connection.send_bytes(encode(Opened(list(backends), {n: {k: str(v) for k, v in b.versions.items()} for n, b in backends.items()})))
    descriptors = Descriptors(connection.fileno())
    while True:
        try:
            question: Question = decode(connection.recv_bytes(), Question)  # type: ignore[arg-type]
        except (EOFError, OSError):
            return
        if isinstance(question, Document):
            finding = question.finding
            backend = backends[finding.backend]
            elements = worst_elements(Case.parse(finding.case), backend, finding.in_pass) if finding.discrepancy else []
            connection.send_bytes(encode(Evidence(elements, reproduction_script(finding, backend), draft(finding, backend))))
        elif isinstance(question, Locate):
            finding = question.finding
            connection.send_bytes(encode(Located(locate(Case.parse(finding.first_case), backends[finding.backend], finding.in_pass))))
        else:
            case = Case.parse(question.case)
            asked = [backends[name] for name in question.backends]
            checker = Checker(asked, interruptible=False, repeated_share=question.repeated_share, ledger=ledger)
            result = fold_check(case, checker.events(case))
            descriptors.require()
            connection.send_bytes(encode(Checked(result.results, result.pairs, result.skipped)))
