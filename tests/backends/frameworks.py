"""The adapters over their whole declared domain: what is drawn, and which real defects of the frameworks are left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from convfuzz.case import Case

ADAPTERS = (
    "torch",
    "torch:native",
    "torch:channels_last",
    "torch:nn",
    "tensorflow",
    "tensorflow:graph",
    "tensorflow:xla",
    "jax",
    "jax:jit",
)
COMPILING = {"tensorflow:graph": 2, "tensorflow:xla": 2, "jax": 1, "jax:jit": 1}
"""Those that compile for every new shape, run on fewer of them, and how much faster they are than JAX."""
SMALL = {"max_flops": 200_000, "max_elements": 2**12}

_NARROW = ("float16", "bfloat16")


@dataclass(frozen=True)
class Defect:
    """Something a framework does wrong, a case on which it shows, and the cases that are left out because of it."""

    what: str
    example: str
    applies: Callable[[Case], bool]


def _has_one_column(case: Case) -> bool:
    c = case.config
    by_onednn = c.dims > 1 and c.dtype in ("bfloat16", "float32", "complex64")
    return by_onednn and c.stride[-1] > 1 and c.kernel_size[-1] > 1 and c.output_size[-1] == 1


def _is_larger_than_its_input(case: Case) -> bool:
    c = case.config
    larger = any(extent > size for extent, size in zip(c.effective_kernel, c.input_size, strict=True))
    return c.dims == 3 and larger and (c.dtype == "bfloat16" or (case.grad and c.dtype in ("float32", "complex64")))


def _strides_over_sites(case: Case) -> bool:
    c = case.config
    gaps = any(stride > extent for stride, extent in zip(c.stride, c.effective_kernel, strict=True))
    return c.dims == 3 and c.dtype in ("float64", "float16") and c.padding == "same" and gaps


NO_INPUT_CHANNELS = Defect(
    "PyTorch returns another shape for a layer without input channels",
    "conv1d_c0_o2_i3_k1_f32",
    lambda case: case.config.in_channels == 0,
)
SUMS_IN_16_BITS = Defect(
    "PyTorch's transposed convolutions and gradients of 16-bit types add up their products in 16 bits",
    "convt1d_n2_c2_o4_g2_i5_k2_f16_ex_wco@cancellation.1",
    lambda case: case.config.dtype in _NARROW and (case.grad or case.config.op == "conv_transpose"),
)
SMEARS_NAN = Defect(
    "oneDNN's bfloat16 kernels spread NaN and Inf to their neighbours",
    "convt1d_n2_c1_o10_i8_k3_bf16@special.1531",
    lambda case: case.config.dtype == "bfloat16" and case.recipe.regime == "special",
)
MISREADS_ONE_COLUMN = Defect(
    "oneDNN misreads strided channels-last rows of which one output column is made",
    "conv2d_c1_o1_i2_k1x2_s1x2_bf16@integers.1",
    _has_one_column,
)
DIES_OF_DILATED_POINTS = Defect(
    "oneDNN dies of a kernel of one tap that is dilated, on channels-last memory",
    "conv2d_n16_c17_o1_i2x1_k1_s2_p1_d1x3_b_f32",
    lambda case: any(k == 1 < d for k, d in zip(case.config.kernel_size, case.config.dilation, strict=True)),
)
USES_NNPACK = Defect(
    "without oneDNN, float32 batches of 16 and more go to NNPACK, whose transforms are imprecise",
    "conv2d_n16_c8_o8_i8_k3_p1_f32@normal.0",
    lambda case: case.config.dtype in ("float32", "complex64") and (case.config.batch or 1) >= 16,
)
MIXES_GROUPS = Defect(
    "PyTorch's weight gradient of a grouped channels-last layer without a batch is wrong",
    "conv2d_n-_c4_o4_g2_i3_k3_f64_cl_grad@integers.0",
    lambda case: case.grad and case.config.batch is None and case.config.groups > 1 and case.config.layout == "channels_last",
)
REJECTS_ITS_OWN_STRIDES = Defect(
    "PyTorch rejects, in the weight's gradient, the strides that its own copy of reversed axes has",
    "convt2d_n2_c1_o3_i4x5_k2x1_s1x3_p0:3x0_d3x1_f64_cl_wtr_grad@normal.175",
    lambda case: case.grad and "transposed" in (case.config.layout, case.config.weight_layout),
)
MISREADS_PADDING = Defect(
    "oneDNN's conv3d misreads the padding of an input that is smaller than the kernel, in bfloat16 and in gradients",
    "conv3d_c1_o1_i1_k3_psame_bf16@integers.1",
    _is_larger_than_its_input,
)
EMPTY_BATCH = Defect(
    "TensorFlow returns another shape, or rejects the bias, for a batch of 0",
    "conv1d_n0_c2_o4_i2_k2_p1_f32",
    lambda case: case.config.batch == 0,
)
SKIPS_THE_FIRST_SITE = Defect(
    "TensorFlow's own conv3d with SAME and a stride longer than the kernel begins at another site",
    "conv3d_c1_o1_i3_k1_s3_psame_f64@integers.0",
    _strides_over_sites,
)
GRADIENT_SMEARS_NAN = Defect(
    "TensorFlow's weight gradient of conv3d spreads NaN to taps that do not meet it",
    "conv3d_c1_o2_i3x2x4_k1x1x2_p0x2:1x0_f64_grad@special.136",
    lambda case: case.config.dims == 3 and case.grad and case.recipe.regime == "special",
)
ABORTS_ON_FUSED_DEPTHWISE = Defect(
    "TensorFlow's grappler ends the process over a depthwise convolution with explicit padding and a bias",
    "conv2d_n2_c4_o8_g4_i7_k3_s2_p1_b_f32_grad",
    lambda case: case.config.groups == case.config.in_channels > 1 and case.config.bias and any(map(any, case.config.pads)),
)
MIXES_GROUPS_IN_GRADIENTS = Defect(
    "XLA's gradients of grouped convolutions spread NaN and Inf to the other groups, whose place they take in a dilated axis",
    "conv1d_c6_o3_g3_i5_k3_f32_grad@special.3",
    lambda case: case.grad and case.config.groups > 1 and case.recipe.regime == "special",
)

PYTORCH = (NO_INPUT_CHANNELS, SUMS_IN_16_BITS, MIXES_GROUPS, REJECTS_ITS_OWN_STRIDES)
TENSORFLOW = (EMPTY_BATCH, SMEARS_NAN, MISREADS_ONE_COLUMN, MISREADS_PADDING)
EIGEN = (SKIPS_THE_FIRST_SITE, GRADIENT_SMEARS_NAN)
KNOWN_DEFECTS: dict[str, tuple[Defect, ...]] = {
    "torch": (*PYTORCH, SMEARS_NAN, MISREADS_ONE_COLUMN, MISREADS_PADDING),
    "torch:native": (*PYTORCH, USES_NNPACK),
    "torch:nn": (*PYTORCH, SMEARS_NAN, MISREADS_ONE_COLUMN, MISREADS_PADDING),
    "torch:channels_last": (*PYTORCH, SMEARS_NAN, MISREADS_ONE_COLUMN, MISREADS_PADDING, DIES_OF_DILATED_POINTS),
    "torch:meta": (NO_INPUT_CHANNELS,),
    "tensorflow": (*TENSORFLOW, *EIGEN),
    "tensorflow:graph": (*TENSORFLOW, *EIGEN, ABORTS_ON_FUSED_DEPTHWISE),
    "tensorflow:native": EIGEN,
    "tensorflow:xla": (),
    "jax": (MIXES_GROUPS_IN_GRADIENTS,),
    "jax:jit": (MIXES_GROUPS_IN_GRADIENTS,),
}
"""Defects of the frameworks themselves, which campaigns find; everything else that is declared has to agree."""


def has_known_defect(name: str, case: Case) -> bool:
    """Say whether the framework is known to be wrong on the case."""
    return any(defect.applies(case) for defect in KNOWN_DEFECTS.get(name, ()))


def share_of(name: str, examples: int, share: int) -> int:
    """Return how many of ``examples`` are run on an adapter: about one in ``share`` where it compiles for each."""
    return min(examples * COMPILING[name] // share, examples) if name in COMPILING else examples
