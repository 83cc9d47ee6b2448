"""Files that somebody names: written in one step, and never in the place of a device or a pipe."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from convfuzz.errors import UsageError
from convfuzz.system import files
from convfuzz.system.files import require_writable, write_named


def test_pipe_gets_the_data_and_stays(tmp_path: Path) -> None:
    """What is written to a pipe comes out of it, and the pipe is there afterwards."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        require_writable(pipe)
        write_named(pipe, b"data")
        assert os.read(reader, 10) == b"data"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_name_of_ours_replaces_whatever_is_there(tmp_path: Path) -> None:
    """A pipe that somebody has put in the place of a file of ours does not hold up who writes that file."""
    pipe = tmp_path / "report.html"
    os.mkfifo(pipe)
    write_named(pipe, b"data", replace_all=True)
    assert pipe.read_bytes() == b"data"


def test_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The message has the path and the reason, and nothing half-written stays behind."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=r"folder cannot be written: Is a directory$"):
        write_named(tmp_path / "folder", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_link_and_permissions_stay(tmp_path: Path) -> None:
    """A file that is named through a link is replaced where it is, and who may read it stays as it was."""
    (tmp_path / "kept").write_text("before")
    (tmp_path / "kept").chmod(0o600)
    (tmp_path / "link").symlink_to("kept")
    require_writable(tmp_path / "link")
    write_named(tmp_path / "link", b"after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "kept").read_bytes() == b"after"
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o600


def test_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    """A link into a folder that is not there is refused before the work."""
    (tmp_path / "link").symlink_to("nowhere/file")
    with pytest.raises(UsageError, match=r"link cannot be written: there is no folder .*nowhere"):
        require_writable(tmp_path / "link")


def test_file_that_is_read_only_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be written is not replaced, although its folder would let it."""
    (tmp_path / "kept").write_text("before")
    monkeypatch.setattr(files.os, "access", lambda path, _: Path(path).name != "kept")  # which a test that root runs cannot do by a mode
    with pytest.raises(UsageError, match="kept cannot be written: permission denied"):
        require_writable(tmp_path / "kept")
