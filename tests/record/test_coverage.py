"""When the comparisons of a kernel are a corner of its domain, and when they are not."""

from __future__ import annotations

from collections.abc import Iterable

from convfuzz.case.config import ConvConfig
from convfuzz.record.coverage import CHANCE, ENOUGH, NEARLY_ALL, Coverage, proves_little


def covering(lines: Iterable[str], accepted: Iterable[str] = ()) -> Coverage:
    """Return the coverage of some configurations, where others are known to be accepted."""
    coverage, known = Coverage(), Coverage()
    for line in lines:
        coverage.add(ConvConfig.parse(line))
    for line in accepted:
        known.add(ConvConfig.parse(line))
    coverage.know(known.compared)
    return coverage


MANY = [f"conv1d_c{c}_o{c}_g{c}_i{i}_k{k}_p{k - 1}:0" for c in (2, 3, 5, 8) for i in (1, 7, 9) for k in (1, 2, 3, 4)]


def test_one_kernel_size_of_several_proves_little() -> None:
    """A run that compared kernel size 1 alone, where 2 to 4 are accepted too, says so."""
    only = [line for line in MANY if "_k1_" in line]
    said = proves_little(covering(only, MANY), compared=1058, declined=0)
    assert said.startswith("1,058 compared cases of 12 configurations had kernel size 1 alone, where 2, 3, 4 are accepted too")


def test_outputs_of_one_site_alone_prove_little() -> None:
    """So does one that compared outputs of a single site."""
    assert "output one site alone, where several sites are accepted too" in proves_little(
        covering([line for line in MANY if "_i1_" in line], MANY), compared=32, declined=0
    )


def test_what_is_single_by_chance_is_no_corner() -> None:
    """Two configurations of one kernel size are no evidence of anything; how many are is what the share of the value says."""
    only = [line for line in MANY if "_k1_" in line]
    for count in range(1, len(only) + 1):
        accused = "kernel size" in proves_little(covering(only[:count], MANY), compared=count, declined=0)
        assert accused == (0.25**count < CHANCE)


def test_whatever_is_accepted_was_compared() -> None:
    """A kernel of a single layer is compared on it alone, and all is said of it."""
    assert proves_little(covering(MANY[:1], MANY[:1]), compared=400, declined=0) == ""
    assert proves_little(covering(MANY, MANY), compared=2 * len(MANY), declined=0) == ""


def test_few_configurations_again_and_again_prove_little() -> None:
    """Many comparisons of few configurations, where more are accepted, are no more than few."""
    few = [line for line in MANY if "_c2_" in line or "_c3_" in line]
    coverage = covering(few, MANY)
    coverage.accepted["kernel size"]["3"] += ENOUGH
    assert "configurations only, where more than 49 are accepted" in proves_little(coverage, compared=1000, declined=0)
    assert proves_little(coverage, compared=2 * len(few), declined=0) == ""


def test_a_kernel_that_declines_nearly_all_proves_little() -> None:
    """Of one that says nothing of its domain it is known that it declined what was drawn."""
    few = covering(MANY[:6])
    assert "declined 400 of 412 cases" in proves_little(few, compared=12, declined=400)
    assert proves_little(few, compared=12, declined=NEARLY_ALL * 12) == ""


def test_accepted_values_that_were_never_compared_are_named() -> None:
    """The report lists them by parameter."""
    coverage = covering([line for line in MANY if "_k4_" not in line], MANY)
    assert coverage.never("kernel size") == ["4"]
    assert coverage.never("input size") == []
