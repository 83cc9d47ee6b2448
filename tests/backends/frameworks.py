"""The adapters over their whole declared domain: what is drawn, and which real defects of the frameworks are left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from math import prod

from packaging.requirements import Requirement
from sampling import covering, sample

from convfuzz.backends import Backend
from convfuzz.case import Case, Pass
from convfuzz.case.config import OPS, ConvConfig
from convfuzz.record.failure_kind import Signature
from convfuzz.record.known_upstream import known_upstream
from convfuzz.record.versions import installed, instruction_sets
from convfuzz.strategies import cases
from convfuzz.verdicts import Verdict

ADAPTERS = (
    "torch",
    "torch:native",
    "torch:channels_last",
    "torch:avx2",
    "torch:threads",
    "torch:nn",
    "tensorflow",
    "tensorflow:convolution",
    "tensorflow:graph",
    "tensorflow:xla",
    "jax",
    "jax:jit",
    "mlx",
)
COMPILING = {"tensorflow:graph": 2, "tensorflow:xla": 2, "jax": 1, "jax:jit": 1}
"""Those that compile for every new shape, run on fewer of them, and how much faster they are than JAX."""
EAGER = tuple(name for name in ADAPTERS if name not in COMPILING)
RUNTIMES = ("onnxruntime", "onnxruntime:disabled", "onnxruntime:inputs", "openvino", "openvino:f32", "openvino:inputs", "onnx")
"""Those of the forward pass, on ONNX models."""
FORWARD = (
    "opencv",
    "opencv:classic",
    "opencv:winograd-off",
    "ncnn",
    "ncnn:bf16",
    "ncnn:nopack",
    "ncnn:winograd-off",
    "ncnn:sgemm-off",
    "litert",
    "litert:builtin",
    "litert:reference",
    "mnn",
    "mnn:winograd-0",
)
"""Those of the forward pass that end the process on more than invalid cases: they run in processes of their own."""
SMALL = {"max_flops": 200_000, "max_elements": 2**12}
OF_THE_DOMAIN = (150, 20261122)
"""How many cases are drawn of an adapter's whole domain, and from which seed."""

_NARROW = ("float16", "bfloat16")


@dataclass(frozen=True)
class Defect:
    """Something a framework does wrong, a case on which it shows, the cases that are left out, and whether some end the process.

    ``affects`` are the releases that do it, such as ``onnx<1.19``; all that are claimed, where it is empty. With an instruction set of
    ``not_processor`` the framework takes other kernels.
    """

    what: str
    example: str
    applies: Callable[[Case], bool]
    kills: bool = False
    affects: str = ""
    not_processor: tuple[str, ...] = ()

    @property
    def is_here(self) -> bool:
        """Whether the installed release does it on this processor."""
        if not instruction_sets().isdisjoint(self.not_processor):
            return False
        if not self.affects:
            return True
        wanted = Requirement(self.affects)
        try:
            return wanted.specifier.contains(version(wanted.name), prereleases=True)
        except PackageNotFoundError:
            return False


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


def _is_same_and_dilated(case: Case) -> bool:
    c = case.config
    return c.op == "conv" and c.padding == "same" and c.padding_mode == "zeros" and set(c.dilation) != {1}


def _same_sums(case: Case) -> list[int]:
    """Return what a forward layer with SAME pads along each axis in all; less than nothing where its stride passes over the last sites."""
    c = case.config
    if c.op != "conv" or c.padding != "same":
        return []
    sites = zip(c.input_size, c.effective_kernel, c.stride, strict=True)
    return [(-(-size // stride) - 1) * stride + extent - size for size, extent, stride in sites]


def _strides_over_two_sites(case: Case) -> bool:
    return min(_same_sums(case), default=0) < -1


def _pads_and_strides_over_sites(case: Case) -> bool:
    return min(_same_sums(case), default=0) < 0 < max(_same_sums(case), default=0)


def _has_same_gaps(case: Case) -> bool:
    c = case.config
    return c.op == "conv_transpose" and c.padding == "same" and any(s > e for s, e in zip(c.stride, c.effective_kernel, strict=True))


def _extends_beyond_the_stride(case: Case) -> bool:
    return any(op >= stride for op, stride in zip(case.config.output_padding, case.config.stride, strict=True))


def _crops_inside(case: Case) -> bool:
    c = case.config
    axes = zip(c.effective_kernel, c.pads, c.output_padding, strict=True)
    return any(extent - 1 - lo < 0 or extent - 1 - hi + extra < 0 for extent, (lo, hi), extra in axes)


def _may_be_transformed(config: ConvConfig) -> bool:
    plain = {*config.stride[-2:], *config.dilation[-2:]} == {1}
    return config.op == "conv" and config.dims > 1 and plain and len(set(config.kernel_size[-2:])) == 1 and config.kernel_size[-1] > 1


def _planes(config: ConvConfig) -> int:
    """Return how many planes of two axes an element of the output is a sum over, those of all groups among them."""
    return config.in_channels * prod(config.kernel_size[:-2])


def _is_empty(case: Case) -> bool:
    return 0 in (*case.config.input_shape, *case.config.weight_shape)


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
    kills=True,
)
WRITES_BEYOND_ITS_WORKSPACE = Defect(
    "oneDNN's strided 1x1 weight gradient for AVX2 writes beyond its workspace",
    "conv2d_n32_c4_o8_i32_k1_s2_f32_cl_grad",
    lambda case: case.grad and set(case.config.kernel_size) == {1} and max(case.config.stride) > 1,
    kills=True,
)
HAS_NO_3D_GRADIENT = Defect(
    "tf.nn.convolution in three dimensions has no gradient: its data format is empty",
    "conv3d_c1_o1_i3_k2_f32_grad",
    lambda case: case.grad and case.config.dims == 3 and case.config.op == "conv",
)
LEAVES_A_GRADIENT_UNWRITTEN = Defect(
    "TensorFlow does not write the weight's gradient of a depthwise layer whose batch is empty",
    "conv2d_n0_c2_o2_g2_i3_k2_f32_grad@integers.0",
    lambda case: case.grad and case.config.batch == 0 and case.config.groups > 1,
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
MISTAKES_STRIDES_OF_REPLICATION = Defect(
    "torch.compile fails in the input's gradient under replicate padding in two dimensions, whose strides Inductor expects otherwise",
    "conv2d_n2_c2_o3_i7_k3_p1_pmreplicate_f32_grad@integers.1",
    lambda case: case.grad and case.config.dims == 2 and case.config.padding_mode == "replicate",
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
EXCHANGES_DILATIONS = Defect(
    "TensorFlow's shape function of conv3d exchanges the axes' dilations and rejects kernels that fit",
    "conv3d_c1_o1_i4x4x7_k4_d1x1x2_f32",
    lambda case: case.config.dims == 3 and len(set(case.config.dilation)) > 1,
)
ABORTS_ON_FUSED_DEPTHWISE = Defect(
    "TensorFlow's grappler ends the process over a depthwise convolution with explicit padding and a bias",
    "conv2d_n2_c4_o8_g4_i7_k3_s2_p1_b_f32_grad",
    lambda case: case.config.groups == case.config.in_channels > 1 and case.config.bias and any(map(any, case.config.pads)),
    kills=True,
)
MIXES_GROUPS_IN_GRADIENTS = Defect(
    "XLA's grouped gradients, and transposed layers, spread NaN and Inf to the other groups, which are in a dilated axis",
    "conv1d_c6_o3_g3_i5_k3_f32_grad@special.3",
    lambda case: (case.grad or case.config.op == "conv_transpose") and case.config.groups > 1 and case.recipe.regime == "special",
)
READS_BEYOND_THE_INPUT = Defect(
    "XLA takes a window for unpadded that is cropped at one side and padded by no more at the other, and reads beyond the input",
    "conv2d_c8_o8_i15x6_k1_p0x-5:1_f32",
    lambda case: any(lo * hi < 0 for lo, hi in case.config.pads),
    kills=True,
)

DIVIDES_BY_NOTHING = Defect(
    "MLX divides by zero, leaves or rejects a layer without input or output channels, or an empty one's gradients",
    "conv1d_c0_o1_i1_k1_f32@integers.1",
    lambda case: 0 in case.config.weight_shape or (case.grad and _is_empty(case)),
    kills=True,
)
CROPS_BEFORE_IT_DILATES = Defect(
    "MLX's transposed convolutions crop the input before it is dilated, forward and in gradients",
    "convt1d_c1_o1_i5_k1_s2_p1_f32@integers.1",
    lambda case: case.config.op == "conv_transpose" and max(case.config.stride) > 1 and (case.grad or _crops_inside(case)),
)
TRUNCATES_THE_SIZE = Defect(
    "MLX accepts a kernel that is larger than the input by less than the stride",
    "conv1d_c1_o1_i3_k4_s3_f32@integers.1",
    lambda case: case.config.has_no_site and max(case.config.stride) > 1,
)
COMPUTES_FLOAT64_IN_FLOAT32 = Defect(
    "MLX computes convolutions of float64 in float32",
    "conv1d_c1_o1_i9_k3_f64@normal.1",
    lambda case: case.config.dtype == "float64",
)

REJECTS_DILATED_SAME = Defect(
    "ONNX Runtime rejects SAME_UPPER with dilation",
    "conv1d_c1_o1_i10_k3_psame_d2_f32",
    _is_same_and_dilated,
)
CROPS_FOR_SAME = Defect(
    "ONNX Runtime crops the input of a SAME_UPPER layer whose stride is longer than its kernel by two sites and more",
    "conv1d_c1_o1_i4_k1_s4_psame_f32@integers.0",
    _strides_over_two_sites,
)
ENDS_SHORT_OF_SAME = Defect(
    "ONNX Runtime's and OpenVINO's ConvTranspose with SAME_UPPER ends short where the stride is longer than the kernel",
    "convt2d_c1_o1_i5_k2_s3_psame_f32",
    _has_same_gaps,
)
REJECTS_OUTPUT_PADDING = Defect(
    "ONNX Runtime and the reference evaluator reject an output padding below the dilation that is not below the stride",
    "convt1d_c1_o1_i3_k3_d2_op1_f32",
    _extends_beyond_the_stride,
)
REJECTS_OUTPUT_PADDING_NOW = replace(REJECTS_OUTPUT_PADDING, affects="onnxruntime>=1.28")
DIVIDES_BY_NO_STRIDE = Defect(
    "ONNX Runtime divides by a stride of zero",
    "conv2d_c2_o3_i5_k3_s0_f32",
    lambda case: 0 in case.config.stride,
    kills=True,
    affects="onnxruntime<1.28",
)
WRAPS_NOTHING = Defect(
    "ONNX Runtime's Pad does not know its mode wrap when the tensor is empty",
    "conv1d_n0_c1_o1_i5_k3_p1_pmcircular_f32",
    lambda case: case.config.padding_mode == "circular" and _is_empty(case),
)
IGNORES_SAME = Defect(
    "OpenVINO does not crop the output of a ConvTranspose with SAME_UPPER",
    "convt1d_c2_o3_i5_k4_psame_b_f32",
    lambda case: case.config.op == "conv_transpose" and case.config.padding == "same",
    affects="openvino<2025.4",
)
MISTAKES_EMPTINESS = Defect(
    "OpenVINO reads empty constants as scalars, leaves the output of an empty input unwritten, and dies of some of these",
    "conv1d_c2_o2_i0_k1_p1_b_f32@integers.0",
    _is_empty,
    kills=True,
)
SMEARS_NAN_OF_ALL = Defect(
    "oneDNN's bfloat16 kernels spread NaN and Inf to their neighbours, whatever dtype OpenVINO computes in bfloat16",
    "conv2d_c1_o1_i1_k11_p11_b_bf16@special.314",
    lambda case: case.recipe.regime == "special",
)
MISREADS_PADDING_OF_ALL = Defect(
    "oneDNN's conv3d misreads the padding of an input that is smaller than the kernel, whatever dtype OpenVINO computes in bfloat16",
    "conv3d_n3_c1_o1_i1_k4_p3_b_f32@huge.5271",
    lambda case: _is_larger_than_its_input(Case(case.config.replace(dtype="bfloat16"))),
)
READS_BESIDE_A_LARGE_PADDING = Defect(
    "OpenVINO reads elsewhere, of one channel, where the low padding of the last axis is larger than the kernel",
    "conv2d_c1_o1_i4_k1_p1x2_f32@integers.0",
    lambda case: case.config.dims > 1 and case.config.in_channels == 1 and case.config.pads[-1][0] > case.config.effective_kernel[-1],
    not_processor=("avx512f",),
)
REFUSES_A_GROUPED_BIAS = Defect(
    "TensorFlow without oneDNN fuses a grouped convolution with its bias, and has no kernel for both",
    "conv1d_c2_o2_g2_i1_k1_b_f32@zeros",
    lambda case: case.config.groups > 1 and case.config.bias,
    not_processor=("avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile"),
)
MIXES_TRANSPOSED_GROUPS = Defect(
    "ONNX's reference evaluator fails on grouped ConvTranspose, or adds the first group's bias to all",
    "convt2d_c2_o4_g2_i4x5_k2x3_f32@integers.0",
    lambda case: case.config.op == "conv_transpose" and case.config.groups > 1,
)
CANNOT_PAD_BY_A_WORD = Defect(
    "ONNX's reference evaluator pads a VALID layer, and a strided SAME_UPPER layer wrongly",
    "conv2d_c2_o3_i7_k3_pvalid_b_f32",
    lambda case: (
        case.config.op == "conv" and (case.config.padding == "valid" or (case.config.padding == "same" and max(case.config.stride) > 1))
    ),
    affects="onnx<1.23",
)
MISREADS_BFLOAT16 = Defect(
    "ONNX's reference evaluator computes with the bits of bfloat16 as if they were numbers",
    "conv1d_n2_c4_o6_i7_k3_b_bf16@integers.1",
    lambda case: case.config.dtype == "bfloat16",
    affects="onnx<1.19",
)
INFERENCE_DIVIDES_BY_NO_STRIDE = Defect(
    "ONNX's shape inference divides by a stride of zero",
    "conv2d_c2_o3_i5_k3_s0_f32",
    lambda case: 0 in case.config.stride,
    kills=True,
    affects="onnx<1.22",
)
CANNOT_CROP = Defect(
    "ONNX's reference evaluator has no negative pads in Pad",
    "conv1d_c1_o1_i3_k1_p-1:0_f32",
    lambda case: min(side for sides in case.config.pads for side in sides) < 0,
)
SMEARS_NAN_BETWEEN_TAPS = Defect(
    "ONNX's reference evaluator fills a dilated kernel up with zeros, which it multiplies with NaN and Inf",
    "conv1d_c1_o1_i5_k2_d2_f32@special.0",
    lambda case: case.recipe.regime == "special" and set(case.config.dilation) != {1},
)
CANNOT_RESHAPE_NOTHING = Defect(
    "ONNX's reference evaluator cannot reshape empty tensors",
    "convt1d_n0_c1_o1_i3_k1_f32",
    _is_empty,
)

PADS_NO_POINT = Defect(
    "OpenCV 5 ignores the padding of a 1x1 kernel",
    "conv2d_c2_o3_i4_k1_p1_f32@integers.1",
    lambda case: case.config.op == "conv" and set(case.config.kernel_size) == {1} and any(map(any, case.config.pads)),
)
PADS_SAME_AS_WITHOUT_STRIDE = Defect(
    "OpenCV 5 pads a strided or dilated SAME_UPPER layer as one without",
    "conv2d_c1_o2_i8_k5_s2_psame_f32@integers.64",
    lambda case: case.config.op == "conv" and case.config.padding == "same" and max(*case.config.stride, *case.config.dilation) > 1,
)
LOSES_ONE_OF_NINE_TAPS = Defect(
    "OpenCV 5 returns wrong sums and garbage for kernels of size 9, 1x9 and 9x1",
    "conv1d_c2_o1_i9_k9_f32@x17=1_w17=1",
    lambda case: case.config.op == "conv" and case.config.kernel_size in ((9,), (1, 9), (9, 1)),
)
CLAMPS_INFINITY = Defect(
    "OpenCV 5 returns the largest float32 for Inf and NaN",
    "conv1d_c1_o1_i1_k1_f32@w0=inf",
    lambda case: case.recipe.regime in ("special", "huge"),
)
CLAMPS_ITS_RANGE = Defect(
    "LiteRT returns the largest float32 for Inf, which it takes for the range of an activation",
    "conv1d_c1_o1_i1_k1_f32@x0=inf_w0=1",
    lambda case: case.recipe.regime in ("special", "huge"),
)
CHECKS_LITTLE = Defect(
    "OpenCV 5 accepts models that are no convolutions, and divides by a stride of zero",
    "conv2d_c3_o4_g2_i5_k3_f32",
    lambda case: not case.config.is_valid,
    kills=True,
)
ENDS_SHORT_OF_SAME_DECONVOLUTION = Defect(
    "OpenCV's ConvTranspose with SAME_UPPER has another output size",
    "convt2d_c2_o3_i5_k3_s2_psame_b_f32@integers.1",
    lambda case: case.config.op == "conv_transpose" and case.config.padding == "same",
)
ADDS_A_DIMENSION = Defect(
    "MNN gives the output of a one-dimensional layer two",
    "conv1d_c1_o1_i3_k1_f32@integers.1",
    lambda case: case.config.dims == 1,
)
MISTAKES_3D_DECONVOLUTION = Defect(
    "MNN's transposed convolutions in three dimensions are wrong with a bias or groups",
    "convt3d_c2_o2_i3x2x4_k2x3x1_s2_b_f32@integers.1",
    lambda case: case.config.op == "conv_transpose" and case.config.dims == 3,
)
CANNOT_PAD_3D_SAME = Defect(
    "MNN fails on SAME_UPPER in three dimensions",
    "conv3d_c1_o1_i1_k1x1x2_psame_f32@integers.1",
    lambda case: case.config.dims == 3 and case.config.padding == "same",
)
CANNOT_DILATE_3D = Defect(
    "MNN's convolutions in three dimensions are wrong where they are dilated along the first axis",
    "conv3d_c1_o1_i5_k3_d2x1x1_f32@integers.1",
    lambda case: case.config.dims == 3 and case.config.dilation[0] > 1,
    kills=True,
)
CROPS_ELSEWHERE = Defect(
    "MNN's convolutions are wrong, or cannot be loaded, after a Pad that crops",
    "conv2d_c1_o1_i4_k1_p-2:0_f32@integers.1",
    lambda case: case.config.op == "conv" and min(side for sides in case.config.pads for side in sides) < 0,
)
MISPLACES_DILATED_SAME = Defect(
    "MNN's transposed SAME_UPPER layers leave the dilation out of their padding",
    "convt2d_c1_o1_i1_k1x2_psame_d1x2_f32@x0=1_w0=1",
    lambda case: case.config.op == "conv_transpose" and case.config.padding == "same" and max(case.config.dilation) > 1,
)
DIES_OF_CROPPING = Defect(
    "MNN's transposed convolutions end the process where their padding crops sites of the input itself",
    "convt2d_c1_o1_i5_k1_p2_f32@integers.1",
    lambda case: case.config.op == "conv_transpose" and _crops_inside(case),
    kills=True,
)
LOSES_DIGITS_TO_WINOGRAD = Defect(
    "MNN's Winograd for square kernels rounds as operands of eleven bits do, on integers of eight channels and more too",
    "conv2d_c3_o15_i20x8_k3_f32@normal.1",
    lambda case: _may_be_transformed(case.config) and (case.recipe.regime != "integers" or _planes(case.config) >= 8),
)
READS_OTHER_SITES_FOR_SAME = Defect(
    "MNN crops the input of a SAME_UPPER layer whose stride is longer than its kernel by two sites and more",
    "conv2d_c1_o1_i4_k1_s4_psame_f32@integers.1",
    _strides_over_two_sites,
)
LIMITS_ITS_OUTPUT = Defect(
    "MNN returns the largest float32 for Inf and NaN",
    "conv2d_c1_o1_i1_k1_f32@x0=inf",
    lambda case: case.recipe.regime in ("special", "huge"),
)
PADS_BY_LESS_THAN_NOTHING = Defect(
    "ncnn corrupts memory where SAME pads one axis and another's stride is longer than its kernel",
    "conv2d_c1_o1_i64x65_k1x3_s4_psame_f32@integers.1",
    _pads_and_strides_over_sites,
    kills=True,
)
MISREADS_BFLOAT16_GROUPS = Defect(
    "ncnn's grouped layers stored in bfloat16 return garbage, and transposed ones end the process",
    "conv2d_c4_o2_g2_i5_k3_f32@integers.1",
    lambda case: case.config.groups > 1,
    kills=True,
)
DIES_WITHOUT_PACKING = Defect(
    "ncnn without packed channels dies of a dilated layer whose output is smaller than the dilation",
    "conv2d_c1_o1_i9_k3_d4_f32@integers.1",
    lambda case: max(case.config.dilation) > 1 and min(case.config.output_size) < max(case.config.dilation),
    kills=True,
)

PYTORCH = (NO_INPUT_CHANNELS, SUMS_IN_16_BITS, MIXES_GROUPS, REJECTS_ITS_OWN_STRIDES)
ONNX_RUNTIME = (REJECTS_DILATED_SAME, CROPS_FOR_SAME, ENDS_SHORT_OF_SAME, REJECTS_OUTPUT_PADDING_NOW, WRAPS_NOTHING, DIVIDES_BY_NO_STRIDE)
OPENVINO = (ENDS_SHORT_OF_SAME, IGNORES_SAME, MISTAKES_EMPTINESS, READS_BESIDE_A_LARGE_PADDING)
TENSORFLOW = (EMPTY_BATCH, SMEARS_NAN, MISREADS_ONE_COLUMN, MISREADS_PADDING)
EIGEN = (SKIPS_THE_FIRST_SITE, GRADIENT_SMEARS_NAN, LEAVES_A_GRADIENT_UNWRITTEN)
MNN = (
    ADDS_A_DIMENSION,
    MISTAKES_3D_DECONVOLUTION,
    CANNOT_PAD_3D_SAME,
    CANNOT_DILATE_3D,
    CROPS_ELSEWHERE,
    MISPLACES_DILATED_SAME,
    DIES_OF_CROPPING,
    READS_OTHER_SITES_FOR_SAME,
    LIMITS_ITS_OUTPUT,
)
_DEFECTS: dict[str, tuple[Defect, ...]] = {
    "torch": (*PYTORCH, SMEARS_NAN, MISREADS_ONE_COLUMN, MISREADS_PADDING),
    "torch:native": (*PYTORCH, USES_NNPACK),
    "torch:nn": (*PYTORCH, SMEARS_NAN, MISREADS_ONE_COLUMN, MISREADS_PADDING),
    "torch:channels_last": (*PYTORCH, SMEARS_NAN, MISREADS_ONE_COLUMN, MISREADS_PADDING, DIES_OF_DILATED_POINTS),
    "torch:avx2": (*PYTORCH, WRITES_BEYOND_ITS_WORKSPACE),
    "torch:threads": (*PYTORCH, SMEARS_NAN, MISREADS_ONE_COLUMN, MISREADS_PADDING),
    "torch:compile": (*PYTORCH, SMEARS_NAN, MISREADS_ONE_COLUMN, MISREADS_PADDING, MISTAKES_STRIDES_OF_REPLICATION),
    "torch:meta": (NO_INPUT_CHANNELS,),
    "tensorflow": (*TENSORFLOW, *EIGEN),
    "tensorflow:convolution": (*TENSORFLOW, *EIGEN, HAS_NO_3D_GRADIENT),
    "tensorflow:graph": (*TENSORFLOW, *EIGEN, ABORTS_ON_FUSED_DEPTHWISE, EXCHANGES_DILATIONS, REFUSES_A_GROUPED_BIAS),
    "tensorflow:native": EIGEN,
    "tensorflow:xla": (EXCHANGES_DILATIONS, MIXES_GROUPS_IN_GRADIENTS),
    "jax": (MIXES_GROUPS_IN_GRADIENTS, READS_BEYOND_THE_INPUT),
    "jax:jit": (MIXES_GROUPS_IN_GRADIENTS, READS_BEYOND_THE_INPUT),
    "mlx": (DIVIDES_BY_NOTHING, CROPS_BEFORE_IT_DILATES, TRUNCATES_THE_SIZE, COMPUTES_FLOAT64_IN_FLOAT32),
    "onnxruntime": ONNX_RUNTIME,
    "onnxruntime:disabled": ONNX_RUNTIME,
    "onnxruntime:inputs": ONNX_RUNTIME,
    "openvino": (*OPENVINO, SMEARS_NAN_OF_ALL, MISREADS_PADDING_OF_ALL),
    "openvino:f32": (*OPENVINO, SMEARS_NAN, MISREADS_PADDING),
    "openvino:inputs": (*OPENVINO, SMEARS_NAN, MISREADS_PADDING),
    **{
        f"opencv{mode}": (
            PADS_NO_POINT,
            PADS_SAME_AS_WITHOUT_STRIDE,
            LOSES_ONE_OF_NINE_TAPS,
            CLAMPS_INFINITY,
            CHECKS_LITTLE,
            ENDS_SHORT_OF_SAME_DECONVOLUTION,
        )
        for mode in ("", ":classic", ":winograd-off")
    },
    "mnn": (*MNN, LOSES_DIGITS_TO_WINOGRAD),
    "mnn:winograd-0": MNN,
    **{f"litert{mode}": (CLAMPS_ITS_RANGE,) for mode in ("", ":builtin", ":reference")},
    "ncnn": (PADS_BY_LESS_THAN_NOTHING,),
    "ncnn:bf16": (PADS_BY_LESS_THAN_NOTHING, MISREADS_BFLOAT16_GROUPS),
    "ncnn:nopack": (PADS_BY_LESS_THAN_NOTHING, DIES_WITHOUT_PACKING),
    "ncnn:winograd-off": (PADS_BY_LESS_THAN_NOTHING,),
    "ncnn:sgemm-off": (PADS_BY_LESS_THAN_NOTHING,),
    "onnx": (
        MIXES_TRANSPOSED_GROUPS,
        CANNOT_CROP,
        CANNOT_RESHAPE_NOTHING,
        REJECTS_OUTPUT_PADDING,
        SMEARS_NAN_BETWEEN_TAPS,
        CANNOT_PAD_BY_A_WORD,
        MISREADS_BFLOAT16,
        INFERENCE_DIVIDES_BY_NO_STRIDE,
    ),
}
KNOWN_DEFECTS = {name: tuple(defect for defect in defects if defect.is_here) for name, defects in _DEFECTS.items()}
"""Defects of the installed frameworks themselves, which campaigns find; everything else that is declared has to agree."""


@cache
def drawn(count: int, seed: int, *, invalid: bool = False) -> tuple[Case, ...]:
    """Draw the cases that all adapters are asked about."""
    return tuple(sample(cases(**SMALL, invalid=invalid), count, seed=seed))


def has_known_defect(name: str, case: Case) -> bool:
    """Say whether the framework is known to be wrong on the case."""
    return any(defect.applies(case) for defect in KNOWN_DEFECTS.get(name, ()))


def may_kill(name: str, case: Case) -> bool:
    """Say whether the framework is known to end the process on cases like this one."""
    return any(defect.kills and defect.applies(case) for defect in KNOWN_DEFECTS.get(name.partition("+")[0], ()))


def unrepeated(name: str, case: Case) -> set[Pass]:
    """Return the passes of which the framework is known to give another result at another run, as of memory that it does not write."""
    seen = {in_pass: Signature(name, Verdict.NONDETERMINISTIC, in_pass, "") for in_pass in case.passes}
    return {in_pass for in_pass, one in seen.items() if known_upstream().explaining(one, case, _libraries())}


@cache
def _libraries() -> dict[str, str]:
    return installed({bug.package for bug in known_upstream().bugs})


def worth_running(backend: Backend, drawn: Sequence[Case]) -> list[Case]:
    """Leave out the cases on which the framework is known to be wrong.

    Where it compiles for each layer, take of those that it computes a few that show, in either operation, all that they show together.
    """
    sound = [case for case in drawn if not has_known_defect(backend.name, case)]
    if backend.name not in COMPILING:
        return sound
    computed = [case for case in sound if backend.supports(case)]
    return [case for op in OPS for case in covering([case for case in computed if case.config.op == op])]


def share_of(name: str, examples: int, share: int) -> int:
    """Return how many of ``examples`` are run on an adapter: about one in ``share`` where it compiles for each."""
    return min(examples * COMPILING[name] // share, examples) if name in COMPILING else examples
