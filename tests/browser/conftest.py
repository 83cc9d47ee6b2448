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
from convfuzz.reports import html

from convfuzz.judging import Verdict
from convfuzz.ledger import Entry
from convfuzz.run_directory import LedgerLine, Run

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


@pytest.fixture
def open_report(chromium: Browser, report: Path) -> Iterator[Any]:
    """A function that opens the report, at an anchor and with options of the browser's context."""
    contexts = []

    def open_at(anchor: str = "", **options: Any) -> Opened:
        context = chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.on("console", lambda message: opened.complaints.append(message.text))
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.goto(f"{report.as_uri()}{anchor}")
        return opened

    yield open_at
    for context in contexts:
        context.close()
