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
from convfuzz.tensors.counters import words
from convfuzz.tensors.generator import make_tensors

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
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f32_grad@integers.42": "5635ad4d89d77bd112497e71fce9a8a8a6cdffe64c7a9f9881b23cbbd076c642",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f32_grad@normal.42": "80bc414c4caf0ecb34686d0ed097eb6c1ae848769035be9449c707aac9c98fd0",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f32_grad@positive.42": "544c4628b5d88d7dcdb84c9e210087d7a651e6eab44fdd434b75539e0fab85c5",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f32_grad@cancellation.42": "30c364f7e428b9d09d239a1ebddf1d9f9680db8d7742a2330a9bbf43cb3ff4a5",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f32_grad@tiny.42": "d2ca2391c952e397eac05fbc8f31f2e0052068057d127354c2845275606e31ef",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f32_grad@huge.42": "0c7d661a2b7c71fb6cd241423fb92e7f1ca5f5d02849ac283797b05da95331b3",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f32_grad@subnormal.42": "32be0620e418cd8fdb506ca80ab6a6aacfde907067c830b9d4a3f26681ce6ea8",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f32_grad@special.42": "66facae2740311b0a275003a1b94187f6da483f7fe0076025fca0ddc22a4e0b1",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_f16_grad@huge.42": "116175a1ac11cf7ad6cfb24ab79ac80e2520114d27933bbdbc653e7316b35fe4",
    "conv1d_n20_c4_o6_g2_i40_k3_p1_pmreplicate_bf16_grad@integers.42": "fc3b8a1e2c8d64b0ddcc39720a62c8b2f2ac74687e99a5f0b489019ab9342715",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_c64_grad@normal.42": "6743f18a04daa7e8de1b2dfbd34d5a0644b0dac904249ad50de5ed1569c5e2b7",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_c64@integers.42": "0e2fd3292f3a59557db58e9614a640ab8a6cb911a9a246d012ac1e101b46d02b",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_c128@cancellation.42": "fc4a5e70d78e3b4a60d9cc0757ff12590936083333636999417c8d1b3d6b17bc",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_c128_grad@subnormal.42": "456d0bf876f926116d6ab59aece120d8329de16845c10c21f884f97d2ddbfad9",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_i8@integers.42": "b441921e36c1915f9f7127015d86daa1f9a32d3fef4a32ebd93d7ef19877efd3",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_i8@normal.42": "46a2faa51b11793066875b8f486fa2353c6128296258c59eda5fe02809300e49",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_i8@positive.42": "88b5cacd0ace9a1eb9575211d9be253f0048e3975b22c690a35b2bbdaad0b944",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_i8@sparse.42": "df03f88b7ba26a92e00b7007fba7fa9c6ff4f1767391e0cf257cd0fb9882363d",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_i8@one-hot.42": "0c757941546e197700440ca2fdc704eb7f3ba7ad1ca22e66b17ec0e877a0ccec",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_i8@huge.42": "4b3c635d439541f5162a125daa0c57979c883ce412cc4a59ccdef269444d72c0",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_i32@huge.42": "793dbb5cc7a09528fac49bc45aef6304c75f45a10ead9a9cfc579f4ffd89a756",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_i64@huge.42": "d31c48bf13bba712445452a2f46f7eaa36c5e7a1d2aae56365ae6747cd833afc",
    "conv2d_n2_c3_o4_i5x7_k3x2_b_i64@integers.42": "f6c2ed83440b5e9d87b3698be856f6adbd4703c2dddaea0deea6fd49e3db158f",
}

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def digest(line: str) -> str:
    """Return the SHA-256 over x, w, b and dy, each as the little-endian bytes of its real numbers in C order."""
    found = hashlib.sha256()
    for array in make_tensors(Case.parse(line)).named().values():
        size = array.itemsize // (2 if array.dtype.kind == "c" else 1)
        found.update(np.ascontiguousarray(array).view(f"u{size}").astype(f"<u{size}").tobytes())
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


@pytest.mark.parametrize("layout", ["cl", "nc", "tr", "of", "ls", "wcl", "wnc", "wtr", "wof", "wls", "tr_wcl"])
@pytest.mark.parametrize("regime", REGIMES)
def test_layout_keeps_the_values(regime: str, layout: str) -> None:
    """The memory layout changes where the values lie and none of them; only an expanded one, which repeats values, does."""
    line = "conv2d_n2_c3_o4_i5x7_k3x2_b_f32"
    assert digest(f"{line}_{layout}_grad@{regime}.3") == digest(f"{line}_grad@{regime}.3")


@pytest.mark.parametrize("regime", REGIMES)
def test_gradients_keep_the_values(regime: str) -> None:
    """Asking for gradients adds the output's gradient and changes no other tensor; in the forward pass there is none."""
    forward, whole = (make_tensors(Case.parse(f"conv2d_n2_c3_o4_i5x7_k3x2_b_f32{grad}@{regime}.3")).named() for grad in ("", "_grad"))
    assert set(whole) == {*forward, "dy"}
    assert whole["dy"].shape == (2, 4, 3, 6)
    assert {name: array.tobytes() for name, array in forward.items()} == {name: whole[name].tobytes() for name in forward}


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
@pytest.mark.parametrize(("role", "number"), [("x", 1), ("w", 2), ("b", 3), ("dy", 4), ("special", 5), ("kept", 6), ("kept dy", 7)])
def test_words_are_splitmix(seed: int, role: str, number: int) -> None:
    """The words of a tensor are SplitMix64's sequence from a key that is made of the seed and the tensor's number."""
    key = splitmix((splitmix((seed + GOLDEN) & MASK) + number) & MASK)
    assert words(seed, role, 50).tolist() == [splitmix((key + i * GOLDEN) & MASK) for i in range(1, 51)]


def flat(line: str, name: str) -> npt.NDArray[Any]:
    """Return one tensor of a case as its elements in order."""
    return make_tensors(Case.parse(line)).named()[name].reshape(-1)


@pytest.mark.parametrize("regime", ["integers", "normal", "positive", "cancellation", "tiny", "huge", "sparse", "subnormal"])
@pytest.mark.parametrize("name", ["x", "b", "dy"])
def test_an_element_does_not_depend_on_the_shape(regime: str, name: str) -> None:
    """Element i is the same in every shape of an input, a bias or an output, so that a smaller case keeps the data of a larger one."""
    large = flat(f"conv2d_n2_c3_o7_i5x4_k3_b_f32_grad@{regime}.5", name)
    small = flat(f"conv3d_n1_c3_o2_i2x3x3_k1x3x3_b_f32_grad@{regime}.5", name)
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


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("dtype", ["i8", "i32", "i64", "c64", "c128"])
def test_regimes_of_other_dtypes(dtype: str, regime: str) -> None:
    """Integers have no values that only floating-point numbers have, complex numbers no special ones; the case is declined then."""
    line = f"conv1d_n4_c4_o4_i16_k16_b_{dtype}@{regime}"
    missing = {"cancellation", "tiny", "subnormal", "special"} if dtype.startswith("i") else {"special"}
    if regime in missing:
        with pytest.raises(Unsupported, match=f"regime {regime}"):
            make_tensors(Case.parse(f"{line}.1"))
        return
    tensors = make_tensors(Case.parse(f"{line}.1"))
    assert {array.dtype.name for array in tensors.named().values()} == {Case.parse(line + ".1").config.dtype}
    if regime != "one-hot":
        assert not np.array_equal(tensors.x, make_tensors(Case.parse(f"{line}.2")).x)
    if dtype.startswith("c") and regime not in ("sparse", "one-hot"):
        assert np.count_nonzero(tensors.w.real == tensors.w.imag) < tensors.w.size // 4
