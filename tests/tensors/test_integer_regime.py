"""Integers whose sums are exact in any order: certified in every pass, and every tap shown by one of a few seeds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convfuzz.case import Case, DataRecipe
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import FLOATS, INTEGER_LIMITS, is_integer
from convfuzz.oracle import gradients, reference
from convfuzz.tensors.generator import make_tensors
from convfuzz.tensors.regimes import integer_draws, rows_per_output_kernel

from .drawn import seeds, whole_layers


@st.composite
def deep_layers(draw: st.DrawFn) -> ConvConfig:
    """Draw layers with so many channels, samples and sites that the sums of a short dtype reach its limit."""
    config = draw(whole_layers())
    deep = config.replace(
        batch=draw(st.sampled_from([None, 1, 2, 9])),
        in_channels=config.groups * draw(st.sampled_from([1, 7, 40, 100])),
        out_channels=config.groups * draw(st.sampled_from([1, 5, 30])),
    )
    return deep if deep.flops < 3e7 else config


@settings(deadline=None, max_examples=250)
@given(config=deep_layers(), seed=seeds)
def test_integers_are_certified(config: ConvConfig, seed: int) -> None:
    """In every pass the magnitudes of each element's products sum to at most what its dtype holds exactly, or without wrapping around."""
    grad = not is_integer(config.dtype)
    tensors = make_tensors(Case(config, DataRecipe("integers", seed), grad))
    passes = {"forward": reference(config, tensors.x, tensors.w, tensors.b)}
    if tensors.dy is not None and grad:
        passes |= gradients(config, tensors.x, tensors.w, tensors.dy)
    for in_pass, expected in passes.items():
        assert expected.S is not None
        assert np.max(expected.S, initial=0.0) <= INTEGER_LIMITS[config.dtype], in_pass
        assert np.array_equal(expected.y, np.rint(expected.y))


@pytest.mark.parametrize("dtype", INTEGER_LIMITS)
def test_the_limit_of_certified_sums(dtype: str) -> None:
    """Up to the limit integers are exact in the dtype, a complex one's also after its parts were added; then they are not."""
    limit = INTEGER_LIMITS[dtype]
    if is_integer(dtype):
        assert limit == min(np.iinfo(dtype).max, 2**53)  # and a float64 reference holds them
    elif dtype in FLOATS:
        form = FLOATS[dtype]
        assert form.round(np.array([limit, limit - 1.0, limit + 1.0])).tolist()[:2] == [limit, limit - 1.0]
        assert dtype == "float64" or form.round(np.array([limit + 1.0]))[0] != limit + 1.0
    else:
        part = np.zeros(1, dtype).real.dtype
        assert part.type(2.0 * limit) - part.type(1.0) == 2.0 * limit - 1.0
        assert part.type(2.0 * limit) + part.type(1.0) == 2.0 * limit


def seen_nonzero(case: Case, name: str) -> npt.NDArray[np.bool_]:
    """Return which elements of a tensor are not zero in any of the draws that the case's regime needs."""
    first, draws = case.recipe.seed // 8 * 8, integer_draws(case.config, grad=case.grad)
    drawn = [make_tensors(Case(case.config, DataRecipe("integers", first + i), case.grad)).named()[name] for i in range(draws)]
    seen: npt.NDArray[np.bool_] = np.logical_or.reduce([array != 0 for array in drawn])
    return seen


@pytest.mark.parametrize("layout", ["", "_tr", "_wex"])
@pytest.mark.parametrize(
    ("line", "draws"),
    [
        ("conv1d_n4_c2_o3_i30_k3_b_f32", 1),
        ("conv1d_c90_o3_i5_k3_b_bf16", 5),  # 270 taps, 63 at a time
        ("convt1d_c90_o4_g2_i5_k3_bf16", 3),  # 135 taps
        ("conv2d_n2_c2_o6_g2_i7_k2_bf16", 4),  # 216 outputs of a group
        ("conv1d_n3_c2_o2_i20_k3_p1_pmreplicate_bf16", 6),  # 120 outputs, 21 at a time: an input has up to three copies
        ("conv1d_n-_c2_o4_i20_k2_f16", 1),
        ("conv1d_n5_c3_o5_i30_k3_c64", 1),
    ],
)
@pytest.mark.parametrize("seed", [0, 8, 4096])
def test_neighbouring_seeds_show_every_tap(line: str, draws: int, layout: str, seed: int) -> None:
    """The draws from a multiple of eight on leave no weight and no output gradient zero in all of them."""
    case = Case.parse(f"{line}{layout}_grad@integers.{seed}")
    assert integer_draws(case.config, grad=True) == draws
    for name in ("w", "dy"):
        assert seen_nonzero(case, name).all(), name


def test_output_gradients_that_are_too_many_are_kept_in_turn() -> None:
    """A group's output gradient keeps as many elements as certainly sum exactly, each group its own, other ones for the next seed."""
    places = []
    for seed in (8, 9):
        dy = make_tensors(Case.parse(f"conv1d_n5_c2_o6_g2_i30_k3_bf16_grad@integers.{seed}")).dy
        assert dy is not None
        groups = [np.flatnonzero(dy[:, first : first + 3]) for first in (0, 3)]
        assert [places.size for places in groups] == [63, 63]  # 63 · 2 · 2 + 2 ≤ 256
        assert set(groups[0]) != set(groups[1])
        places.append(groups[0])
    assert not set(places[0]) & set(places[1])


def test_at_most_eight_draws() -> None:
    """A layer of which eight draws show a part only is content with eight."""
    config = ConvConfig.parse("conv1d_n8_c1000_o8_i100_k3_bf16")
    assert integer_draws(config) == integer_draws(config, grad=True) == 8


@pytest.mark.parametrize(
    ("line", "limit", "kept"),
    [
        ("conv1d_c500_o3_i2_k2_b_f16@integers.1", 2**11, 127),  # 127 · 4 · 4 + 4 ≤ 2048
        ("conv1d_c500_o3_i2_k2_b_bf16@integers.1", 2**8, 63),  # 63 · 2 · 2 + 2 ≤ 256
        ("convt1d_c500_o3_i2_k1_b_bf16@integers.1", 2**8, 63),
        ("convt1d_c500_o6_g2_i2_k2_b_bf16@integers.1", 2**8, 63),
    ],
)
def test_large_kernels_of_integers(line: str, limit: int, kept: int) -> None:
    """A kernel with more taps than certainly fit keeps only as many, each kernel its own, and stays within the limit."""
    case = Case.parse(line)
    config, tensors = case.config, make_tensors(case)
    expected = reference(config, tensors.x, tensors.w, tensors.b)
    w = tensors.w.astype(np.float64)
    if config.op == "conv":
        kernels = list(w)
    else:
        per_group = w.reshape(config.groups, -1, *w.shape[1:])
        kernels = [per_group[group, :, out] for group in range(config.groups) for out in range(w.shape[1])]
    assert np.array_equal(rows_per_output_kernel(w, config), [kernel.ravel() for kernel in kernels])
    assert len(kernels) == config.out_channels
    assert [np.count_nonzero(kernel) for kernel in kernels] == [kept] * config.out_channels
    places = {tuple(np.flatnonzero(kernel)) for kernel in kernels}
    assert len(places) == config.out_channels
    assert expected.S is not None
    assert limit / 3 < expected.S.max() <= limit


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16", "i8", "i32", "i64"])
def test_integers_leave_no_tap_unseen(dtype: str) -> None:
    """No input and, where all taps fit, no weight and no bias is zero: what is not read is missed."""
    for array in make_tensors(Case.parse(f"conv2d_n2_c3_o4_i9_k3_b_{dtype}@integers.1")).named().values():
        values = array.astype(np.float64)
        assert np.array_equal(values, np.rint(values))
        assert np.all(values != 0.0)
        assert {np.sign(v) for v in values.ravel()} == {-1.0, 1.0}
