"""What everything in a process shares, and a solution may have left changed: arithmetic, modes, hooks, the library's own operations.

A judge of another process is not reached by that. Whoever uses the solution is: what they compute beside it comes out otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.modules import module as modules
from torch.utils import _device

_LEAST_SUBNORMAL = 2.0**-1074
_OPERATIONS = frozenset({
    *(f"conv{kind}{dims}d" for kind in ("", "_transpose") for dims in (1, 2, 3)), "convolution", "_convolution", "convolution_overrideable",
    "mkldnn_convolution", "_slow_conv2d_forward", "slow_conv3d_forward", "slow_conv_transpose2d", "slow_conv_transpose3d",
    "cudnn_convolution", "cudnn_convolution_transpose", "linear", "mm", "bmm", "addmm", "matmul", "dot", "add", "sub", "mul", "div", "sum",
    "mean", "relu", "sigmoid", "tanh", "exp", "maximum", "clamp", "abs", "max", "eq", "ne", "le", "isclose", "allclose", "equal", "all",
    "copy_", "clone", "contiguous", "zeros", "empty", "rand", "randn", "uniform_", "normal_", "batch_norm", "native_batch_norm",
})  # fmt: skip
"""Operations that models and those who compare them are made of."""
_HOOKS = ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_module_registration_hooks", "_global_parameter_registration_hooks")
_SETTINGS: dict[str, Callable[[], Any]] = {
    "torch.get_num_threads()": torch.get_num_threads,
    "torch.is_grad_enabled()": torch.is_grad_enabled,
    "torch.are_deterministic_algorithms_enabled()": torch.are_deterministic_algorithms_enabled,
    "torch.get_float32_matmul_precision()": torch.get_float32_matmul_precision,
    "torch.backends.cudnn.allow_tf32": torch._C._get_cudnn_allow_tf32,  # noqa: SLF001 - what the property reads
}
"""What a solution may set, since its results are judged as they are: it is told."""
_length_of_function_stack, _length_of_dispatch_stack = torch._C._len_torch_function_stack, torch._C._len_torch_dispatch_stack  # noqa: SLF001 - nothing else tells
_names_of_operations, _registered = torch._C._dispatch_get_all_op_names, torch._C._dispatch_dump  # noqa: SLF001 - as above
_default_dtype, _is_autocast, _is_inference = torch.get_default_dtype, torch.is_autocast_enabled, torch.is_inference_mode_enabled


def _operations() -> dict[str, str]:
    """Return who has registered each operation, of which there are overloads."""
    names = [name for name in _names_of_operations() if name.startswith("aten::")]
    found = {name: _registered(name) for name in names if name.removeprefix("aten::").partition(".")[0] in _OPERATIONS}
    # Numbers in a schema are printed in the rounding that the process has.
    return {name: "\n".join(line for line in text.split("\n") if not line.startswith("schema:")) for name, text in found.items()}


_as_loaded = _operations()
"""Taken where PyTorch is loaded, for all processes that are forked there."""


class ProcessState:
    """What a process is like before a solution is loaded, to tell what it is like later."""

    def __init__(self) -> None:
        self._finders = list(sys.meta_path)
        self._dtype, self._device = _default_dtype(), torch.get_default_device()
        self._settings = self._read()

    @staticmethod
    def _read() -> dict[str, Any]:
        return {name: read() for name, read in _SETTINGS.items()}

    def changed(self) -> list[str]:
        """Return what is not as it was and changes what others compute in the process."""
        found = []
        # In variables, so that the processor is asked and no compiler.
        least, less = float(_LEAST_SUBNORMAL), float(2.0**-60)
        if least * 1.0 == 0.0:
            found.append("leaves its process flushing subnormal numbers to zero")
        if not 1.0 + less == 1.0 == 1.0 - less or -1.0 - less != -1.0:
            found.append("leaves its process rounding otherwise than to nearest")
        if _default_dtype() != self._dtype:
            found.append(f"leaves its process with {str(_default_dtype()).removeprefix('torch.')} as the default dtype")
        device = _device.CURRENT_DEVICE
        if device is not None and torch.device(device) != self._device:
            found.append(f"leaves its process with {device} as the default device")
        modes = _length_of_function_stack() - (device is not None)  # a default device is one, too
        if modes > 0 or _length_of_dispatch_stack():
            found.append("leaves a mode on that changes what PyTorch's functions do")
        if _is_autocast("cpu") or _is_autocast("cuda"):
            found.append("leaves autocast on, so that others compute in another dtype")
        if _is_inference():
            found.append("leaves inference mode on")
        found += [f"hooks every module there is (torch.nn.modules.module.{name})" for name in _HOOKS if getattr(modules, name)]
        return found

    def finders(self) -> list[Any]:
        """Return what now has a say in how modules are imported and had none before."""
        return [finder for finder in sys.meta_path if not any(finder is one for one in self._finders)]

    def settings(self) -> list[str]:
        """Return what is set otherwise than it was, and may be."""
        now = self._read()
        return [f"sets {name} to {now[name]} for its whole process" for name, was in self._settings.items() if now[name] != was]


def replaced_operations() -> list[str]:
    """Return which of PyTorch's operations somebody has registered anew (``torch.library``), for everything in the process."""
    return [f"replaces {name} of PyTorch (torch.library)" for name, now in _operations().items() if _as_loaded.get(name) != now]
