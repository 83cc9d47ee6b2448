"""A user's own kernel as a backend: ``path/to/file.py::function`` or ``package.module::function``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from convfuzz.backends.arrays import NotAnArrayError, to_numpy, to_torch
from convfuzz.backends.compile_cache import CallCache
from convfuzz.backends.cuda import kernel_work
from convfuzz.backends.kernels.axes import restored
from convfuzz.backends.kernels.buffers import misaligned, output_array, output_placement
from convfuzz.backends.kernels.compiled import MOST_COMPILED, CompiledKernels
from convfuzz.backends.kernels.declaration import _ATTRIBUTE, Declaration, Kernel
from convfuzz.backends.kernels.refusals import MOST_QUESTIONS, names_unsupported, refusal
from convfuzz.backends.kernels.script import call_source, kernel_script
from convfuzz.backends.protocol import Outputs, Support
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.domain import Domain, explore
from convfuzz.case.domain.declared import answered
from convfuzz.case.dtypes import numpy_dtype
from convfuzz.errors import Unsupported
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Array, Tensors
from convfuzz.tensors.guards import BufferNeeds, GuardedMemory
from convfuzz.tensors.layouts import Placement

if TYPE_CHECKING:
    from convfuzz.backends.torch.device_memory import HandOver

FUZZED = "__convfuzz_kernel__"
"""The attribute in which a test made by ``@convfuzz.fuzz`` keeps its kernel."""
_FLAWS_OF_ARGUMENTS = ("stride-length", "padding-length", "dilation-length", "output-length")
_NEVER_ASKS = "the kernel never asks for config.op: it computes forward convolutions only"


class _Watched(ConvConfig):
    """A configuration that records whether its operation was read."""

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
        self._calls = CallCache(self._make) if self._declared.compile is None else CallCache(self._make, most=MOST_COMPILED)
        self._compiled = CompiledKernels(self._declared)
        self._handed: Tensors | None = None

    @property
    def declared(self) -> Declaration:
        """What its author declares of it."""
        return self._declared

    @property
    def versions(self) -> Mapping[str, str]:
        """As declared."""
        return self._declared.versions

    @property
    def share(self) -> float:
        """As declared."""
        return self._declared.share

    @cached_property
    def domain(self) -> Domain | None:
        """What the kernel computes, as its declaration and its calls say; ``None`` where they say nothing of it."""
        declared = self._declared
        if names_unsupported(self._kernel):
            domain = replace(declared.domain, supports=self._answer, most_questions=MOST_QUESTIONS)
            explored = explore(domain)
            if explored.configs and explored.share < 1:
                return domain
        return declared.domain if declared.is_narrow else None

    def _answer(self, config: ConvConfig) -> str | bool:
        """Say why the kernel does not compute ``config``, by what is declared and then by what its call refuses; true where it does."""
        supports = self._declared.supports
        return (answered(supports(config)) if supports is not None else "") or refusal(self._kernel, self._declared, config) or True

    def supports(self, case: Case) -> Support:
        """Decline what the declaration excludes, gradients that are not declared, and invalid configurations unless declared."""
        config, declared = case.config, self._declared
        if case.grad and (without := self._without_gradients()):
            return Support.no(without)
        if config.flaw in _FLAWS_OF_ARGUMENTS:
            return Support.no("a flaw in an argument that a kernel does not have")
        if config.op == "conv_transpose" and self._asks_for_op is False:
            return Support.no(_NEVER_ASKS)
        if reason := declared.domain.declines(config):
            return Support(reason)
        return Support(misaligned(case, declared.alignment) if declared.alignment is not None else "")

    @property
    def buffer_needs(self) -> BufferNeeds | None:
        """As declared."""
        return self._declared.buffer_needs

    def _without_gradients(self) -> str | None:
        """Return why there are no gradients, or ``None`` if there are."""
        declared = self._declared
        if declared.gradients is False:
            return "gradients=False is declared"
        if callable(declared.gradients) or (declared.tensors == "torch" and not declared.out):
            return None
        return "no gradients are declared"

    def numerics(self, case: Case) -> Numerics:
        """The declared numerics; by default float32 accumulation for 16-bit types, direct."""
        declared = self._declared.numerics
        return declared if isinstance(declared, Numerics) else declared(case.config)

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Run the call on the kind of tensors that the kernel declares; its backward function or autograd gives the gradients."""
        if case.config.op == "conv" or self._declared.ops is not None or self._asks_for_op:
            return self._run(case, case.config, tensors)
        watched = _Watched(**case.config.as_fields())
        for name in ("pads", "input_shape", "weight_shape", "output_shape", "invalid_reason"):
            getattr(watched, name)  # derived attributes read the operation when they are first computed
        object.__setattr__(watched, "asked", False)
        try:
            return self._run(case, watched, tensors)
        finally:
            self._asks_for_op = watched.asked
            if not watched.asked:
                raise Unsupported(_NEVER_ASKS)

    @cached_property
    def _hand_over(self) -> HandOver | None:
        """What puts operands on the declared device, where that is not the host."""
        if self._declared.device == "cpu":
            return None
        from convfuzz.backends.torch.device_memory import HandOver  # noqa: PLC0415 - it imports PyTorch

        return HandOver(self._declared.device)

    def _run(self, case: Case, config: ConvConfig, tensors: Tensors) -> Outputs:
        self._handed = tensors
        self._compiled.config = config
        with kernel_work(self._declared.device), np.errstate(all="ignore"):  # its NaN and Inf are asked for; NumPy would warn of them
            if self._hand_over is None:
                return self._calls.run(case, tensors, config)
            self._hand_over.begin(case, tensors)
            outputs = self._calls.run(case, tensors, config)
            self._hand_over.end(tensors)
            return outputs

    def _make(self, case: Case) -> Any:
        declared = self._declared
        given: dict[str, Any] = {
            "kernel": self._compiled.kernel(self._kernel, case.config),
            "config": None,
            "tensor": _CONVERSIONS[declared.tensors] if self._hand_over is None else self._hand_over.tensor,
            "array": to_numpy,
        }
        if declared.out:
            placed = output_placement(case, declared.layout, strided=declared.out == "strided")
            given["unwritten"] = lambda: output_array(placed, numpy_dtype(case.config.dtype), self._memory)
        if declared.layout or declared.weight_layout:
            given |= {"moved": self._moved, "restored": restored}
        if case.grad and callable(declared.gradients):
            given["gradients_of"] = _checked(declared.gradients, case)
        elif case.grad:
            import torch  # noqa: PLC0415 - the kernel declares its tensors

            given |= {"torch": torch, "kernel": _differentiable(given["kernel"], torch)}
        return call_source(case, declared).function("run", given)

    @property
    def _memory(self) -> GuardedMemory | None:
        return None if self._handed is None else self._handed.memory

    def _moved(self, array: Array, axes: tuple[int, ...], placed: Placement | None) -> Array:
        """Return an operand with its axes in the order that the kernel takes; a flawed one has no layout of its own."""
        values = array.transpose(axes) if array.ndim == len(axes) else array
        if placed is None or values.shape != placed.shape:
            return values
        if self._handed is None or self._handed.memory is None:
            return placed.place(values)
        name = next(name for name, handed in self._handed.named().items() if handed is array)
        return self._handed.memory.place(name, values, placed)

    def script(self, case: Case) -> str | None:
        """Return the source that :meth:`run` runs; it imports the kernel, in its environment, and makes the configuration."""
        return kernel_script(case, self.name, self._declared, imports_convfuzz=_imports_convfuzz(self._kernel))


def _imports_convfuzz(kernel: Kernel) -> bool:
    """Whether the kernel's module needs convfuzz, as that of every declared kernel does, so that a script may use it too."""
    names = getattr(kernel, "__globals__", {}).values()
    modules = {str(getattr(one, "__module__", None) or getattr(one, "__name__", "")).partition(".")[0] for one in names}
    return hasattr(kernel, _ATTRIBUTE) or "convfuzz" in modules


def _differentiable(kernel: Kernel, torch: Any) -> Kernel:
    """Return the kernel for autograd: a result that autograd cannot differentiate is declined."""

    def differentiable(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
        try:
            y = kernel(x, w, b, config)
        except RuntimeError as error:  # such as numpy() of a tensor that requires a gradient; any other error appears without gradients too
            raise Unsupported(f"autograd does not get through the kernel: {error}") from error
        if not isinstance(y, torch.Tensor) or not y.requires_grad:
            raise Unsupported("the kernel's result is not differentiable by autograd")
        return y

    return differentiable


def _checked(gradients: Callable[..., Sequence[Any]], case: Case) -> Callable[..., Sequence[Any]]:
    """Return a declared function for gradients that raises unless there is a gradient for every operand."""
    names = case.passes[1:]

    def checked(*operands: Any) -> Sequence[Any]:
        returned = gradients(*operands)
        if not isinstance(returned, tuple | list) or len(returned) < len(names):
            what = f"gradients returned {type(returned).__name__}, expected a tuple of {', '.join(names)}"
            raise NotAnArrayError(what, message=what)
        return [to_numpy(array) for array in returned[: len(names)]]

    return checked


def _numpy(array: Array) -> Any:
    return array


def _tensorflow(array: Array) -> Any:
    from convfuzz.backends.tensorflow.backend import import_tensorflow  # noqa: PLC0415 - loaded for kernels that ask for its tensors

    return import_tensorflow().convert_to_tensor(array)


_CONVERSIONS: dict[str, Callable[[Array], Any]] = {"numpy": _numpy, "torch": to_torch, "tensorflow": _tensorflow}
