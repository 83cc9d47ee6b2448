"""A user's own kernel as a backend: ``path/to/file.py::function`` or ``package.module::function``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal, TypeVar

from convfuzz.backends.arrays import NotAnArrayError, to_numpy, to_torch
from convfuzz.backends.kernel_script import kernel_script
from convfuzz.backends.protocol import Backend, Outputs, Support
from convfuzz.case import Case
from convfuzz.config import ConvConfig
from convfuzz.dtypes import FLOATING, numpy_dtype
from convfuzz.errors import BackendError, InvalidConfig, Unsupported
from convfuzz.numerics import Numerics
from convfuzz.placement import unwritten
from convfuzz.tensors import Array, Tensors

Kernel = Callable[..., Any]
AnyKernel = TypeVar("AnyKernel", bound=Kernel)
FUZZED = "__convfuzz_kernel__"
"""The attribute of a test under which it keeps the kernel that it was made of."""
_ATTRIBUTE = "__convfuzz_declaration__"
_FLAWS_OF_ARGUMENTS = ("stride-length", "padding-length", "dilation-length", "output-length")
_NEVER_ASKS = "the kernel never asks for config.op: it computes forward convolutions only"


@dataclass(frozen=True)
class Declaration:
    """What ``@convfuzz.backend`` says of a kernel."""

    tensors: Literal["numpy", "torch", "tensorflow"] = "numpy"
    device: str = "cpu"
    ops: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] = tuple(FLOATING)
    dims: tuple[int, ...] | None = None
    supports: Callable[[ConvConfig], str | bool | None] | None = None
    numerics: Numerics | Callable[[ConvConfig], Numerics] = field(default_factory=Numerics)
    gradients: Callable[..., Sequence[Any]] | bool = True
    out: bool = False
    rejects_invalid: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    share: float = 1.0


def backend(  # noqa: PLR0913 - each is an option of its own
    *,
    tensors: Literal["numpy", "torch", "tensorflow"] = "numpy",
    device: str = "cpu",
    ops: tuple[str, ...] | None = None,
    dtypes: tuple[str, ...] = FLOATING,
    dims: tuple[int, ...] | None = None,
    supports: Callable[[ConvConfig], str | bool | None] | None = None,
    numerics: Numerics | Callable[[ConvConfig], Numerics] | None = None,
    gradients: Callable[..., Sequence[Any]] | bool = True,
    out: bool = False,
    rejects_invalid: bool = False,
    versions: Mapping[str, str] | None = None,
    share: float = 1.0,
) -> Callable[[AnyKernel], AnyKernel]:
    """Declare what a kernel takes, which cases it computes and how it rounds; the kernel itself stays as it is.

    Args:
        tensors: what the kernel is handed: NumPy arrays, or tensors of a framework that share their memory.
        device: where torch tensors are put, such as ``"cuda"``.
        ops: the operations it computes, of ``"conv"`` and ``"conv_transpose"``. ``None`` finds out: a kernel that never
            asks for ``config.op`` computes forward convolutions only.
        dtypes: the dtypes it computes; by default the four floating-point ones.
        dims: the numbers of spatial dimensions it computes; ``None`` is all.
        supports: further limits: given the configuration it returns ``True`` or ``None`` to accept, ``False`` or a
            reason to decline.
        numerics: the arithmetic it declares, as a value or per configuration; see :class:`convfuzz.Numerics`.
        gradients: a function ``gradients(x, w, b, dy, config)`` that returns the gradients of Σ y·dy to x and w, and to b where
            there is one. Without it those of a kernel on torch tensors are autograd's, where its result is differentiable;
            ``False`` leaves them out.
        out: call it as ``kernel(x, w, b, config, out)`` with an output array full of NaN that it has to fill.
        rejects_invalid: hand it invalid configurations too, which it must reject by raising.
        versions: versions to show in the report.
        share: the part of a campaign's configurations that a slow kernel runs, above 0 and at most 1: 0.05 is one in 20.

    Raises:
        InvalidConfig: an argument is none of its allowed values.
    """
    if tensors not in ("numpy", "torch", "tensorflow"):
        raise InvalidConfig(f"tensors={tensors!r} is not one of numpy, torch, tensorflow")
    if out and tensors == "tensorflow":
        raise InvalidConfig("out=True with tensors='tensorflow': its tensors cannot be written to")
    if not 0 < share <= 1:
        raise InvalidConfig(f"share={share!r} is not above 0 and at most 1")
    declaration = Declaration(
        tensors, device, ops, dtypes, dims, supports, numerics or Numerics(), gradients, out, rejects_invalid, versions or {}, share
    )

    def declare(kernel: AnyKernel) -> AnyKernel:
        setattr(kernel, _ATTRIBUTE, declaration)
        return kernel

    return declare


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


def kernel_name(kernel: Kernel) -> str:
    """Return the name by which another process finds a function: ``file.py::function`` or ``package.module::function``.

    The file is that of a script or test beside or below the current folder; what is installed or part of a package goes by
    its module. What no name leads to, such as a local function, is named for people only, and its last part is no identifier.
    """
    module = sys.modules.get(getattr(kernel, "__module__", None) or "")
    function = str(getattr(kernel, "__qualname__", None) or f"<{type(kernel).__name__}>")
    if module is None:
        return f"<unknown>::{function}"
    if function.isidentifier() and _undecorated(getattr(module, function, None)) is not kernel:
        function = f"<shadowed>.{function}"
    return f"{_where(module)}::{function}"


def leads_to_kernel(backend: str) -> bool:
    """Whether another process finds the backend by its name: not so a kernel that is local to a function."""
    separator, function = backend.rpartition("::")[1:]
    return not separator or function.partition("+")[0].isidentifier()


def _where(module: ModuleType) -> str:
    file = Path(getattr(module, "__file__", None) or "")
    is_installed = any(file.is_relative_to(sysconfig.get_path(kind)) for kind in ("purelib", "platlib", "stdlib"))
    if module.__name__ != "__main__" and ("." in module.__name__ or is_installed):
        return module.__name__
    if file.suffix != ".py":
        return module.__name__
    file = file.resolve()
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)


def _undecorated(kernel: Any) -> Any:
    """Return the kernel that ``@convfuzz.fuzz`` has made a test of."""
    return getattr(kernel, FUZZED, kernel)


def load_kernel(name: str) -> Backend:
    """Load ``path/to/file.py::function`` or ``package.module::function``.

    Raises:
        BackendError: the file, module or function does not exist, fails to import, or is no function.
    """
    where, _, function = name.partition("::")
    module = _load_file(where, name) if where.endswith(".py") else _load_module(where, name)
    kernel = _undecorated(getattr(module, function, None))
    if kernel is None:
        defined = sorted(n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", None) == module.__name__)
        raise BackendError(f"backend {name!r}: {where} has no {function!r}; it defines {', '.join(defined) or 'no function'}")
    if not callable(kernel):
        raise BackendError(f"backend {name!r}: {function!r} is a {type(kernel).__name__}, not a function")
    return KernelBackend(name, kernel)


def _load_file(where: str, name: str) -> Any:
    path = Path(where)
    if not path.is_file():
        raise BackendError(f"backend {name!r}: there is no file {where}")
    module_name = f"convfuzz_kernel_{path.stem}_{abs(hash(path.resolve())):x}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None, "a .py file has a spec"
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    sys.path.insert(0, str(path.resolve().parent))  # the file's neighbours are importable, as when it is run
    # Cached bytecode is told apart by second and size: a kernel that was just edited could be the old one.
    writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise BackendError(f"backend {name!r}: {where} does not import: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
        sys.dont_write_bytecode = writes_bytecode
    return module


def _load_module(where: str, name: str) -> Any:
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # as `python -m` has it: a project's own modules are found from its root
    try:
        return importlib.import_module(where)
    except (Exception, SystemExit) as error:
        raise BackendError(f"backend {name!r}: module {where} does not import: {type(error).__name__}: {error}") from error


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
