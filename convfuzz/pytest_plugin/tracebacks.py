"""What pytest shows of a failed check: the user's own frames, and no word on lines of convfuzz."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType

import hypothesis

import convfuzz
from convfuzz.testing.disagreement import Disagreement

_CONVFUZZ = str(Path(convfuzz.__file__).parent)
_INTERNAL = (_CONVFUZZ, str(Path(hypothesis.__file__).parent))
_LINE = re.compile(r" +\S.*:\d+$")


def simplify(error: BaseException, *, in_group: bool = False) -> None:
    """Drop what is internal from a disagreement, or from those of a group.

    pytest hides internal frames of a single exception by itself, but shows those in a group whole. Hypothesis lists the lines
    that only failing cases run, which are those of the judging here.
    """
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            simplify(one, in_group=True)
    elif isinstance(error, Disagreement):
        notes = getattr(error, "__notes__", [])
        notes[:] = [kept for note in notes if (kept := _without_our_lines(note))]
        if in_group:
            error.__traceback__ = _own_frames(error.__traceback__)


def _without_our_lines(note: str) -> str:
    """Return a note of Hypothesis without the lines of convfuzz that it lists; nothing where it lists no others."""
    if not note.startswith("Explanation:"):
        return note
    lines = [line for line in note.splitlines() if not (line.lstrip().startswith(_CONVFUZZ) or line.lstrip().startswith("(and "))]
    return "\n".join(lines) if any(_LINE.match(line) for line in lines) else ""


def _own_frames(traceback: TracebackType | None) -> TracebackType | None:
    frames = []
    while traceback is not None:
        frames.append(traceback)
        traceback = traceback.tb_next
    kept = None
    for entry in reversed(frames):
        if not entry.tb_frame.f_code.co_filename.startswith(_INTERNAL):
            kept = TracebackType(kept, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return kept
