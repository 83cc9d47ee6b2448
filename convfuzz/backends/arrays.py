"""Conversions between NumPy arrays and the arrays of other libraries, without a copy where possible."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt


class NotAnArrayError(TypeError):
    """A kernel returned something that is not an array. Unlike an exception raised by the kernel, this does not count as a rejection."""


def to_numpy(value: object) -> npt.NDArray[Any]:
    """Return a NumPy, torch, TensorFlow, JAX or DLPack array as a NumPy array.

    Raises:
        NotAnArrayError: it is not array-like.
    """
    if isinstance(value, np.ndarray):
        array = np.ma.getdata(value)  # a mask must not hide elements from the judge
    elif value is None:
        raise NotAnArrayError("returned None instead of an array")
    elif type(value).__module__.partition(".")[0] == "torch":
        array = _from_torch(value)
    elif hasattr(value, "__array__"):
        array = np.asarray(value)
    elif hasattr(value, "__dlpack__"):
        array = np.from_dlpack(value)
    elif isinstance(value, float | int | list | tuple):
        array = np.asarray(value)
    else:
        raise NotAnArrayError(f"returned {type(value).__name__}, which is not array-like")
    if array.dtype == object:
        raise NotAnArrayError(f"returned {type(value).__name__} of objects, not of numbers")
    return array


def _from_torch(tensor: Any) -> npt.NDArray[Any]:
    import torch  # noqa: PLC0415 - loaded already when a tensor of it exists

    tensor = tensor.detach().cpu()
    if tensor.dtype is torch.bfloat16:
        bits: npt.NDArray[Any] = tensor.view(torch.int16).numpy()
        return bits.view(ml_dtypes.bfloat16)
    array: npt.NDArray[Any] = tensor.resolve_conj().resolve_neg().numpy()
    return array


def to_torch(array: npt.NDArray[Any]) -> Any:
    """Return ``array`` as a torch tensor on the same memory, strides kept; bfloat16 passes as its bits."""
    import torch  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz

    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
