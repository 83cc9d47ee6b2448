"""The bytes of a case's tensors: a function of the recipe alone, the same on every machine and in every version.

The digests below are the contract itself. A case's line promises its data: reports, findings and regression tests of
years ago are run again by it. When one of them changes, it is the code that is wrong, not the digest.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from convfuzz.case import REGIMES, Case
from convfuzz.errors import Unsupported
from convfuzz.tensors import make_tensors, words

DIGESTS = {
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f32@integers.42": "948073587983bb2cbba5edb18705ff8e00664fb2ec5d0e3bd6887e21746024f7",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f32@normal.42": "9acb5ad57a6e23d52e4bd6dacd3e4b5147bb06697bd8c81bcd69b503a216086f",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f32@positive.42": "b2fc4576531e58209b8d08e14d555ffb11d73ef57cad09797e0590178c9fff20",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f32@cancellation.42": "7424d109fcd1d4771cd49a8f4a0a270d413ced64f0da1b1a89e72bc9a38b5023",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f32@tiny.42": "6cdc79928b17cf21f2578941a95f9bce20361b512b5280e854794a6450e724c9",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f32@huge.42": "26733c1042017f74328dc5d96945e93e77dde93e5467a26d70b4c6c75440a536",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f32@sparse.42": "9bb91c1591146db3cc57a064ca69b238476fca3e3e4077bce1827fbdf16da78b",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f32@one-hot.42": "b6df83bf364c0b9e4576699edf7f42bf31582cc2498cd0a8376ce84922b3be81",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f32@subnormal.42": "8956584c72dd6a7c50c6996e7d92bcad17332ddcb840c664c9b08ac0702d0a02",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f32@special.42": "0db95928742f02d3123232be4fd4afd47aa9076782185f51cdfbc9ebe54b56fb",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f64@normal.42": "a02869681ba6edbd75f77df68999b2943ac58f12830fa5b81446b94d6e7e2acd",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f16@huge.42": "31f2f69600469a24d84acc9821183736d37c9d250f3ad7f784f825e9f05043cb",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_bf16@normal.42": "cae9c556e8271da0068fed2540e4cfd65da6bb0d085983543921415bedd0ce44",
    "convt2d_n2_c4_o6_g2_i5x7_k9_b_bf16@integers.42": "0a602aa8c2585e87c90e12dc16e39508c17508eb162ecabf9875f763040d43ca",
    "conv1d_c1_o1_i9_k3_f32@normal.9223372036854775807": "f23d1cd939730fba71726e38b016fc65e18f6afa56e8cf13ab89c02af8408219",
}

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def digest(line: str) -> str:
    """Return the SHA-256 over x, w and b, each as its little-endian bytes in C order."""
    found = hashlib.sha256()
    for array in make_tensors(Case.parse(line)).named().values():
        bits = np.ascontiguousarray(array).view(f"u{array.itemsize}")
        found.update(bits.astype(f"<u{array.itemsize}").tobytes())
    return found.hexdigest()


def splitmix(state: int) -> int:
    """Return SplitMix64's output function of a state, in Python's own integers."""
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


@pytest.mark.parametrize(("line", "expected"), DIGESTS.items())
def test_digest(line: str, expected: str) -> None:
    """A recipe gives the bytes that it has given since the first version."""
    assert digest(line) == expected


@pytest.mark.parametrize("layout", ["cl", "nc"])
@pytest.mark.parametrize("regime", REGIMES)
def test_layout_keeps_the_values(regime: str, layout: str) -> None:
    """The memory layout changes where the values lie and none of them."""
    assert digest(f"conv2d_n2_c3_o4_i5x7_k3x2_b_f32_{layout}@{regime}.3") == digest(f"conv2d_n2_c3_o4_i5x7_k3x2_b_f32@{regime}.3")


def test_splitmix_itself() -> None:
    """The generator written out below gives the published first outputs of SplitMix64 for the seed 1234567."""
    states = [(1234567 + i * GOLDEN) & MASK for i in range(1, 6)]
    assert [splitmix(s) for s in states] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@pytest.mark.parametrize("seed", [0, 1, 42, 2**63 - 1])
@pytest.mark.parametrize(("role", "number"), [("x", 1), ("w", 2), ("b", 3)])
def test_words_are_splitmix(seed: int, role: str, number: int) -> None:
    """The words of a tensor are SplitMix64's sequence from a key that is made of the seed and the tensor's number."""
    key = splitmix((splitmix((seed + GOLDEN) & MASK) + number) & MASK)
    assert words(seed, role, 50).tolist() == [splitmix((key + i * GOLDEN) & MASK) for i in range(1, 51)]


def flat(line: str, name: str) -> npt.NDArray[Any]:
    """Return one tensor of a case as its elements in order."""
    return make_tensors(Case.parse(line)).named()[name].reshape(-1)


@pytest.mark.parametrize("regime", ["integers", "normal", "positive", "cancellation", "tiny", "huge", "sparse", "subnormal"])
@pytest.mark.parametrize("name", ["x", "b"])
def test_an_element_does_not_depend_on_the_shape(regime: str, name: str) -> None:
    """Element i of an input or a bias is the same in every shape, so that a smaller case keeps the data of a larger one."""
    large = flat(f"conv2d_n2_c3_o7_i5x4_k3_b_f32@{regime}.5", name)
    small = flat(f"conv3d_n1_c3_o2_i2x3x3_k1x3x3_b_f32@{regime}.5", name)
    assert small.size < large.size
    np.testing.assert_array_equal(small, large[: small.size])


@pytest.mark.parametrize("regime", ["integers", "normal", "positive", "tiny", "sparse", "subnormal"])
def test_a_weight_does_not_depend_on_the_shape(regime: str) -> None:
    """Element i of a weight is the same in every shape as long as its regime does not look at whole kernels."""
    np.testing.assert_array_equal(flat(f"conv2d_c2_o3_i5_k3_f32@{regime}.5", "w"), flat(f"convt3d_c3_o2_i5_k3_f32@{regime}.5", "w")[:54])


@pytest.mark.parametrize("regime", REGIMES)
def test_other_seeds_and_tensors_are_other_data(regime: str) -> None:
    """Another seed gives other data, and within a case no tensor repeats another."""
    if regime != "one-hot":
        assert not np.array_equal(flat(f"conv1d_c4_o4_i16_k16_f64@{regime}.1", "x"), flat(f"conv1d_c4_o4_i16_k16_f64@{regime}.2", "x"))
    tensors = make_tensors(Case.parse(f"conv1d_n4_c4_o4_i16_k16_f64@{regime}.1"))
    assert tensors.x.shape == tensors.w.shape
    assert np.count_nonzero(tensors.x == tensors.w) < tensors.x.size // 4


@pytest.mark.parametrize("dtype", ["i8", "i32", "i64", "c64", "c128"])
def test_other_dtypes(dtype: str) -> None:
    """Integer and complex dtypes have no regimes: the case is declined with its dtype."""
    with pytest.raises(Unsupported, match="has no data regimes"):
        make_tensors(Case.parse(f"conv1d_c1_o1_i3_k3_{dtype}"))
