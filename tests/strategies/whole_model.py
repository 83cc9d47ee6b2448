"""Every configuration the model can hold, valid or not: all operations, dtypes, modes and signs of sizes."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from convfuzz.case import Case
from convfuzz.case.config import DTYPES, LAYOUTS, OPS, ConvConfig
from convfuzz.case.line import FLAWS, PADDING_MODES
from convfuzz.strategies import recipes

_INTS = st.integers(-3, 40) | st.integers(-(2**63), 2**63)


def _per_axis(dims: int) -> SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[_INTS] * dims)


def _of_dims(dims: int) -> SearchStrategy[ConvConfig]:
    sides = st.tuples(*[st.tuples(_INTS, _INTS)] * dims)
    return st.builds(
        ConvConfig,
        op=st.sampled_from(OPS),
        dims=st.just(dims),
        batch=st.none() | _INTS,
        in_channels=_INTS,
        out_channels=_INTS,
        groups=_INTS,
        input_size=_per_axis(dims),
        kernel_size=_per_axis(dims),
        stride=_per_axis(dims),
        padding=st.sampled_from(["same", "valid"]) | _per_axis(dims) | sides,
        padding_mode=st.sampled_from(PADDING_MODES),
        dilation=_per_axis(dims),
        output_padding=_per_axis(dims),
        bias=st.booleans(),
        dtype=st.sampled_from(DTYPES),
        layout=st.sampled_from(LAYOUTS),
        weight_layout=st.none() | st.sampled_from(LAYOUTS),
    )


def any_configs() -> SearchStrategy[ConvConfig]:
    """Draw any object of the model, most of them no convolution at all."""
    return st.builds(_flawed, st.sampled_from([1, 2, 3]).flatmap(_of_dims), st.none() | st.sampled_from(sorted(FLAWS)))


def _flawed(config: ConvConfig, flaw: str | None) -> ConvConfig:
    """Give the configuration the flaw, with what the flaw is about."""
    needs = {"bias": {"bias": True}, "output": {"op": "conv_transpose"}}
    return config.replace(flaw=flaw, **needs.get((flaw or "").split("-")[0], {}))


def any_cases() -> SearchStrategy[Case]:
    """Draw any case, with gradients or without."""
    return st.builds(Case, any_configs(), recipes(), grad=st.booleans())
