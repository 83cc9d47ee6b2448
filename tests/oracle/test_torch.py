"""The reference against PyTorch's convolutions in float64, complex128 and integers, and against its autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from convfuzz.case.config import ConvConfig
from convfuzz.oracle import gradients, reference

from .layers import layers, normal, seeds

torch = pytest.importorskip("torch", reason="PyTorch is the other implementation here")


@settings(deadline=None, max_examples=100)
@given(config=layers(), seed=seeds)
def test_every_pass_agrees_with_autograd(config: ConvConfig, seed: int) -> None:
    """The output and the three gradients differ from PyTorch's by a few units of roundoff of the magnitude."""
    operands = normal(config, seed, np.float64)
    b = np.random.default_rng(seed).standard_normal(config.out_channels)
    x, w, bias = (torch.from_numpy(a).requires_grad_() for a in (*operands[:2], b))
    y = torch_layer(config, x, w, bias)
    if y is None:
        return
    y.backward(torch.from_numpy(operands[2]))
    passes = {"forward": reference(config, *operands[:2], b), **gradients(config, *operands)}
    theirs = {"forward": y, "grad_input": x.grad, "grad_weight": w.grad, "grad_bias": bias.grad}
    for name, expectation in passes.items():
        other = theirs[name].detach().numpy()
        assert other.shape == expectation.y.shape
        assert expectation.S is not None
        tolerance = expectation.n * 2.0**-52 * expectation.S
        assert np.all(abs(other - expectation.y) <= tolerance), name


@settings(deadline=None, max_examples=100)
@given(config=layers(dtype="complex128"), seed=seeds)
def test_every_complex_pass_agrees_with_autograd(config: ConvConfig, seed: int) -> None:
    """The output and the three gradients differ from PyTorch's by at most 1e-12 of the magnitude of both parts."""
    rng = np.random.default_rng(seed)
    shapes = (config.input_shape, config.weight_shape, (config.out_channels,), config.output_shape)
    x, w, b, dy = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape) for shape in shapes)
    leaves = [torch.from_numpy(a).requires_grad_() for a in (x, w, b)]
    y = torch_layer(config, *leaves)
    if y is None:
        return
    y.backward(torch.from_numpy(dy))
    passes = {"forward": reference(config, x, w, b), **gradients(config, x, w, dy)}
    for (name, expectation), other in zip(passes.items(), [y, *(leaf.grad for leaf in leaves)], strict=True):
        assert expectation.S is not None
        # PyTorch multiplies sums of both parts with each other, so that each part is rounded relative to both.
        tolerance = 1e-12 * expectation.S.sum(axis=-1, keepdims=True)
        assert np.all(abs(torch.view_as_real(other.detach().resolve_conj()).numpy() - expectation.y) <= tolerance), name


@pytest.mark.parametrize(("op", "dtype"), [("conv", "int8"), ("conv", "int32"), ("conv", "int64"), ("conv_transpose", "int64")])
def test_integers_wrap_as_pytorchs_do(op: Any, dtype: str) -> None:
    """On numbers of the dtype's full range the output is PyTorch's to the bit; it transposes int64 only."""
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(0)
    for dims in (1, 2, 3):
        config = ConvConfig(
            op=op,
            dims=dims,
            batch=2,
            in_channels=6,
            out_channels=4,
            groups=2,
            input_size=7,
            kernel_size=3,
            stride=2,
            padding=1,
            dtype=dtype,
        )
        shapes = (config.input_shape, config.weight_shape, (config.out_channels,))
        operands = [rng.integers(limits.min, limits.max, shape, dtype, endpoint=True) for shape in shapes]
        theirs = torch_layer(config, *map(torch.from_numpy, operands))
        np.testing.assert_array_equal(reference(config, *operands).y, theirs.numpy())


def torch_layer(config: ConvConfig, x: Any, w: Any, b: Any) -> Any:
    """Return PyTorch's output, or None where PyTorch refuses the layer."""
    functional = torch.nn.functional
    parameters: dict[str, Any] = {"stride": config.stride, "dilation": config.dilation, "groups": config.groups}
    if 0 in x.shape or 0 in w.shape:
        return None  # empty operands have tests of their own
    if config.op == "conv":
        sides = [side for pair in reversed(config.pads) for side in pair]
        modes = {"zeros": "constant"}
        padded = functional.pad(x if config.batch is not None else x[None], sides, mode=modes.get(config.padding_mode, config.padding_mode))
        y = getattr(functional, f"conv{config.dims}d")(padded, w, b, **parameters)
        return y if config.batch is not None else y[0]
    # Cropping the full transposed convolution is the definition of its padding; the extra output is padding of zeros.
    y = getattr(functional, f"conv_transpose{config.dims}d")(x, w, **parameters)
    crops = [side for (lo, hi), extra in reversed(list(zip(config.pads, config.output_padding, strict=True))) for side in (-lo, extra - hi)]
    return functional.pad(y, crops) + b.reshape(-1, *(1,) * config.dims)
