"""The report opened in headless Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from convfuzz.record.events import Recheck
from convfuzz.record.ledger import Entry
from convfuzz.record.nights import Replayed, write_replays
from convfuzz.record.run_directory import LedgerLine, Run
from convfuzz.reports import html
from convfuzz.system.json_records import Real
from convfuzz.verdicts import Verdict

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

REQUIRED = os.environ.get("CONVFUZZ_REQUIRE_BROWSER") == "1"
NAMES = ("chromium", "chromium-browser", "google-chrome")
QUARANTINED = Entry(
    action="quarantine",
    fingerprint="0123abcd",
    backend="torch",
    verdict=Verdict.CRASH,
    case="conv2d_n32_c4_o8_i32_k1_s2_f32_cl_grad",
    features=["kernel=1x1", "layout=channels_last"],
    reason="writes beyond its workspace",
    link="https://example.org/issues/1",
)


def _missing(what: str) -> None:
    """Skip, or fail where a browser is required."""
    if REQUIRED:
        pytest.fail(f"{what}, and CONVFUZZ_REQUIRE_BROWSER=1 asks for it", pytrace=False)
    pytest.skip(f"{what}; set CONVFUZZ_REQUIRE_BROWSER=1 to make this a failure")


def _synthetic() -> ModuleType:
    path = Path(__file__).parent.parent / "reports" / "synthetic.py"
    spec = spec_from_file_location("synthetic_campaigns", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Opened:
    """A page of the browser, and what went on beneath it."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A headless Chromium: the system's, driven by Playwright."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - its absence is a reason to skip
    except ModuleNotFoundError:
        _missing("the package playwright is not installed")
    executable = next((found for name in NAMES if (found := shutil.which(name))), None)
    if executable is None:
        _missing(f"none of {', '.join(NAMES)} is on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with findings of every kind, and a ledger."""
    synthetic = _synthetic()
    ledger = [LedgerLine(QUARANTINED)]
    return Run.load(synthetic.write_campaign(tmp_path_factory.mktemp("run"), found=synthetic.findings(), ledger=ledger))


@pytest.fixture(scope="session")
def report(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its report as a file."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_bytes(html([run]))
    return path


@pytest.fixture(scope="session")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run that stands in a history of a dozen nights, with findings that come, stay, go and are fixed."""
    synthetic, folder = _synthetic(), tmp_path_factory.mktemp("nights")
    found = synthetic.findings()
    runs = []
    for night in range(12):
        versions = synthetic.VERSIONS | {"torch": "2.12.0" if night < 5 else "2.13.0"}
        info = {
            "started": synthetic.STARTED + night * 86_400.0,
            "versions": versions,
            "backend_versions": {"torch": {"torch": versions["torch"]}},
            "verdicts": {name: {"agree": 100} for name in synthetic.BACKENDS},
            "backend_s": dict.fromkeys(synthetic.BACKENDS, 0.5 + night % 3),
            "worst_ratios": {name: Real(0.2 * (night + 1)) for name in synthetic.BACKENDS},
        }
        directory = folder / f"2025-11-{night + 1:02d}"
        synthetic.write_campaign(directory, cases=20, found=found[night % 4 : night % 4 + 6], seed=night, **info)
        if night:
            gone = [one for one in found[: night % 3] if one not in runs[-1].findings]
            write_replays(directory / "replays.json", [Replayed(one.fingerprint, one.backend, one.case, Recheck.FIXED) for one in gone])
        runs.append(Run.load(directory))
    path = tmp_path_factory.mktemp("trends") / "report.html"
    path.write_bytes(html(runs))
    return path


@pytest.fixture
def open_report(chromium: Browser, report: Path, nights: Path) -> Iterator[Any]:
    """A function that opens the report, at an anchor and with options of the browser's context; with trends where asked for."""
    contexts = []

    def open_at(anchor: str = "", *, trends: bool = False, **options: Any) -> Opened:
        context = chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.on("console", lambda message: opened.complaints.append(message.text))
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.goto(f"{(nights if trends else report).as_uri()}{anchor}")
        return opened

    yield open_at
    for context in contexts:
        context.close()
