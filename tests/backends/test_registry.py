"""Backends by name: what is known, what is close, what is missing and how to get it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from convfuzz.backends import Backend, Family, Support, available, families, preload, registry, resolve, resolve_all
from convfuzz.backends.variants import VARIANTS
from convfuzz.errors import BackendError

from .fakes import Spy

Register = Callable[..., None]


def family(**changes: object) -> Family:
    """Return a family of spies with one mode."""
    fields: dict[str, object] = {
        "summary": "A spy",
        "modes": {"": "plain", "fast": "with fast-math"},
        "load": lambda mode: Spy(f"fake:{mode}"),
    }
    return Family(**(fields | changes))  # type: ignore[arg-type]


def missing(mode: str) -> Backend:
    """Fail as the import of a framework that is not installed does."""
    raise ModuleNotFoundError(f"No module named 'torch' for mode {mode!r}")


def test_built_in_families_are_entry_points() -> None:
    """The reference, PyTorch and TensorFlow are found through the same entry points as anybody else's."""
    assert {"reference", "torch", "tensorflow"} <= set(families())
    assert {"reference", "torch", "torch:native", "torch:channels_last", "tensorflow"} <= set(registry.names())


def test_every_mode_has_a_line_on_it() -> None:
    """Each mode of each family says in words what it is."""
    assert all(family.summary and all(family.modes.values()) for family in families().values())


@pytest.mark.parametrize("name", ["reference", "reference+split"])
def test_backend_bears_the_name_it_is_resolved_by(name: str) -> None:
    """The loaded backend's name is the one that was asked for, variants included."""
    assert resolve(name).name == name


def test_mode_reaches_the_family(registered: Register) -> None:
    """What follows the colon is handed to the family that loads."""
    registered(fake=family())
    assert resolve("fake:fast").name == "fake:fast"


def test_third_party_family_is_a_family_like_any_other(registered: Register) -> None:
    """A family that another package registers is listed and resolved by its name."""
    registered(fake=family())
    assert registry.names() == ["fake", "fake:fast"]
    assert resolve("fake+split").supports is not None


def test_unknown_name_lists_the_known_and_the_closest(registered: Register) -> None:
    """A misspelt name is answered with the closest one, all known ones, and the form of a kernel."""
    registered(fake=family(), torch=family())
    with pytest.raises(
        BackendError, match=r"unknown backend 'torhc' \(closest: 'torch'\); known are fake, fake:fast, torch, torch:fast"
    ) as raised:
        resolve("torhc")
    assert "file.py::function" in str(raised.value)


def test_name_that_is_close_to_nothing_gets_no_suggestion() -> None:
    """A name unlike any known one is answered with the list alone."""
    with pytest.raises(BackendError) as raised:
        resolve("qqqqqqqq")
    assert "closest" not in str(raised.value)


def test_unknown_mode_lists_the_modes_of_the_family(registered: Register) -> None:
    """A misspelt mode is answered with the modes of that family."""
    registered(fake=family())
    with pytest.raises(BackendError, match=r"backend 'fake' has no mode 'fats' \(closest: 'fake:fast'\); known are fake, fake:fast"):
        resolve("fake:fats")


def test_unknown_variant_lists_the_variants() -> None:
    """A misspelt variant is answered with the known ones."""
    known = ", ".join(f"+{variant}" for variant in VARIANTS)
    with pytest.raises(BackendError, match=re.escape(f"'reference+splitt': unknown variant +splitt; known are {known}")):
        resolve("reference+splitt")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_resolved_by_its_name(variant: str) -> None:
    """A variant bears the name that it is asked for by, and the versions of what it wraps."""
    backend = resolve(f"reference+{variant}")
    assert backend.name == f"reference+{variant}"
    assert backend.versions == resolve("reference").versions


def test_variants_wrap_from_left_to_right() -> None:
    """A variant of a variant bears both names."""
    assert resolve("reference+split+split").name == "reference+split+split"


def test_missing_framework_names_the_extra(registered: Register) -> None:
    """A framework that does not import is answered with the command that installs it."""
    registered(torch=family(load=missing, extra="torch"))
    with pytest.raises(BackendError, match=r"backend 'torch:fast' cannot be loaded: No module named .*pip install 'convfuzz\[torch\]'"):
        resolve("torch:fast")
    assert "convfuzz[torch]" in str(available("torch"))


def test_missing_framework_without_an_extra_names_none(registered: Register) -> None:
    """A third party's family without an extra of ours shows the import error alone."""
    registered(fake=family(load=missing))
    assert "pip" not in str(available("fake"))


def test_what_can_be_loaded_is_available() -> None:
    """There is no reason against the reference."""
    assert available("reference") is None


def test_entry_point_that_is_no_family_is_refused(registered: Register) -> None:
    """A third party's entry point of the wrong type is named with its type."""
    registered(fake=Spy())
    with pytest.raises(BackendError, match=r"entry point 'fake' of group 'convfuzz\.backends' is a Spy, not a Family"):
        resolve("fake")


def test_list_without_backends_is_refused() -> None:
    """There is nothing to compare the reference with."""
    with pytest.raises(BackendError, match="no backend to compare with the reference"):
        resolve_all([])


def test_backend_listed_twice_is_refused() -> None:
    """A name that is listed twice is an error, since results are kept by name."""
    with pytest.raises(BackendError, match="'reference' is listed twice"):
        resolve_all(["reference", "reference+split", "reference"])


def test_list_is_resolved_in_its_order() -> None:
    """Backends come back in the order in which they were named."""
    assert [b.name for b in resolve_all(["reference+split", "reference"])] == ["reference+split", "reference"]


def test_preload_imports_the_framework_of_any_mode_and_variant(registered: Register) -> None:
    """Preloading ``fake:fast+split`` imports what the family says for that mode, once, and loads no backend."""
    calls: list[str] = []
    registered(fake=family(preload=calls.append, load=missing))
    preload("fake:fast+split")
    assert calls == ["fast"]


@pytest.mark.parametrize("name", ["nothing", "file.py::torch", ""])
def test_preload_leaves_unknown_names_alone(name: str) -> None:
    """Names that cannot be preloaded are left for the worker to report."""
    preload(name)


def test_support_is_true_unless_it_has_a_reason() -> None:
    """``Support.YES`` is true and a refusal is false and keeps its reason."""
    assert Support.YES
    assert not Support.no("needs stride 1")
    assert Support.no("needs stride 1").reason == "needs stride 1"
