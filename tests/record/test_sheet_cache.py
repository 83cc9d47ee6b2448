"""Sheets of earlier runs: kept by backend, versions and machine, never of what has no version."""

from __future__ import annotations

from pathlib import Path

import pytest

from convfuzz.record.arithmetic import Arithmetic, Change, SheetCache
from convfuzz.record.tree_picture import Branch

VERSIONS = {"torch": "2.13.0"}
SHEET = Arithmetic(
    backend="torch",
    case="conv1d_c4_o1_i4_k2_f32",
    line="one after the other; in float32",
    rows=(("order", "sequential"),),
    changes=(Change("a second run", same=True), Change("the number of threads", same=False, case="conv1d_c4_o1_i4_k2_f32")),
    tree="0…7",
    outline=(Branch(0, "run", "0…7", 8),),
    declare="Numerics()",
)


def test_a_sheet_comes_back_with_its_day(tmp_path: Path) -> None:
    """What was kept is found again under the same backend and versions, and says when it was measured."""
    SheetCache(tmp_path).put(SHEET, VERSIONS, "2026-11-29")
    kept = SheetCache(tmp_path).get("torch", VERSIONS)
    assert kept is not None
    assert kept.measured == "2026-11-29"
    assert (kept.rows, kept.changes, kept.outline) == (SHEET.rows, SHEET.changes, SHEET.outline)


def test_other_versions_and_backends_have_none(tmp_path: Path) -> None:
    """Another version, or another mode, has not been measured."""
    SheetCache(tmp_path).put(SHEET, VERSIONS, "2026-11-29")
    assert SheetCache(tmp_path).get("torch", {"torch": "2.14.0"}) is None
    assert SheetCache(tmp_path).get("torch:native", VERSIONS) is None


@pytest.mark.parametrize(
    ("sheet", "versions"),
    [
        (Arithmetic(backend="k.py::conv", line="sequential"), {"numpy": "2.3"}),
        (Arithmetic(backend="mine", line="sequential"), {}),
        (Arithmetic(backend="torch", unmeasured="no time was left"), VERSIONS),
    ],
    ids=["a user's kernel", "no version", "not measured"],
)
def test_what_may_change_unseen_is_not_kept(tmp_path: Path, sheet: Arithmetic, versions: dict[str, str]) -> None:
    """A kernel in a file, a backend without a version, and what was not measured leave nothing."""
    SheetCache(tmp_path).put(sheet, versions, "2026-11-29")
    assert SheetCache(tmp_path).get(sheet.backend, versions) is None
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_none(tmp_path: Path) -> None:
    """A file that is cut off, or of another format, is measured again instead of ending the run."""
    SheetCache(tmp_path).put(SHEET, VERSIONS, "2026-11-29")
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for damaged in (whole[:50], whole.replace(b'"format": 1', b'"format": 99'), b""):
        assert damaged != whole
        file.write_bytes(damaged)
        assert SheetCache(tmp_path).get("torch", VERSIONS) is None


def test_a_folder_that_cannot_be_made_keeps_nothing(tmp_path: Path) -> None:
    """Where the folder's place is taken by a file, nothing is kept and nothing fails."""
    taken = tmp_path / "taken"
    taken.write_text("")
    SheetCache(taken / "below").put(SHEET, VERSIONS, "2026-11-29")
    assert SheetCache(taken / "below").get("torch", VERSIONS) is None
