"""A user's own kernel as a backend: ``path/to/file.py::function`` or ``package.module::function``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from convfuzz.backends.arrays import NotAnArrayError, to_numpy, to_torch
from convfuzz.backends.kernels.declaration import _ATTRIBUTE, Declaration, Kernel
from convfuzz.backends.kernels.script import kernel_script
from convfuzz.backends.protocol import Outputs, Support
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import numpy_dtype
from convfuzz.errors import Unsupported
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Array, Tensors
from convfuzz.tensors.layouts import unwritten

FUZZED = "__convfuzz_kernel__"
"""The attribute of a test under which it keeps the kernel that it was made of."""
_FLAWS_OF_ARGUMENTS = ("stride-length", "padding-length", "dilation-length", "output-length")
_NEVER_ASKS = "the kernel never asks for config.op: it computes forward convolutions only"


class _Watched(ConvConfig):
    """A configuration that knows whether it was asked for its operation."""

    asked: ClassVar[bool] = False

    def __getattribute__(self, name: str) -> Any:
        if name in ("op", "as_fields"):
            object.__setattr__(self, "asked", True)
        return super().__getattribute__(name)


class KernelBackend:
    """A plain function ``kernel(x, w, b, config)`` behind the backend protocol."""

    def __init__(self, name: str, kernel: Kernel) -> None:
        self.name = name
        self._kernel = kernel
        self._declared: Declaration = getattr(kernel, _ATTRIBUTE, Declaration())
        self._asks_for_op: bool | None = None

    @property
    def versions(self) -> Mapping[str, str]:
        """What the declaration says."""
        return self._declared.versions

    @property
    def share(self) -> float:
        """What the declaration says."""
        return self._declared.share

    def supports(self, case: Case) -> Support:
        """Decline what the declaration excludes, gradients, and invalid configurations unless they are asked for."""
        config, declared = case.config, self._declared
        if case.grad and (without := self._without_gradients()):
            return Support.no(without)
        if not config.is_valid and not declared.rejects_invalid:
            return Support.no("invalid configuration (rejects_invalid is not declared)")
        if config.flaw in _FLAWS_OF_ARGUMENTS:
            return Support.no("a flaw in an argument that a kernel does not have")
        if declared.ops is not None and config.op not in declared.ops:
            return Support.no(f"operation {config.op}")
        if config.op == "conv_transpose" and self._asks_for_op is False:
            return Support.no(_NEVER_ASKS)
        if config.dtype not in declared.dtypes:
            return Support.no(f"dtype {config.dtype}")
        if declared.dims is not None and config.dims not in declared.dims:
            return Support.no(f"{config.dims} spatial dimensions")
        answer = declared.supports(config) if declared.supports else None
        if answer is None or answer is True:
            return Support.YES
        return Support.no(answer or "declined by the kernel's declaration")

    def _without_gradients(self) -> str | None:
        """Say why there are no gradients; ``None`` when they can be asked for."""
        declared = self._declared
        if declared.gradients is False:
            return "gradients=False is declared"
        if callable(declared.gradients) or (declared.tensors == "torch" and not declared.out):
            return None
        return "no gradients are declared"

    def numerics(self, case: Case) -> Numerics:
        """What the declaration says; by default float32 accumulation for 16-bit types, direct."""
        declared = self._declared.numerics
        return declared if isinstance(declared, Numerics) else declared(case.config)

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Call the kernel, and with gradients its backward function or autograd, on the kind of tensors it declares."""
        if case.config.op == "conv" or self._declared.ops is not None or self._asks_for_op:
            return self._run(case, case.config, tensors)
        watched = _Watched(**case.config.as_fields())
        for name in ("pads", "input_shape", "weight_shape", "output_shape", "invalid_reason"):
            getattr(watched, name)  # what is derived from it asks for the operation itself, once
        object.__setattr__(watched, "asked", False)
        try:
            return self._run(case, watched, tensors)
        finally:
            self._asks_for_op = watched.asked
            if not watched.asked:
                raise Unsupported(_NEVER_ASKS)

    def _run(self, case: Case, config: ConvConfig, tensors: Tensors) -> Outputs:
        declared, hand_over = self._declared, _HAND_OVER[self._declared.tensors]
        x, w, b, dy = (
            None if array is None else hand_over(array, declared.device) for array in (tensors.x, tensors.w, tensors.b, tensors.dy)
        )
        if declared.out:
            out = hand_over(unwritten(tuple(max(size, 0) for size in config.output_shape), numpy_dtype(config.dtype)), declared.device)
            self._kernel(x, w, b, config, out)
            y = out
        elif dy is None or callable(declared.gradients):
            y = self._kernel(x, w, b, config)
        else:
            return _differentiated(self._kernel, x, w, b, dy, config)
        outputs = {"forward": to_numpy(y)}
        if dy is not None:
            assert callable(declared.gradients), "gradients without a function are autograd's"
            outputs |= _named_gradients(declared.gradients(x, w, b, dy, config), case)
        return outputs

    def script(self, case: Case) -> str | None:
        """Import the kernel from where it lies and hand it the configuration as plain attributes."""
        declared = self._declared
        gradients = f"kernel.{_ATTRIBUTE}.gradients" if callable(declared.gradients) else None
        return kernel_script(case, self.name, tensors=declared.tensors, device=declared.device, out=declared.out, gradients=gradients)


def _differentiated(kernel: Kernel, x: Any, w: Any, b: Any, dy: Any, config: ConvConfig) -> Outputs:
    """Run a kernel on torch tensors, and autograd through it."""
    import torch  # noqa: PLC0415 - loaded already: it made the tensors

    leaves = {"grad_input": x, "grad_weight": w} | ({} if b is None else {"grad_bias": b})
    for leaf in leaves.values():
        leaf.requires_grad_()
    try:
        y = kernel(x, w, b, config)
    except RuntimeError as error:  # such as numpy() of a tensor with a gradient; another one comes again without gradients
        raise Unsupported(f"autograd does not get through the kernel: {error}") from error
    if not isinstance(y, torch.Tensor) or not y.requires_grad:
        raise Unsupported("the kernel's result is not differentiable by autograd")
    gradients = torch.autograd.grad(y, list(leaves.values()), dy, materialize_grads=True)
    return {"forward": to_numpy(y)} | {name: to_numpy(tensor) for name, tensor in zip(leaves, gradients, strict=True)}


def _named_gradients(returned: Sequence[Any], case: Case) -> Outputs:
    names = case.passes[1:]
    if not isinstance(returned, tuple | list) or len(returned) < len(names):
        raise NotAnArrayError(f"gradients returned {type(returned).__name__}, expected a tuple of {', '.join(names)}")
    return {name: to_numpy(array) for name, array in zip(names, returned, strict=False)}


def _numpy(array: Array, device: str) -> Any:
    del device
    return array


def _torch(array: Array, device: str) -> Any:
    return to_torch(array).to(device)


def _tensorflow(array: Array, device: str) -> Any:
    del device
    import tensorflow as tf  # noqa: PLC0415 - loaded for kernels that ask for its tensors

    return tf.convert_to_tensor(array)


_HAND_OVER: dict[str, Callable[[Array, str], Any]] = {"numpy": _numpy, "torch": _torch, "tensorflow": _tensorflow}
