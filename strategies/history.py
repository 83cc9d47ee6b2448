"""Shapes on which released implementations went wrong, with the report; cut down to what the trigger needs.

A shape with ``grad`` is one of which a gradient was wrong, or crashed.
"""

from __future__ import annotations

from functools import cache

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig

_SHAPES = """
conv2d_c9_o3_i32_k5_s3_p1_f32_grad                  pytorch#25101: strided input gradient, last columns
conv3d_n2_c24_o24_g3_i9x9x4_k2_s4x4x1_p1_f32_grad   pytorch#68868: grouped weight gradient, unequal strides
conv2d_c24_o24_g24_i6_k3_s2_p1_f32_grad             pytorch#50042, oneDNN#4124: 24 channels, 23 and 25 are right
conv1d_n16_c1_o1_i1_k1_p1_f32                       pytorch#90142: padded, batch 16; 15 is right
conv1d_n17_c3_o5_i20_k3_p1_f32                      pytorch#90142: its neighbourhood
conv2d_n16_c4_o16_i12_k3_p1_f32                     pytorch with oneDNN off: four digits lost from batch 16
conv2d_n32_c4_o8_i32_k1_s2_f32_cl_grad              oneDNN#6035: weight gradient, 1x1, strided, channels last, few channels
conv2d_c3_o4_i8_k3_s2_d2_f32                        keras#23028: stride and dilation together
conv1d_c1_o1_i10_k3_psame_d2_f32                    onnxruntime#20582: "same" with dilation
conv2d_c2_o3_i9_k3_p-1_f32                          tvm#13757: negative padding
conv2d_c2_o3_i5_k3_p-2:1x0_f32                      xla#48715: crop on one side, padding on the other
conv2d_n4_c8_o1_i1_k125x1_s2_p63_b_f32_nc           pytorch#195394: strides of axes of size 1
conv3d_n2_c13_o16_i6x7x4_k3_s3_bf16                 pytorch#169688: one output column, stride above 1
conv2d_c1_o1_i2_k2_bf16                             pytorch#163347: kernel equal to the input
conv2d_n2_c1_o4_i8_k3_d2_f64                        pytorch#141221: dilation, input above 2·kernel + 1
conv2d_c1_o64_i40_k3_p1_f32_cl                      pytorch#82060: a single channel, channels last
conv2d_n2_c6_o8_i16_k3_p1_f32                       pytorch#21597: 6 input channels
conv2d_c4_o16_g2_i1_k1_f32                          pytorch#19912, xla#49123: groups of two, one site
conv2d_c1_o1_i3x1_k3x1_f32_nc                       pytorch#18948: a sliced column
conv2d_c8_o8_g8_i5_k3_f32                           pytorch#15297: depthwise
conv2d_c8_o16_g8_i7_k3_p1_b_f32                     pytorch#54136: depthwise with multiplier
conv2d_n3_c8_o16_g8_i24x3_k16x1_f32                 pytorch#188335: the same, tall kernel and batch
conv2d_n20_c1_o16_i25x16_k7x16_f32_grad             pytorch#45746: kernel as wide as the input
conv2d_c105_o1_i1_k1_s14_p8:5x9:4_f32_grad          pytorch#60075: one input site, wide asymmetric padding
conv1d_n20_c16_o33_i50_k1_f32_cl                    pytorch#124256: 1-D, channels last
conv1d_n8_c1_o16_i128_k15_p7_f32_nc                 pytorch#143121: strided view, wide kernel
conv2d_c1_o1_i5_k1_p1_pmcircular_f32                pytorch#20981: 1x1 with circular padding
conv2d_c6_o6_i20x10_k3_p0x1_pmcircular_f32          pytorch#37844: circular on one axis
conv2d_c1_o1_i5_k3_p4:0x3:0_pmcircular_f32          pytorch#24504: circular, nothing on the high side
conv2d_n-_c8_o4_i8_k3_p1_pmcircular_f32             pytorch#104860: circular, unbatched
conv3d_n-_c1_o1_i4x10x10_k3_p1_pmreflect_f32        pytorch#152152: reflect, unbatched
conv2d_n0_c3_o16_i10x5_k3_f32_cl                    pytorch#63299: empty batch, channels last
conv2d_c1_o1_i2048x4_k51x1_p25x0_f32                pytorch#39824: large padding
conv1d_c64_o17_i8_k4_s2_p1_f32_grad                 oneDNN#43: input gradient, stride above 1, more than 16 channels, below 17 wide
conv2d_c1_o8_i3x2_k3_p1_f16_cl                      oneDNN#5106: narrower than the kernel
conv2d_n2_c3_o24_i64_k16_s16_bf16                   oneDNN#4684: stride equal to the kernel
conv2d_c16_o3_i31_k11_s4_f32                        oneDNN#323: 3 output channels
conv2d_c72_o72_g72_i7x1_k5_s2_p2_f32_grad           pytorch#41406: depthwise, one column
conv2d_c3_o3_g3_i128_k1_f32_cl                      pytorch#120211: 1x1 depthwise of a permuted image
conv2d_c16_o32_i83x11_k5x1_s3x1_p2x0_f32_grad       oneDNN#5730: column kernel, stride down only
conv2d_c1_o2_i3x2_k1_f64                            tensorflow#57748: 1x1 in float64
conv2d_c128_o8_i6_k3_f64                            tensorflow#60315: Inf with 128 channels
conv2d_n8_c1_o1_i2x5_k1x3_d2x3_psame_f32            tensorflow#58351: unequal dilation, depthwise
conv2d_c3_o16_i24_k4_d4_b_f32_cl                    tensorflow#19497: dilation, bias, channels last
conv3d_c8_o32_i5_k1_psame_f32_grad                  tensorflow#4135: 1x1x1
conv1d_n2_c4_o16_i16_k3_s2_psame_bf16               jax#37922: "same", stride 2
conv2d_c1_o1_i7x5_k3_s2_psame_f32                   onnxruntime#495: "same", stride 2, odd sizes
conv2d_c1_o1_i7x5_k3_s2_p1x0_f32                    onnx#7721: padding and stride of one axis mixed up
conv1d_c1_o1_i1_k1_b_f16                            onnxruntime#18992: bias lost
conv2d_c2_o3_i6_k2_p0:1_f32                         onnxruntime#26215: even kernel, padding on the high side
conv1d_c78_o64_i50_k3_p1_f32                        openvino#9039: padded 1-D
conv1d_c2_o3_i12_k5_p2_f32                          openvino#33212: 1-D padding on the wrong axis
conv2d_c8_o40_g2_i6x10_k3_f32                       tvm#10088: groups, more outputs than inputs
conv2d_n5_c2_o3_i11x14_k3_p4_f32_grad               mlx#833: padding above the kernel
conv2d_n2_c8_o8_g8_i15_k7_s2_p3_f32_grad            mlx#3800: strided depthwise
conv2d_c3_o8_i28x31_k3x5_d2x3_psame_f32             tinygrad#17805: "same", unequal dilation
conv3d_c8_o8_i5x7x13_k3x1x1_p1x0x0_f16              pytorch#40275: kernel along depth only
conv2d_c2_o1_i2_k1_s2_f16                           pytorch#105941: strided 1x1 drops a channel
conv3d_c16_o16_i8_k3_p1_f32                         pytorch#197114: plain 3-D
conv2d_c1_o1_i3x6_k3_s1x2_f32                       pytorch#83180: unequal strides
conv1d_n16_c16_o16_i9_k3_p1_f16                     rocm-libraries#4998 and others: float16, blocks of 16
conv2d_c2_o3_i6_k3_f32_wnc                          pytorch#16018: a sliced weight
conv2d_c3_o4_i6_k3_f32_wtr                          pytorch#1246, #14677: a transposed weight
conv2d_c4_o4_g2_i3_k3_i8                            xla#49123: groups of two in int8
conv2d_n4_c3_o2_i9_k1_s2_f32_grad                   mlx#3800: strided 1x1
conv2d_c4_o6_g2_i5_k3_f32_grad                      pytorch#51430: weight gradient with groups
conv2d_c1_o1_i5_k3_d2_f32_grad                      pytorch#13008: input gradient with dilation
conv1d_n4_c48_o32_g16_i9_k8_p4_f16_grad             tensorflow#55633: gradients with groups of three
conv3d_n0_c2_o3_i6x1x1_k3x1x1_f64_grad              tensorflow#57495: gradients of an empty batch
convt2d_n2_c7_o3_i7x9_k9x11_p2_f16                  pytorch#153700: float16 near overflow
convt2d_n2_c9_o11_i10x16_k6x20_p5_f16               pytorch#153276: float16, many taps
convt2d_c1_o1_i4_k3_f16                             pytorch#165744: Inf in the weight
convt1d_n2_c2_o2_i224_k3_s2_p1_d2_bf16              pytorch#148973: stride and dilation in bfloat16
convt2d_c1_o2_i2_k5_f32_cl                          pytorch#99519: channels last
convt2d_n2_c16_o16_i4_k3_s2_p1_op1_f32              pytorch#184026: as many output as input channels
convt2d_c4_o1_i1_k3_d2_op1_f32_grad                 pytorch#5112: output padding above the stride
convt3d_c1_o1_i1x4x4_k1x4x4_s1x4x4_p0x2x2_f32       pytorch#48400: read as a forward convolution
convt1d_c1_o1_i2_k2_s2_f32                          pytorch#82711: stride equal to the kernel
convt1d_c4_o2_i20_k16_s8_p4_f32                     pytorch#82563: a vocoder's layer
convt2d_c8_o8_g2_i1_k1_f32                          oneDNN#352: groups interleaved
convt2d_c2_o4_g2_i4x5_k2x3_b_f32                    openvino#21040: groups and bias
convt2d_c4_o2_i3_k8_d1x2_f32                        tensorflow#48469: unequal dilation
convt3d_c4_o8_i4_k2_psame_f32                       keras#20949: "same", even kernel, stride 1
convt2d_c1_o1_i12_k3x5_s2x1_p4x2_d3x1_f32           onnxruntime#2518: stride and dilation on one axis
convt2d_c1_o1_i2_k3_psame_f32                       onnxruntime#4086: "same"
convt2d_c1_o2_i3_k3_s2_psame_f32                    openvino#7321: "same", stride 2
convt2d_c2_o1_i3_k3_s2_p1_op1_f32                   onnxruntime#11927: output padding
convt2d_c1_o3_i5_k2_p3_d2_op1_f32                   onnxruntime#14208: output padding less than dilation, not less than stride
convt2d_c1_o1_i5_k2_s3_psame_f32                    onnxruntime: "same", stride above the kernel
convt2d_c3_o6_i28_k3_s2_p1_op1_f32                  tvm#18601, #19524: output padding dropped
convt2d_c2_o3_i5_k3_s2_p1x0_f32                     tinygrad#840: unequal padding
convt2d_c1_o1_i8_k4_s4_f32                          jax#32267: stride equal to the kernel
convt2d_c2_o2_i3_k7_s16_p0:9x0_f32                  mlx#1826: stride far above the kernel
"""


@cache
def _cases() -> tuple[Case, ...]:
    """Return the shapes as cases, the smallest first."""
    cases = [Case.parse(line.split()[0]) for line in _SHAPES.strip().splitlines()]
    return tuple(sorted(cases, key=lambda case: case.config.flops))


@cache
def historical_shapes() -> tuple[ConvConfig, ...]:
    """Return the shapes, the smallest first."""
    return tuple(case.config for case in _cases())


@cache
def gradient_shapes() -> frozenset[ConvConfig]:
    """Return the shapes of which a gradient was wrong."""
    return frozenset(case.config for case in _cases() if case.grad)
