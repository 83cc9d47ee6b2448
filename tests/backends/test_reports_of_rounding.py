"""Public reports that were rounding, no bugs: a fixed tolerance flags them, and the derived one does not.

Sizes are those of the threads; where a thread has its data in an attachment, the layer that it describes.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import convfuzz
from convfuzz import Case
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Array
from convfuzz.verdicts import Verdict

ASSERT_CLOSE = 1.3e-6
"""``torch.testing.assert_close``'s relative tolerance in float32."""
REPORTS = {
    "pytorch#170016": "conv2d_c384_o256_i13_k3_p1_f32",
    "pytorch#107514": "conv2d_n8_c64_o128_i16_k1_f32",
    "tensorflow#106452": "conv2d_c3_o8_i32_k3_f32",
    "tensorflow#117663": "conv2d_c3_o64_i64_k5_f32",
    "tensorflow#117677": "conv2d_c3_o64_i128_k7_s2_f32",
}
TF32 = Numerics(inputs="tfloat32")


@pytest.mark.parametrize("backend", ["torch", "torch:channels_last", "torch+split", "tensorflow", "onnxruntime"])
@pytest.mark.parametrize("report", REPORTS)
def test_rounding_is_no_finding(report: str, backend: str) -> None:
    """The layer agrees, on data on which a relative tolerance would have to be more than ten times what is usual."""
    pytest.importorskip(backend.partition(":")[0].partition("+")[0], reason="the framework is what is judged")
    for seed in range(2):
        (result,) = convfuzz.check(f"{REPORTS[report]}@normal.{seed}", [backend]).results
        assert result.verdict is Verdict.AGREE
        assert result.discrepancies["forward"].required_rtol > 10 * ASSERT_CLOSE


def rounded_to_tf32(values: Array) -> Array:
    """Keep ten bits of each significand, rounded to nearest, as tensor cores read their operands."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0xFFF) + ((bits >> np.uint32(13)) & np.uint32(1))) & np.uint32(0xFFFFE000)).view(np.float32)


def on_tensor_cores(x: Array, w: Array, b: Array | None, config: convfuzz.ConvConfig) -> Array:
    """Compute a layer as a device that rounds the operands to TF32."""
    return convfuzz.reference(config, rounded_to_tf32(x), rounded_to_tf32(w), b).y.astype(x.dtype)


@pytest.mark.parametrize("report", ["pytorch#107514", "tensorflow#117663", "tensorflow#117677"])
def test_tf32_is_explained_by_its_declaration(report: str) -> None:
    """Of a device, the reports' errors are those of TF32: they agree where that is declared, and are named where it is not."""
    case = Case.parse(f"{REPORTS[report]}@normal.0")

    @convfuzz.backend(numerics=TF32)
    def declared(x: Array, w: Array, b: Array | None, config: convfuzz.ConvConfig) -> Array:
        return on_tensor_cores(x, w, b, config)

    (as_declared,) = convfuzz.check(case, [declared]).results
    assert as_declared.verdict is Verdict.AGREE
    (found,) = convfuzz.check(case, [on_tensor_cores]).results
    assert (found.verdict, found.model) == (Verdict.IMPRECISE, "TF32 inputs")


def test_rounding_to_tf32_is_what_it_says() -> None:
    """The rounding above keeps what ten bits hold, and differs from bfloat16's."""
    values = np.array([1 + 2**-10, 1 + 2**-11, 1 + 3 * 2**-11, -(1 + 2**-12)], np.float32)
    np.testing.assert_array_equal(rounded_to_tf32(values), np.array([1 + 2**-10, 1, 1 + 2**-9, -1], np.float32))
    assert rounded_to_tf32(values)[0] != np.float32(values[0].astype(ml_dtypes.bfloat16))
