"""Operands that are wrong in the one way that a case's flaw says, and in no other."""

from __future__ import annotations

import pytest

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.line import DTYPE_TOKENS, FLAWS
from convfuzz.tensors.generator import make_tensors

LAYERS = [
    "conv1d_n2_c4_o6_g2_i7_k3_b",
    "conv2d_c3_o2_i5x4_k3x1_b",
    "conv3d_n-_c2_o2_i3_k1_b",
    "convt2d_n3_c4_o2_g2_i3_k2_s2_b",
    "convt1d_n-_c1_o1_i1_k1_b",
    "conv2d_n0_c2_o2_i3_k3_b",
    "conv2d_c0_o2_i3_k3_b",
]

Shape = tuple[int, ...]


def longer(shape: Shape, axis: int) -> Shape:
    """Return the shape with one element more along an axis."""
    return tuple(extent + (a == axis % len(shape)) for a, extent in enumerate(shape))


def expected_shapes(config: ConvConfig) -> dict[str, Shape]:
    """Return the shape of each operand under the configuration's flaw, read off the flaw's description."""
    x, w, b = config.input_shape, config.weight_shape, (config.out_channels,)
    elements = 1
    for extent in x:
        elements *= extent
    changed: dict[str, dict[str, Shape]] = {
        "input-channels": {"x": longer(x, -config.dims - 1)},
        "input-rank": {"x": (1, *x)},
        "input-flat": {"x": (elements,)},
        "weight-rank": {"w": w[:-1]},
        "weight-scalar": {"w": () if 0 not in w else (0,)},
        "bias-size": {"b": longer(b, 0)},
        "bias-rank": {"b": (1, *b)},
    }
    return {"x": x, "w": w, "b": b} | changed.get(config.flaw or "", {})


@pytest.mark.parametrize("dtype", DTYPE_TOKENS)
@pytest.mark.parametrize("flaw", FLAWS)
def test_one_operand_is_wrong_in_one_way(flaw: str, dtype: str) -> None:
    """The operand that the flaw names has another shape, rank or dtype; all else is what the numbers of the case say."""
    for layer in LAYERS:
        if flaw == "output-length" and layer.startswith("conv") and not layer.startswith("convt"):
            continue
        config = Case.parse(f"{layer}_{dtype}").config.replace(flaw=flaw)
        assert config.invalid_reason == FLAWS[flaw]
        tensors = make_tensors(Case(config)).named()
        assert {name: array.shape for name, array in tensors.items()} == expected_shapes(config)
        wrong = {"weight-dtype": {"w"}, "bias-dtype": {"b"}}.get(flaw, set())
        for name, array in tensors.items():
            assert (array.dtype.name != config.dtype) == (name in wrong)
            assert name not in wrong or (array.dtype.kind == "c") == (config.dtype[0] == "c")


@pytest.mark.parametrize("layout", ["cl", "nc", "tr", "ex", "of", "ls"])
def test_the_other_operands_keep_their_layout(layout: str) -> None:
    """A flaw changes nothing about where the operands lie that it does not name."""
    sound = make_tensors(Case.parse(f"conv2d_n2_c4_o6_g2_i7_k3_b_f32_{layout}"))
    flawed = make_tensors(Case.parse(f"conv2d_n2_c4_o6_g2_i7_k3_b_f32_{layout}_bad-bias-size"))
    assert (flawed.x.strides, flawed.w.strides) == (sound.x.strides, sound.w.strides)
    assert flawed.x.tobytes() == sound.x.tobytes()
    assert flawed.b is not None
    assert sound.b is not None
    assert flawed.b[:-1].tolist() == sound.b.tolist()
