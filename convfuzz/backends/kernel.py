"""A user's own kernel as a backend: ``path/to/file.py::function`` or ``package.module::function``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from convfuzz.backends.arrays import to_numpy, to_torch
from convfuzz.backends.protocol import Backend, Outputs, Support
from convfuzz.case import Case
from convfuzz.config import ConvConfig
from convfuzz.dtypes import numpy_dtype
from convfuzz.errors import BackendError, InvalidConfig
from convfuzz.numerics import Numerics
from convfuzz.tensors import Array, Tensors

Kernel = Callable[..., Any]
AnyKernel = TypeVar("AnyKernel", bound=Kernel)
_ATTRIBUTE = "__convfuzz_declaration__"


@dataclass(frozen=True)
class Declaration:
    """What ``@convfuzz.backend`` says of a kernel."""

    tensors: Literal["numpy", "torch", "tensorflow"] = "numpy"
    device: str = "cpu"
    dtypes: tuple[str, ...] | None = None
    dims: tuple[int, ...] | None = None
    supports: Callable[[ConvConfig], str | bool | None] | None = None
    numerics: Numerics | Callable[[ConvConfig], Numerics] = field(default_factory=Numerics)
    out: bool = False
    rejects_invalid: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)


def backend(
    *,
    tensors: Literal["numpy", "torch", "tensorflow"] = "numpy",
    device: str = "cpu",
    dtypes: tuple[str, ...] | None = None,
    dims: tuple[int, ...] | None = None,
    supports: Callable[[ConvConfig], str | bool | None] | None = None,
    numerics: Numerics | Callable[[ConvConfig], Numerics] | None = None,
    out: bool = False,
    rejects_invalid: bool = False,
    versions: Mapping[str, str] | None = None,
) -> Callable[[AnyKernel], AnyKernel]:
    """Declare what a kernel takes, which cases it computes and how it rounds; the kernel itself stays as it is.

    Args:
        tensors: what the kernel is handed: NumPy arrays, or tensors of a framework that share their memory.
        device: where torch tensors are put, such as ``"cuda"``.
        dtypes: the dtypes it computes; ``None`` is all.
        dims: the numbers of spatial dimensions it computes; ``None`` is all.
        supports: further limits: given the configuration it returns ``True`` or ``None`` to accept, ``False`` or a
            reason to decline.
        numerics: the arithmetic it declares, as a value or per configuration; see :class:`convfuzz.Numerics`.
        out: call it as ``kernel(x, w, b, config, out)`` with an output array full of NaN that it has to fill.
        rejects_invalid: hand it invalid configurations too, which it must reject by raising.
        versions: versions to show in the report.

    Raises:
        InvalidConfig: an argument is none of its allowed values.
    """
    if tensors not in ("numpy", "torch", "tensorflow"):
        raise InvalidConfig(f"tensors={tensors!r} is not one of numpy, torch, tensorflow")
    if out and tensors == "tensorflow":
        raise InvalidConfig("out=True with tensors='tensorflow': its tensors cannot be written to")
    declaration = Declaration(tensors, device, dtypes, dims, supports, numerics or Numerics(), out, rejects_invalid, versions or {})

    def declare(kernel: AnyKernel) -> AnyKernel:
        setattr(kernel, _ATTRIBUTE, declaration)
        return kernel

    return declare


class KernelBackend:
    """A plain function ``kernel(x, w, b, config)`` behind the backend protocol."""

    def __init__(self, name: str, kernel: Kernel) -> None:
        self.name = name
        self._kernel = kernel
        self._declared: Declaration = getattr(kernel, _ATTRIBUTE, Declaration())

    @property
    def versions(self) -> Mapping[str, str]:
        """What the declaration says."""
        return self._declared.versions

    def supports(self, case: Case) -> Support:
        """Decline what the declaration excludes, gradients, and invalid configurations unless they are asked for."""
        config, declared = case.config, self._declared
        if case.grad:
            return Support.no("a kernel computes the forward pass")
        if not config.is_valid and not declared.rejects_invalid:
            return Support.no("invalid configuration (rejects_invalid is not declared)")
        if declared.dtypes is not None and config.dtype not in declared.dtypes:
            return Support.no(f"dtype {config.dtype}")
        if declared.dims is not None and config.dims not in declared.dims:
            return Support.no(f"{config.dims} spatial dimensions")
        answer = declared.supports(config) if declared.supports else None
        if answer is None or answer is True:
            return Support.YES
        return Support.no(answer or "declined by the kernel's declaration")

    def numerics(self, case: Case) -> Numerics:
        """What the declaration says; by default float32 accumulation for 16-bit types, direct."""
        declared = self._declared.numerics
        return declared if isinstance(declared, Numerics) else declared(case.config)

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Call the kernel on the kind of tensors it declares."""
        config, hand_over = case.config, _HAND_OVER[self._declared.tensors]
        x, w = hand_over(tensors.x, self._declared.device), hand_over(tensors.w, self._declared.device)
        b = None if tensors.b is None else hand_over(tensors.b, self._declared.device)
        if not self._declared.out:
            return {"forward": to_numpy(self._kernel(x, w, b, config))}
        poisoned = np.full([max(size, 0) for size in config.output_shape], np.nan, dtype=numpy_dtype(config.dtype))
        out = hand_over(poisoned, self._declared.device)
        self._kernel(x, w, b, config, out)
        return {"forward": to_numpy(out)}

    def script(self, case: Case) -> str:
        """Import the kernel from where it lies and hand it the configuration as plain attributes."""
        config = case.config
        derived = (
            "effective_kernel", "flops", "input_shape", "invalid_reason", "is_valid", "nbytes", "output_shape", "output_size",
            "pads", "taps", "weight_shape",
        )  # fmt: skip
        attributes = config.as_fields() | {name: getattr(config, name) for name in derived}
        where, _, function = self.name.partition("::")
        if where.endswith(".py"):
            load = [
                "sys.dont_write_bytecode = True",
                f"sys.path.insert(0, {str(Path(where).resolve().parent)!r})",
                f"spec = importlib.util.spec_from_file_location('kernel_under_test', {str(Path(where).resolve())!r})",
                "module = importlib.util.module_from_spec(spec)",
                "sys.modules['kernel_under_test'] = module",
                "spec.loader.exec_module(module)",
            ]
        else:
            load = [f"sys.path.append({str(Path.cwd())!r})", f"module = importlib.import_module({where!r})"]
        cast = ["    x, w = x.astype(DTYPE), w.astype(DTYPE)", "    b = None if b is None else b.astype(DTYPE)"]
        lines = [
            "import importlib",
            "import importlib.util",
            "import sys",
            "from types import SimpleNamespace",
            "",
            *load,
            f"kernel = module.{function}",
            f"config = SimpleNamespace(**{attributes!r})",
            "import ml_dtypes" if config.dtype == "bfloat16" else "",
            f"DTYPE = {'ml_dtypes.bfloat16' if config.dtype == 'bfloat16' else f'np.{config.dtype}'}",
            "",
            "",
            "def run(x, w, b):",
            *cast,
            *(f"    {line}" for line in self._script_call(case)),
            "    for name, array in {'x': x, 'w': w, 'b': b}.items():",
            "        if array is not None and as_numpy(array).tobytes() != before[name]:",
            "            raise AssertionError(f'the kernel changed its input {name}')",
            "    return None if y is None else as_numpy(y)",
            "",
            "",
            "def as_numpy(y):",
            "    if not hasattr(y, 'detach'):",
            "        return np.ma.getdata(np.asarray(y))",
            "    y = y.detach().cpu()",
            "    is_bfloat16 = str(y.dtype) == 'torch.bfloat16'",
            "    return y.view(__import__('torch').int16).numpy().view(DTYPE) if is_bfloat16 else y.numpy()",
        ]
        return "\n".join(lines) + "\n"

    def _script_call(self, case: Case) -> list[str]:
        lines = _LAYOUTS[case.config.layout](case.config)
        if self._declared.tensors == "torch":
            bits = case.config.dtype == "bfloat16"
            tensor = "torch.from_numpy(a.view(np.int16)).view(torch.bfloat16)" if bits else "torch.from_numpy(a)"
            lines += ["import torch", f"x, w, b = (None if a is None else {tensor}.to({self._declared.device!r}) for a in (x, w, b))"]
        elif self._declared.tensors == "tensorflow":
            lines += ["import tensorflow as tf", "x, w, b = (None if a is None else tf.convert_to_tensor(a) for a in (x, w, b))"]
        lines.append("before = {n: None if a is None else as_numpy(a).tobytes() for n, a in {'x': x, 'w': w, 'b': b}.items()}")
        if self._declared.out:
            lines.append("y = np.full(config.output_shape, np.nan, dtype=DTYPE)")
            if self._declared.tensors == "torch":
                lines.append(f"y = torch.full(config.output_shape, torch.nan, dtype=x.dtype, device={self._declared.device!r})")
            lines.append("kernel(x, w, b, config, y)")
        else:
            lines.append("y = kernel(x, w, b, config)")
        return lines


def load_kernel(name: str) -> Backend:
    """Load ``path/to/file.py::function`` or ``package.module::function``.

    Raises:
        BackendError: the file, module or function does not exist, fails to import, or is no function.
    """
    where, _, function = name.partition("::")
    module = _load_file(where, name) if where.endswith(".py") else _load_module(where, name)
    kernel = getattr(module, function, None)
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


def _channels_last_lines(config: ConvConfig) -> list[str]:
    axis = 0 if config.batch is None else 1
    return [
        f"x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, {axis}, -1)), -1, {axis})",
        "w = np.moveaxis(np.ascontiguousarray(np.moveaxis(w, 1, -1)), -1, 1)",
    ]


def _non_contiguous_lines(config: ConvConfig) -> list[str]:
    del config
    return [
        "views = [None if a is None else np.full((*a.shape[:-1], 2 * a.shape[-1] + 1), np.nan, a.dtype)[..., 1::2] for a in (x, b)]",
        "for view, values in zip(views, (x, b)):",
        "    if view is not None:",
        "        view[...] = values",
        "x, b = views",
        "w = np.ascontiguousarray(w.T).T",
    ]


_LAYOUTS: dict[str, Callable[[ConvConfig], list[str]]] = {
    "contiguous": lambda _: [],
    "channels_last": _channels_last_lines,
    "non_contiguous": _non_contiguous_lines,
}
