"""Run directories to report on, and their pages."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from convfuzz.record.run_directory import Run
from convfuzz.reports import render_html


def _synthetic() -> ModuleType:
    """Load the maker of made-up campaigns by its path, which works in every import mode of pytest."""
    spec = spec_from_file_location("synthetic_campaigns", Path(__file__).with_name("synthetic.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """The maker of made-up campaigns."""
    return _synthetic()


@pytest.fixture(scope="session")
def full(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with findings of every kind in five backends."""
    return Run.load(synthetic.write_campaign(tmp_path_factory.mktemp("full"), found=synthetic.findings()))


@pytest.fixture(scope="session")
def clean(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run without findings."""
    return Run.load(synthetic.write_campaign(tmp_path_factory.mktemp("clean"), cases=100))


@pytest.fixture(scope="session")
def empty(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in which nothing was drawn."""
    return Run.load(
        synthetic.write_campaign(tmp_path_factory.mktemp("empty"), cases=0, canary=synthetic.Canary(0, 0), stopped="", exit_status=None)
    )


@pytest.fixture(scope="session")
def full_page(full: Run) -> str:
    """The page of the run with findings."""
    return render_html([full])
