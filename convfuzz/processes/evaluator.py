"""The process inside a sandbox: it loads backends and answers questions, and these are the messages."""

from __future__ import annotations

from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from convfuzz.backends import Backend, Guarded, resolve_all
from convfuzz.backends.compiling import watch
from convfuzz.case import Case
from convfuzz.checking import calls
from convfuzz.checking.checker import Checker, fold_check
from convfuzz.checking.evidence import locate, worst_elements
from convfuzz.checking.limits import Limits
from convfuzz.checking.mechanisms import explained
from convfuzz.entry_points import load_strategy
from convfuzz.errors import ConvfuzzError
from convfuzz.processes.child_setup import Descriptors, detach
from convfuzz.record.arithmetic import Arithmetic
from convfuzz.record.error_map import ErrorMap
from convfuzz.record.events import BackendEnded
from convfuzz.record.finding import Element, Finding
from convfuzz.record.ledger import Entry, Ledger
from convfuzz.reproduction import Draft, draft, reproduction_script
from convfuzz.system.json_records import Real, decode, encode
from convfuzz.tensors.generator import make_tensors
from convfuzz.tensors.guards import Guards, gap


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What the process loads: ``backends``, by name, within ``limits``; what it prints goes to ``log``.

    A ``strategy`` is only looked up, so that a campaign learns at once that there is none of that name. ``quarantine`` holds
    the ledger's entries that keep cases from backends.
    """

    backends: list[str]
    strategy: str | None
    log: str
    limits: Limits
    quarantine: tuple[Entry, ...] = ()


class Opened(msgspec.Struct, frozen=True, tag=True):
    """The backends are loaded: their names and versions."""

    backends: list[str]
    versions: dict[str, dict[str, str]]


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The backends or the strategy cannot be loaded: why."""

    message: str


class Ask(msgspec.Struct, frozen=True, tag=True):
    """Ask for the results of some backends on one case; one case in ``repeat_one_in`` runs twice.

    ``guards`` says how a kernel's operands are guarded, if not as in a campaign.
    """

    case: str
    backends: list[str]
    repeat_one_in: int = 1
    guards: Guards | None = None


class Measure(msgspec.Struct, frozen=True, tag=True):
    """Ask how near to their guard pages the arrays lie that ``backend`` is handed on a case."""

    case: str
    backend: str


class Measured(msgspec.Struct, frozen=True, tag=True):
    """The bytes that each array's alignment leaves between it and its guard page, at its end and at its beginning; none if unguarded.

    More room can be left there in steps of ``step`` bytes; an element has ``size``.
    """

    gaps: dict[str, tuple[int, int]]
    step: int = 1
    size: int = 1


class Checked(msgspec.Struct, frozen=True, tag=True):
    """The results of one case, as :class:`~convfuzz.checking.checker.CheckResult` has them."""

    results: tuple[BackendEnded, ...]
    pairs: tuple[tuple[str, str, Real], ...] = ()
    skipped: str = ""


class Compiling(msgspec.Struct, frozen=True, tag=True):
    """Before an answer: something is being compiled, which may take ``limit`` seconds; without a limit it has ended."""

    limit: float | None


class Judging(msgspec.Struct, frozen=True, tag=True):
    """Before an answer: the backend has returned and is judged, or that ``begins`` no longer to be so."""

    begins: bool


Notice = Compiling | Judging
"""What a child says before it answers."""


def notice_of(message: bytes) -> Notice | None:
    """Read a message that is one; ``None`` for an answer."""
    is_one = message.startswith((b'{"type":"Compiling"', b'{"type":"Judging"'))
    return decode(message, Notice) if is_one else None  # type: ignore[arg-type]


class Document(msgspec.Struct, frozen=True, tag=True):
    """Ask for the evidence of a finding."""

    finding: Finding


class Evidence(msgspec.Struct, frozen=True, tag=True):
    """The worst elements of a finding's minimal case, its reproduction script, and what a bug report says of it."""

    elements: list[Element]
    script: str | None
    draft: Draft


class Locate(msgspec.Struct, frozen=True, tag=True):
    """Ask where the errors are in the failing result of ``finding``, on the case that it was found on."""

    finding: Finding


class Located(msgspec.Struct, frozen=True, tag=True):
    """The map of the errors, where there are any."""

    error_map: ErrorMap | None


class Explain(msgspec.Struct, frozen=True, tag=True):
    """Ask which mistakes explain every element that ``backend`` computes for the configuration of a case."""

    case: str
    backend: str


class Explained(msgspec.Struct, frozen=True, tag=True):
    """Those mistakes, by their names."""

    mistakes: list[str]


class Reveal(msgspec.Struct, frozen=True, tag=True):
    """Ask how a backend computes, which may take about so many ``seconds``."""

    backend: str
    seconds: float


class Revealed(msgspec.Struct, frozen=True, tag=True):
    """What was measured of it."""

    arithmetic: Arithmetic


Question = Ask | Document | Explain | Locate | Measure | Reveal


def answer(connection: Connection, setup: bytes) -> None:
    """Load what :class:`Setup`, given as JSON, names, then answer questions until the connection closes; a process's entry point."""
    task = decode(setup, Setup)
    detach(Path(task.log))
    try:
        backends = {backend.name: backend for backend in resolve_all(task.backends)}
        if task.strategy is not None:
            load_strategy(task.strategy)
    except ConvfuzzError as error:
        connection.send_bytes(encode(Refused(str(error))))
        return
    connection.send_bytes(encode(Opened(list(backends), {n: {k: str(v) for k, v in b.versions.items()} for n, b in backends.items()})))
    descriptors = Descriptors(connection.fileno())

    def tell(notice: Notice) -> None:
        descriptors.require()
        connection.send_bytes(encode(notice))

    watch(lambda limit: tell(Compiling(limit)))
    calls.watch(lambda is_judging: tell(Judging(is_judging)))
    while True:
        try:
            question: Question = decode(connection.recv_bytes(), Question)  # type: ignore[arg-type]
        except (EOFError, OSError):
            return
        reply = _reply(question, backends, task)
        descriptors.require()
        connection.send_bytes(encode(reply))


Answer = Checked | Evidence | Explained | Located | Measured | Revealed


def _reply(question: Question, backends: Mapping[str, Backend], task: Setup) -> Answer:
    match question:
        case Ask():
            return _checked(question, [backends[name] for name in question.backends], task)
        case Document(finding=finding):
            return _evidence(finding, backends[finding.backend])
        case Explain(case=line, backend=name):
            return Explained(explained(Case.parse(line), backends[name]))
        case Locate(finding=finding):
            return Located(locate(Case.parse(finding.first_case), backends[finding.backend], finding.in_pass))
        case Measure():
            return _measured(Case.parse(question.case), backends[question.backend])
        case Reveal():
            from convfuzz.revealing.brief import brief  # noqa: PLC0415 - hardly any child is asked

            return Revealed(brief(backends[question.backend], question.seconds))


def _checked(question: Ask, backends: list[Backend], task: Setup) -> Checked:
    case, ledger = Case.parse(question.case), Ledger(task.quarantine)
    checker = Checker(
        backends,
        interruptible=False,
        repeat_one_in=question.repeat_one_in,
        ledger=ledger,
        limits=task.limits,
        guards=question.guards,
    )
    result = fold_check(case, checker.events(case))
    return Checked(result.results, result.pairs, result.skipped)


def _evidence(finding: Finding, backend: Backend) -> Evidence:
    elements = worst_elements(Case.parse(finding.case), backend, finding.in_pass) if finding.discrepancy else []
    return Evidence(elements, reproduction_script(finding, backend), draft(finding, backend))


def _measured(case: Case, backend: Backend) -> Measured:
    needs = backend.buffer_needs if isinstance(backend, Guarded) else None
    if needs is None:
        return Measured({})
    arrays = make_tensors(case).named()
    gaps = {name: (gap(array, needs, "end"), gap(array, needs, "beginning")) for name, array in arrays.items()}
    return Measured(gaps, max(needs.alignment, arrays["x"].itemsize), arrays["x"].itemsize)
