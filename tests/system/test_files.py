"""Files that somebody names: written in one step, and never in the place of a device or a pipe."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from convfuzz.errors import UsageError
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
