"""``convfuzz backends`` and ``convfuzz strategies``: what there is, and why something is not."""

from __future__ import annotations

import importlib.util

import pytest

from convfuzz.backends import available
from convfuzz.cli import listings

from .conftest import Call


def test_backends_lists_every_mode_with_its_version(call: Call) -> None:
    """Each installed mode is listed with the version of its framework, and the variants below."""
    called = call("backends")
    assert called.status == 0
    for name in ("reference", "torch", "torch:native", "torch:channels_last", "tensorflow"):
        assert f"\n{name} " in called.stdout
    assert "+split: " in called.stdout
    assert "file.py::function" in called.stdout


def test_backends_names_what_a_campaign_can_have(call: Call) -> None:
    """With ``--names`` one line of what runs here, modes of every environment included, and nothing that does not."""
    called = call("backends", "--names")
    assert called.status == 0
    (line,) = called.stdout.splitlines()
    names = set(line.split(","))
    assert "reference" not in names
    assert all(available(name) is None for name in names)
    if importlib.util.find_spec("tensorflow"):
        assert {"tensorflow", "tensorflow:native"} <= names


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch's version is what is shown")
def test_backends_shows_the_installed_version(call: Call) -> None:
    """The version shown is the framework's own."""
    import torch  # noqa: PLC0415 - loaded for its version only

    assert str(torch.__version__) in call("backends").stdout


def test_backends_names_the_package_of_each_version(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend of two packages shows which version is whose, also where they are the same."""
    from convfuzz.backends import Family, registry  # noqa: PLC0415 - beside the entry points that it replaces

    class Two:
        versions = {"one": "1.2", "another": "1.2"}  # noqa: RUF012 - as the protocol's example has it

    class Point:
        def load(self) -> Family:
            return Family(summary="two packages", modes={"": "as it comes"}, load=lambda _: Two())  # type: ignore[arg-type, return-value]

    monkeypatch.setattr(registry, "_entry_points", lambda: {"two": Point()})
    assert "one 1.2, another 1.2" in call("backends").stdout


def test_missing_framework_is_listed_with_how_to_install_it(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A framework that does not import is listed as missing, with the extra that installs it."""
    from convfuzz.backends import Family, registry  # noqa: PLC0415 - beside the entry points that it replaces

    def load(mode: str) -> None:
        raise ImportError(f"No module named 'torch'{mode}")

    class Point:
        def load(self) -> Family:
            return Family(summary="PyTorch", modes={"": "as it comes"}, load=load, extra="torch")  # type: ignore[arg-type]

    monkeypatch.setattr(registry, "_entry_points", lambda: {"torch": Point()})
    called = call("backends")
    assert called.status == 0
    assert "missing" in called.stdout
    assert "pip install 'convfuzz[torch]'" in called.stdout


def test_strategies_lists_each_space_with_what_it_covers(call: Call) -> None:
    """Each named search space is listed with a line on what it covers."""
    called = call("strategies")
    assert called.status == 0
    for name in ("smoke", "default", "boundary", "invalid", "corpus", "networks", "nightly"):
        _, _, after = called.stdout.partition(f"{name}\n")
        assert len(after.splitlines()[0]) > 20


def test_listings_without_docstrings(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no docstring, as everything under ``python -OO``, is listed by its name."""
    monkeypatch.setattr(listings.inspect, "getdoc", lambda _: None)
    assert "+split: no description. Usable on any backend: torch+split." in call("backends").stdout
    assert "smoke\nno description." in call("strategies").stdout
