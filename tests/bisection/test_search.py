"""Bisection over releases: where the answer changes, with as few tries as it takes, past those that say nothing."""

from __future__ import annotations

from math import ceil, log2

import pytest

from convfuzz.bisection.search import Answer, Change, Unchanged, bisect, most_tries

BAD, GOOD, UNKNOWN = Answer.BAD, Answer.GOOD, Answer.UNKNOWN
LETTERS = {"b": BAD, "g": GOOD, "?": UNKNOWN}


def searched(line: str) -> tuple[Change[int] | Unchanged, list[int]]:
    """Bisect releases whose answers are the letters of ``line``; return the result and which were asked, in order."""
    asked: list[int] = []

    def answer(at: int) -> Answer:
        asked.append(at)
        return LETTERS[line[at]]

    return bisect(range(len(line)), answer), asked


@pytest.mark.parametrize("first", range(1, 40))
def test_the_first_bad_release_is_found(first: int) -> None:
    """Wherever a bug came, the release before it and the first with it are named, after two tries and one per halving."""
    result, asked = searched("g" * first + "b" * (40 - first))
    assert result == Change(first - 1, first, BAD)
    assert len(asked) == len(set(asked)) <= most_tries(40) == 2 + ceil(log2(39))


def test_the_first_good_release_is_found() -> None:
    """Where the oldest release is bad and the newest good, it is the mending that is searched for."""
    assert searched("bbbggggg")[0] == Change(2, 3, GOOD)


@pytest.mark.parametrize("line", ["gg????bb", "g??????b", "g?g???bb"])
def test_releases_that_say_nothing_stay_possible(line: str) -> None:
    """Whatever lies between the last of one answer and the first of the other may be the first."""
    result, _ = searched(line)
    last, first = line.rindex("g"), line.index("b")
    assert result == Change(last, first, BAD, tuple(range(last + 1, first)))


@pytest.mark.parametrize(("line", "expected"), [("??ggbb??", Change(3, 4, BAD)), ("?gb", Change(1, 2, BAD)), ("gb?", Change(0, 1, BAD))])
def test_ends_that_say_nothing_are_passed_over_inwards(line: str, expected: Change[int]) -> None:
    """The oldest and the newest release of which something can be said are the ends."""
    assert searched(line)[0] == expected


@pytest.mark.parametrize(
    ("line", "answer"), [("ggg", GOOD), ("bbb", BAD), ("?b?b", BAD), ("???", UNKNOWN), ("?g?", UNKNOWN), ("b", UNKNOWN), ("", UNKNOWN)]
)
def test_ends_that_agree_name_no_release(line: str, answer: Answer) -> None:
    """No change is made up where both ends say the same, or only one release says anything."""
    assert searched(line)[0] == Unchanged(answer)
