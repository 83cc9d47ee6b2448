"""What is drawn for kernels of narrow domains: what they accept, all of it, and the same each time."""

from __future__ import annotations

from collections import Counter

import pytest
from sampling import sample

from convfuzz.case import Case
from convfuzz.case.batch import Exchangeable
from convfuzz.case.config import ConvConfig
from convfuzz.case.domain import Domain
from convfuzz.strategies import boundary, default, smoke


def _is_causal(c: ConvConfig) -> bool:
    k = c.kernel_size[0]
    return c.op == "conv" and c.dims == 1 and c.groups == c.in_channels == c.out_channels and 2 <= k <= 4 and c.padding == ((k - 1, 0),)


CAUSAL = Domain(supports=_is_causal, dtypes=("float32", "float16"))
STEM = Domain(ops=("conv",), dims=(2,), kernel_sizes=(7,), strides=(2,), paddings=(3,), groups=("none",))
ROOMY = Domain(ops=("conv",), dims=(1, 2), supports=lambda c: c.padding_mode == "zeros" or "zeros only")


def configs(batches: list[tuple[Case, ...]]) -> list[ConvConfig]:
    """Return the configurations of batches."""
    return [batch[0].config for batch in batches]


@pytest.mark.parametrize("domain", [CAUSAL, STEM, ROOMY], ids=["causal", "stem", "roomy"])
@pytest.mark.parametrize("space", [smoke, default, boundary])
def test_every_draw_is_within_the_domain(space: object, domain: Domain) -> None:
    """Nothing is drawn that the kernel declines, whatever the search space, and there is variety."""
    drawn = configs(sample(space((domain,)), 150))  # type: ignore[operator]
    assert all(map(domain.accepts, drawn))
    assert len(set(drawn)) > 75


@pytest.mark.parametrize("space", [smoke, default, boundary])
def test_operands_are_exchanged_where_no_domain_is_given(space: object) -> None:
    """Valid layers but past bugs may have another dtype; a kernel that takes float16 in one layout only keeps its own."""
    drawn = sample(space(), 150)  # type: ignore[operator]
    valid = [batch for batch in drawn if batch[0].config.is_valid]
    assert sum(isinstance(batch, Exchangeable) for batch in valid) > 0.8 * len(valid)
    assert not any(isinstance(batch, Exchangeable) for batch in drawn if not batch[0].config.is_valid)
    assert not any(isinstance(batch, Exchangeable) for batch in sample(space((ROOMY,)), 20))  # type: ignore[operator]


def test_a_narrow_domain_is_covered() -> None:
    """Of three kernel sizes and two dtypes each pair comes up, with outputs of one site and of several."""
    drawn = configs(sample(default((CAUSAL,)), 400))
    met = Counter((config.kernel_size[0], config.dtype) for config in drawn)
    assert len(met) == 6
    assert min(met.values()) > 15
    assert {max(config.output_size) > 1 for config in drawn} == {False, True}


def test_of_several_kernels_the_rarest_is_drawn_for_most() -> None:
    """The rarest domain has as many configurations as all the others together."""
    drawn = configs(sample(default((ROOMY, CAUSAL, STEM)), 600))
    assert 0.4 < sum(map(CAUSAL.accepts, drawn)) / len(drawn) < 0.65
    assert sum(map(STEM.accepts, drawn)) > 60


def test_an_example_is_drawn_near() -> None:
    """About half of the configurations are an example, or one or two changes from it."""
    example = ConvConfig.parse("conv2d_c37_o41_i19_k5_s3_p2_f32")
    drawn = configs(sample(default((Domain(examples=(example,)),)), 200))
    assert sum(37 in (config.in_channels, config.out_channels) or 41 in (config.in_channels, config.out_channels) for config in drawn) > 60


def test_where_nothing_is_accepted_everything_is_drawn() -> None:
    """The run then shows what was declined, and why, instead of drawing nothing at all."""
    nothing = Domain(supports=lambda c: f"nothing, not {c}")
    assert len(set(configs(sample(default((nothing,)), 50)))) > 25


def test_without_a_domain_nothing_changes() -> None:
    """A campaign over frameworks draws what it always has."""
    assert sample(default(()), 100) == sample(default(), 100)
