"""Conversions between NumPy arrays and the arrays of other libraries, without a copy where possible."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt


class NotAnArrayError(TypeError):
    """A kernel returned something that is not an array of numbers. Unlike an exception raised by it, this does not count as a rejection.

    ``what`` is what it returned, and ``remedy`` what makes an array of that, empty where nothing does.
    """

    def __init__(self, what: str, remedy: str = "", *, message: str = "") -> None:
        super().__init__(message or f"returned {what}{f': {remedy}' * bool(remedy)}")
        self.what, self.remedy = what, remedy


def to_numpy(value: object) -> npt.NDArray[Any]:
    """Return a NumPy, torch, TensorFlow, JAX or DLPack array as a NumPy array.

    Raises:
        NotAnArrayError: it is not array-like, or an array without plain values: a sparse, quantised or nested tensor, one on
            PyTorch's meta device, or a tracer.
    """
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        array = np.ma.getdata(value)  # a mask must not hide elements from the judge
    elif value is None:
        raise NotAnArrayError("None instead of an array", "return the output")
    elif type(value).__module__.partition(".")[0] == "torch":
        array = _from_torch(value)
    elif hasattr(value, "__array__"):
        array = _from_protocol(value)
    elif hasattr(value, "__dlpack__"):
        array = np.from_dlpack(value)
    elif isinstance(value, float | int | list | tuple):
        array = _from_sequence(value)
    else:
        raise NotAnArrayError(f"{kind}, which is not array-like", _remedy_of(value))
    if array.dtype == object:
        raise NotAnArrayError(f"{kind} of objects, not of numbers")
    return array


def _from_torch(tensor: Any) -> npt.NDArray[Any]:
    import torch  # noqa: PLC0415 - loaded already when a tensor of it exists

    if not isinstance(tensor, torch.Tensor):
        raise NotAnArrayError(f"{type(tensor).__name__}, which is not array-like", _remedy_of(tensor))
    try:
        tensor = tensor.detach().cpu()
        if tensor.dtype is torch.bfloat16:
            bits: npt.NDArray[Any] = tensor.view(torch.int16).numpy()
            return bits.view(ml_dtypes.bfloat16)
        array: npt.NDArray[Any] = tensor.resolve_conj().resolve_neg().numpy()
    except (TypeError, RuntimeError) as error:
        raise _not_plain(tensor, error) from None
    return array


def _not_plain(tensor: Any, error: Exception) -> NotAnArrayError:
    """Say which kind of torch tensor has no plain values, and what has."""
    for is_so, what, remedy in (
        (tensor.is_nested, "a nested tensor", "hand over its parts one by one, or y.to_padded_tensor(0.0)"),
        (tensor.is_quantized, f"a quantised tensor ({tensor.dtype})", "y.dequantize() has its values"),
        (tensor.device.type == "meta", "a tensor on the meta device, which has a shape and no values", "compute it on a real device"),
        (str(tensor.layout) != "torch.strided", f"a sparse tensor ({tensor.layout})", "y.to_dense() has its values"),
    ):
        if is_so:
            return NotAnArrayError(what, remedy)
    return NotAnArrayError(f"a tensor of {tensor.dtype}, which NumPy has not", f"convert it, as y.float() does ({error})")


def _from_protocol(value: object) -> npt.NDArray[Any]:
    try:
        return np.asarray(value)
    except Exception as error:
        what = f"{type(value).__name__}, whose values cannot be had ({type(error).__name__})"
        raise NotAnArrayError(what, "an array that is being traced or was donated has none; hand over a computed one") from error


def _from_sequence(value: Any) -> npt.NDArray[Any]:
    items = value if isinstance(value, list | tuple) else ()
    arrays = [item.shape for item in items if getattr(item, "shape", ())]
    if arrays and (isinstance(value, tuple) or len({*arrays}) > 1 or len(arrays) < len(items)):
        raise NotAnArrayError(f"a {type(value).__name__} of {len(items)} things, not one array", "hand over the output alone")
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise NotAnArrayError(f"{type(value).__name__}, which is not array-like", str(error)) from None


def _remedy_of(value: object) -> str:
    """Say what makes an array of something that is nearly one."""
    if callable(value) or hasattr(value, "__await__"):
        return "call it, or await it"
    for method in ("to_dense", "toarray", "todense", "to_tensor", "numpy", "cpu"):
        if callable(getattr(value, method, None)):
            return f".{method}() may make an array of it"
    return ""


def to_torch(array: npt.NDArray[Any]) -> Any:
    """Return ``array`` as a torch tensor on the same memory, strides kept; bfloat16 passes as its bits."""
    import torch  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz

    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
