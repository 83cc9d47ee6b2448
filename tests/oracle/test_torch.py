"""The reference against PyTorch's float64 convolutions and their autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from convfuzz.config import ConvConfig
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
