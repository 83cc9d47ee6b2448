"""From ``path/to/file.py::function`` to the kernel, and from a kernel to its name."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from convfuzz.backends.isolated import IsolatedBackend, Surroundings, is_own_process, own_process
from convfuzz.backends.kernels.backend import FUZZED, KernelBackend
from convfuzz.backends.kernels.declaration import Kernel
from convfuzz.backends.kernels.environment import not_written_out, written_environment
from convfuzz.backends.kernels.mentions import require_kernel
from convfuzz.backends.protocol import Backend
from convfuzz.errors import BackendError, closest


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


def surroundings_of(name: str) -> Surroundings | None:
    """Return the process that a kernel has to run in, as the text of its file says; ``None`` for this one.

    Raises:
        BackendError: that is not written out.
        InvalidConfig: likewise, or it is no such option's value.
    """
    environment = None if is_own_process(name) else written_environment(name)
    return None if environment is None else own_process(name, environment)


def backend_of(kernel: Kernel) -> Backend:
    """Return a function ``kernel(x, w, b, config)`` as a backend.

    Raises:
        BackendError: it runs in a process of its own, which cannot find it.
    """
    name = kernel_name(kernel)
    here = KernelBackend(name, kernel)
    if not here.declared.runs_elsewhere or is_own_process(name):
        return here
    if not leads_to_kernel(name):
        raise BackendError(
            f"kernel {name.rpartition('::')[2]!r} runs in a process of its own, which cannot import it: define it at the top of a module"
        )
    return IsolatedBackend(here, own_process(name, here.declared.environment))


def load_kernel(name: str) -> Backend:
    """Load ``path/to/file.py::function`` or ``package.module::function``; in a process of its own where that is declared.

    Raises:
        BackendError: the file, module or function does not exist, fails to import, or is no function.
    """
    elsewhere = surroundings_of(name)
    if elsewhere is not None:
        from convfuzz.backends.kernels.asked import kernel_elsewhere  # noqa: PLC0415 - most kernels do without

        require_kernel(name)
        return kernel_elsewhere(name, elsewhere)
    where, _, function = name.partition("::")
    module = _load_file(where, name) if where.endswith(".py") else _load_module(where, name)
    kernel = _undecorated(getattr(module, function, None))
    if kernel is None:
        defined = sorted(n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", None) == module.__name__)
        raise BackendError(
            f"backend {name!r}: {where} has no {function!r}; it defines {', '.join(defined) or 'no function'}{closest(function, defined)}"
        )
    if not callable(kernel):
        raise BackendError(f"backend {name!r}: {function!r} is of type {type(kernel).__name__}, not a function")
    backend = KernelBackend(name, kernel)
    if backend.declared.runs_elsewhere and not is_own_process(name):
        raise not_written_out(name, str(getattr(kernel, "__module__", where)))
    return backend


def _load_file(where: str, name: str) -> Any:
    require_kernel(name)
    path = Path(where)
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
