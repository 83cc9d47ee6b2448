"""Kernels on a CUDA device that ``benchmarks/gpu.py`` runs: right ones, and ones with a planted fault of each kind that a device has."""

from __future__ import annotations

from typing import Any

import convfuzz

CASE, FATAL = "conv2d_n2_c3_o4_i6x5_k3_p1_f32@normal.1", "conv2d_n2_c2_o4_i6x5_k3_p1_f32@normal.1"
"""A case that every kernel takes, and the one with two channels at which :func:`lost` loses the device."""
TF32_CASE = "conv2d_n8_c128_o128_i32_k3_p1_f32@normal.1"
"""A layer on which cuDNN takes tensor cores where it may."""
NUMERICS = convfuzz.Numerics(algorithm="transform", bias="separate", deterministic=False)
DIRECT = convfuzz.Numerics(bias="separate", truncates=True, deterministic=False)
"""What a tensor core does with exact inputs: TF32 is all that is silent."""


def _convolution(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig, *, tf32: bool = False) -> Any:
    import torch  # noqa: PLC0415 - on a device only

    torch.backends.cudnn.allow_tf32 = tf32
    padding = [lo for lo, _ in config.pads]
    return torch.nn.functional.conv2d(x, w, b, config.stride, padding, config.dilation, config.groups)


@convfuzz.backend(tensors="torch", device="cuda", dims=(2,), numerics=NUMERICS, gradients=False)
def right(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig) -> Any:
    """Call cuDNN, TF32 off."""
    return _convolution(x, w, b, config)


@convfuzz.backend(tensors="torch", device="cuda", dims=(2,), numerics=DIRECT, gradients=False)
def silent_tf32(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig) -> Any:
    """Call cuDNN with TF32 allowed, which is not what is declared."""
    return _convolution(x, w, b, config, tf32=True)


@convfuzz.backend(tensors="torch", device="cuda", dims=(2,), numerics=NUMERICS, gradients=False)
def unwritten(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig) -> Any:
    """Return memory that was never written to."""
    import torch  # noqa: PLC0415 - on a device only

    del x, w, b
    return torch.empty(config.output_shape, device="cuda")


@convfuzz.backend(tensors="torch", device="cuda", dims=(2,), numerics=NUMERICS, gradients=False)
def changes_its_input(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig) -> Any:
    """Compute what is right, and leave another input behind."""
    y = _convolution(x, w, b, config)
    x.add_(1.0)
    return y


@convfuzz.backend(tensors="torch", device="cuda", dims=(2,), numerics=NUMERICS, gradients=False)
def lost(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig) -> Any:
    """Write to an illegal address where there are two channels, from a kernel that nobody waits for here."""
    from numba import cuda  # noqa: PLC0415 - on a device only

    if config.in_channels == 2:

        @cuda.jit  # type: ignore[untyped-decorator] # Numba is untyped
        def poke(memory: Any) -> None:
            memory[1 << 42] = 1.0

        poke[1, 1](cuda.as_cuda_array(x.reshape(-1)))
    return _convolution(x, w, b, config)


@convfuzz.backend(dims=(2,), gradients=False)
def simulated_right(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig) -> Any:
    """Stand in for :func:`right` where there is no device."""
    return convfuzz.reference(config, x, w, b).y.astype(x.dtype)


@convfuzz.backend(dims=(2,), gradients=False)
def simulated_lost(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig) -> Any:
    """Stand in for :func:`lost`: waiting for the device raises."""
    from convfuzz.backends.cuda import device_work  # noqa: PLC0415 - what a backend on a device does

    def synchronize() -> None:
        if config.in_channels == 2:
            raise RuntimeError("an illegal memory access was encountered")

    with device_work(synchronize):
        return simulated_right(x, w, b, config)
