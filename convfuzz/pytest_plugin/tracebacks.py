"""Shortens what pytest shows of a failed check to the user's own frames and lines."""

from __future__ import annotations

import re
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

import hypothesis
from hypothesis.errors import InvalidArgument

from convfuzz.errors import ConvfuzzError
from convfuzz.testing.disagreement import Disagreement

_SPACES = find_spec("convfuzz.strategies")
_CONVFUZZ = (str(Path(__file__).parents[1]), *((_SPACES and _SPACES.submodule_search_locations) or ()))
"""Where this library lies; in a checkout its search spaces are elsewhere."""
_INTERNAL = (*_CONVFUZZ, str(Path(hypothesis.__file__).parent))
_OTHERS = (*_CONVFUZZ, *(sysconfig.get_path(kind) for kind in ("purelib", "platlib", "stdlib")), str(Path(hypothesis.__file__).parents[1]))
"""Where lines lie that say nothing about a kernel: of this library, and of what is installed beside it, such as NumPy."""
_LIST = ("Explanation:", "These lines were always and only run by failing", "(and ")
_LINE = re.compile(r" +\S.*:\d+$")


def is_refusal(error: BaseException) -> bool:
    """Say whether convfuzz itself refuses something with this error, which for a search space is one of Hypothesis's."""
    if isinstance(error, ConvfuzzError):
        return True
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return isinstance(error, InvalidArgument) and last is not None and last.tb_frame.f_code.co_filename.startswith(_CONVFUZZ)


def simplify(error: BaseException, *, in_group: bool = False) -> None:
    """Remove internal frames and lines from a disagreement or another error of convfuzz, or from those of a group.

    pytest hides the internal frames of a single disagreement by itself, but not those in a group. Hypothesis lists the lines that only
    failing cases run, which here are those of the judging. Where a kernel's own mistake is the cause, its frames are kept.
    """
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            simplify(one, in_group=True)
    elif isinstance(error, Disagreement):
        notes = getattr(error, "__notes__", [])
        notes[:] = _without_our_lines("\n".join(notes).split("\n"))
        if in_group:
            error.__traceback__ = _own_frames(error.__traceback__)
    elif is_refusal(error):
        error.__traceback__ = _own_frames(error.__traceback__)
        for other in filter(None, (error.__cause__, error.__context__)):
            other.__traceback__ = _own_frames(other.__traceback__)


def _without_our_lines(notes: list[str]) -> list[str]:
    """Return Hypothesis's notes without the lines of convfuzz and of packages, and without their list where it has no others."""
    kept = [note for note in notes if not note.lstrip().startswith(_OTHERS)]
    if len(kept) == len(notes) or any(_LINE.match(note) for note in kept):
        return kept
    return [note for note in kept if not note.lstrip().startswith(_LIST)]


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
