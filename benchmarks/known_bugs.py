"""Re-find known framework bugs: one case line for each report, judged by ``convfuzz check`` in its sandbox.

    python benchmarks/known_bugs.py > docs/known-bugs.md

The reports are those that reproduce on a CPU with the pinned versions. A row shows what the check says today, so that a
row that turns to ``agree`` is a bug that was fixed (or a processor that takes another path: the row says where it
matters).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """One report: where it is, what goes wrong, and the case line and backend that show it."""

    report: str
    what: str
    case: str
    backend: str
    environment: str = ""


PRESENT = (
    Known(
        "oneDNN#6035",
        "1x1 weight gradient writes beyond its workspace",
        "conv2d_n32_c4_o8_i32_k1_s2_f32_cl_grad",
        "torch",
        "ONEDNN_MAX_CPU_ISA=AVX2",
    ),
    Known("pytorch#153700", "float16 overflow inside a transposed convolution", "convt2d_n6_c7_o3_i15x23_k15x18_p2_f16@huge.0", "torch"),
    Known("pytorch#153276", "float16 accumulation of a transposed convolution", "convt2d_c9_o11_i20x52_k12x84_p12_f16@positive.0", "torch"),
    Known("tensorflow#64396", "kernel larger than the input: uninitialised memory", "conv2d_c1_o1_i2_k3x1_f32", "tensorflow"),
    Known(
        "tensorflow#113319", "dilated kernel larger than the input is accepted", "conv2d_n2_c3_o4_i5_k3_d3_f32", "tensorflow:convolution"
    ),
    Known("tensorflow#125511", "output shape of a wrong rank aborts", "convt2d_c8_o4_i3_k2_s2_f32_bad-output-length", "tensorflow"),
    Known("tensorflow#125506", "the same, found with a scalar filter", "convt2d_c8_o4_i3_k2_s2_f32_bad-output-length", "tensorflow"),
    Known("tensorflow#97165", "depthwise, a stride beyond 32 bits aborts", "conv2d_c2_o2_g2_i2_k1_s5300000000000000000_f32", "tensorflow"),
    Known("tensorflow#74914", "a stride beyond 32 bits aborts", "conv2d_c2_o2_i2_k1_s4634247419717959497_f32", "tensorflow"),
    Known("tensorflow#85250", "an input of one axis aborts", "conv2d_c3_o8_i3_k2_f32_bad-input-flat", "tensorflow"),
    Known("pytorch#178125", "meta accepts output_padding=2 with stride 2", "convt1d_n20_c16_o66_g2_i50_k5_s2_op2_f32", "torch:meta"),
    Known("pytorch#178127", "meta: output_padding=2, stride 2, dilation 2", "convt2d_c1_o1_i5_k3_s2_d2_op2_f32", "torch:meta"),
    Known("pytorch#178128", "meta accepts a bias of the wrong size", "convt3d_c16_o66_g2_i3_k3_b_f32_bad-bias-size", "torch:meta"),
    Known("tensorflow, no thread found", "an empty batch has the input's shape", "conv2d_n0_c3_o4_i5_k3_f32", "tensorflow"),
    Known("tensorflow, no thread found", "an empty axis has the input's channels", "conv2d_c3_o4_i5x0_k1_f32", "tensorflow"),
    Known(
        "onnxruntime#10086",
        "SAME_UPPER crops where the stride is longer than the kernel",
        "conv1d_c1_o1_i4_k1_s4_psame_f32@integers.0",
        "onnxruntime",
    ),
    Known("onnxruntime#20582", "SAME_UPPER with dilation is rejected", "conv1d_c1_o1_i10_k3_psame_d2_f32", "onnxruntime"),
    Known(
        "onnxruntime#14208", "output padding below the dilation, not below the stride", "convt2d_c1_o3_i9_k2_p3_d2_op1_b_f32", "onnxruntime"
    ),
    Known(
        "onnxruntime, no thread found",
        "ConvTranspose SAME with a kernel shorter than the stride",
        "convt2d_c1_o1_i5_k2_s3_psame_f32",
        "onnxruntime",
    ),
    Known("openvino, no thread found", "the same", "convt2d_c1_o1_i5_k2_s3_psame_f32", "openvino"),
    Known("onnx, no thread found", "the reference evaluator raises on grouped ConvTranspose", "convt2d_c2_o4_g2_i4x5_k2x3_f32", "onnx"),
)

SOUND = (
    Known(
        "pytorch#180548",
        "a weight of another dtype: only the mkldnn layout accepts it",
        "conv2d_c1_o1_i4_k1_bf16_bad-weight-dtype",
        "torch",
    ),
    Known("pytorch#73179", "stride 0: only a private operator divides by it", "conv2d_c2_o1_i6_k6_s0_f32", "torch"),
    Known("keras#23028", "stride and dilation together: only Keras rejects it", "conv2d_c3_o4_i8_k3_s2_d2_f32", "tensorflow"),
)

ELSEWHERE = (
    ("pytorch#142209", "five spatial dimensions; a case has one to three"),
    ("tensorflow#119356", "`tf.image.extract_patches` under XLA: no convolution of the caller's"),
    ("tensorflow#57958", "two flaws at once: a scalar filter, and an output shape that lacks batch and channels"),
    ("tensorflow#104881", "a raw backward operator with operands of wrong ranks, which no public function passes on"),
    ("tensorflow#62950", "a raw backward operator with three strides; the public functions count them"),
    ("jax#32267", "explicit padding of `lax.conv_transpose` is documented as that of the inner convolution, which the adapter converts"),
)


def main() -> int:
    """Print the page."""
    print(_HEAD)
    print("## Wrong today\n")
    missed = _table(PRESENT)
    print("\n## Right where a user calls it\n")
    print("The report is about a way in that is no backend here; the public functions judged by the same line are right.\n")
    _table(SOUND)
    print("\n## Not expressible\n")
    for report, why in ELSEWHERE:
        print(f"- {report}: {why}.")
    return int(missed > 0)


def _table(entries: tuple[Known, ...]) -> int:
    print("| report | what | `convfuzz check` | backend | verdict |")
    print("|---|---|---|---|---|")
    agreeing = 0
    for known in entries:
        verdict, in_pass = _check(known)
        agreeing += verdict in ("agree", "unsupported")
        shown = verdict if in_pass == "forward" else f"{verdict} ({in_pass})"
        prefix = f"`{known.environment}` " if known.environment else ""
        print(f"| {known.report} | {known.what} | {prefix}`{known.case}` | {known.backend} | {shown} |", flush=True)
    return agreeing


def _check(known: Known) -> tuple[str, str]:
    name, _, value = known.environment.partition("=")
    command = [sys.executable, "-m", "convfuzz", "check", known.case, "--backends", known.backend, "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | ({name: value} if name else {}))
    result = json.loads(done.stdout.splitlines()[0])["results"][0]
    return result["verdict"], result["pass"]


_HEAD = """\
# Known bugs, re-found

Reports of released frameworks that reproduce on a CPU with the pinned versions (PyTorch 2.13, TensorFlow 2.21,
ONNX Runtime 1.32, OpenVINO 2026.4, ONNX 1.23), each as one case line.
Written by `python benchmarks/known_bugs.py`; every row is one `convfuzz check CASE --backends BACKEND`.
"""

if __name__ == "__main__":
    sys.exit(main())
