"""The reference against PyTorch's own samples of its convolution functions, those its test suite runs."""

from __future__ import annotations

import os
from functools import cache
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import settings

from convfuzz.case.config import ConvConfig
from convfuzz.oracle import gradients, reference

from .layers import normal
from .samples import torch_conv, torch_conv_transpose

torch = pytest.importorskip("torch", reason="the samples are PyTorch's")

TOLERANCE = 1e-10
COUNTS = {"conv1d": 10, "conv2d": 30, "conv3d": 20, "conv_transpose1d": 10, "conv_transpose2d": 12, "conv_transpose3d": 10}
"""How many samples PyTorch 2.13 has of each function; a later version may have more."""

every_function = pytest.mark.parametrize("function", COUNTS)
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")


@every_function
def test_the_reference_reproduces_every_sample(function: str) -> None:
    """On each sample the reference is within 1e-10 of PyTorch's float64 output."""
    for (x, w, b), parameters in samples(function):
        config = converted(function, x, w, b, **parameters)
        found = reference(config, array(x), array(w), None if b is None else array(b))
        assert_close(found.y, functional(function)(x, w, b, **parameters), config)


@every_function
def test_the_gradients_match_autograd_on_every_sample(function: str) -> None:
    """On each sample the gradients of input, weight and bias are within 1e-10 of PyTorch's float64 autograd."""
    for (x, w, b), parameters in samples(function):
        config = converted(function, x, w, b, **parameters)
        _, _, dy = normal(config, 0, np.float64)
        operands = {"grad_input": x, "grad_weight": w} | ({} if b is None else {"grad_bias": b})
        theirs = torch.autograd.grad(functional(function)(x, w, b, **parameters), list(operands.values()), torch.from_numpy(dy))
        ours = gradients(config, array(x), array(w), dy)
        for name, their in zip(operands, theirs, strict=True):
            assert_close(ours[name].y, their, config)


def samples(function: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return the operands and parameters of every sample of the function, of no fewer than are known to exist."""
    infos = [info for info in operators() if info.name == f"nn.functional.{function}"]
    kinds = [info.sample_inputs for info in infos] + [info.reference_inputs for info in infos if info.reference_inputs_func]
    found = [((s.input, *s.args), s.kwargs) for kind in kinds for s in kind("cpu", torch.float64, requires_grad=True)]
    assert len(found) >= COUNTS[function]
    return found


@cache
def operators() -> list[Any]:
    """Return PyTorch's operator database.

    Importing it sets the whole process up for PyTorch's test suite: no backend flag may be set any more, and Hypothesis
    draws ten examples. This undoes both, for the sake of the other tests in the process.
    """
    profile = settings.get_current_profile_name()
    with patch.object(torch.backends, "disable_global_flags"), patch.dict(os.environ):
        from torch.testing._internal.common_methods_invocations import op_db  # noqa: PLC0415 - takes seconds
    settings.load_profile(profile)
    return list(op_db)


def functional(function: str) -> Any:
    """Return PyTorch's function of this name."""
    return getattr(torch.nn.functional, function)


def converted(function: str, x: Any, w: Any, b: Any, **parameters: Any) -> ConvConfig:
    """Return the configuration of a sample, which is valid since PyTorch computes it."""
    config = (torch_conv_transpose if "transpose" in function else torch_conv)(x, w, b, **parameters)
    assert config.invalid_reason is None, config
    assert config.dtype == "float64"
    return config


def array(tensor: Any) -> Any:
    """Return the tensor's values in NumPy."""
    return tensor.detach().numpy()


def assert_close(ours: Any, theirs: Any, config: ConvConfig) -> None:
    """Require the same shape and a difference of at most 1e-10 in every element."""
    np.testing.assert_allclose(ours, array(theirs), rtol=0, atol=TOLERANCE, err_msg=str(config), strict=True)
