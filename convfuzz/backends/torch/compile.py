"""``torch.compile``: the functional convolutions compiled by Inductor, its default compiler, for a CPU."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from convfuzz.backends.arrays import to_numpy, to_torch
from convfuzz.backends.compile_cache import CallCache
from convfuzz.backends.protocol import Outputs, Support
from convfuzz.backends.source import CallSource
from convfuzz.backends.torch.call import TorchCall, conversions, run_lines
from convfuzz.case import Case
from convfuzz.errors import BackendError
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Tensors

_SHARE = 1 / 200
_KEPT_LAYERS = 8
"""Compiled layers that are kept: PyTorch keeps as many of one function, its ``recompile_limit``, and refuses the next."""
_OPTIONS: dict[str, Any] = {"fullgraph": True, "dynamic": False}
_PREFIX = "convfuzz-inductor-"
_YOUNG_SECONDS = 60.0


class CompileBackend:
    """A functional convolution, with its padding and cropping, in one function compiled by ``torch.compile``.

    ``fullgraph=True`` and ``dynamic=False``: one graph for one shape, and an error where PyTorch would silently fall back to
    eager execution. The function also raises if it runs uncompiled, as PyTorch runs it when ``TORCH_COMPILE_DISABLE`` or a
    stance disables compilation. Inductor generates C++ for padding, cropping, copies and their gradients,
    chooses memory formats, and calls the eager kernels for the convolution itself; autograd compiles the backward pass.
    The domain and the rules for invalid calls are those of ``functional``, the backend on the functional convolutions.

    Raises:
        BackendError: see :func:`prepare`.
    """

    share = _SHARE

    def __init__(self, functional: Any) -> None:
        import torch  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz

        self._torch, self._functional = torch, functional
        self.name = "torch:compile"
        self.versions: Mapping[str, str] = functional.versions
        _remove_what_was_left_behind()
        prepare()
        self._compiled = CallCache(self._make, most=_KEPT_LAYERS, forget=torch.compiler.reset)

    def supports(self, case: Case) -> Support:
        """Decline what the functional convolutions decline."""
        support: Support = self._functional.supports(case)
        return support

    def numerics(self, case: Case) -> Numerics:
        """The functional convolutions', whose kernels are called."""
        numerics: Numerics = self._functional.numerics(case)
        return numerics

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Run the compiled layer on tensors that share the arrays' memory; autograd runs its compiled backward pass."""
        with _scratch():  # forward and backward are compiled when they run for the first time
            return self._compiled.run(case, tensors)

    def _make(self, case: Case) -> Any:
        torch = self._torch
        layer = TorchCall(case.config).layer().function("layer", {"torch": torch})

        @_compile
        def checked(x: Any, w: Any, b: Any) -> Any:
            _require_compiling(torch)
            return layer(x, w, b)

        return _source(case).function("run", {"torch": torch, "layer": checked, "tensor": to_torch, "array": to_numpy})

    def title(self, case: Case) -> str:
        """Name the function and the compiler."""
        return f"torch.compile of torch.nn.functional.{TorchCall(case.config).function}"

    def script(self, case: Case) -> str:
        """Return the source that :meth:`run` runs, with the compiler as a decorator."""
        options = ", ".join(f"{name}={value}" for name, value in _OPTIONS.items())
        return (
            "import torch\n\ntorch.set_num_threads(1)\n"
            f"{conversions(case)}@torch.compile({options})\n{TorchCall(case.config).layer()}\n\n{_source(case)}"
        )


def _source(case: Case) -> CallSource:
    return CallSource(run_lines(case, ["y = layer(x, w, b)"]), {})


def _compile(function: Any) -> Any:
    import torch  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz

    return torch.compile(function, **_OPTIONS)


def _require_compiling(torch: Any) -> None:
    """Raise if this runs eagerly instead of being compiled: that would check another backend."""
    if not torch.compiler.is_compiling():
        raise BackendError("PyTorch runs compiled functions eagerly: TORCH_COMPILE_DISABLE, TORCHDYNAMO_DISABLE or a stance says so")


@cache
def prepare() -> None:
    """Import the compiler, let it probe the C++ compiler and the processor, and compile something small.

    The first time on a machine this takes half a minute, most of it for headers that PyTorch keeps in its own cache.

    Raises:
        BackendError: there is no working C++ compiler, or compilation is disabled.
    """
    import torch  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's compiler imports modules that PyTorch deprecates
        import torch._inductor.config  # noqa: PLC0415 - the same

        torch._inductor.config.compile_threads = 1  # noqa: SLF001 - a process of a campaign has none beside it; read at the next import
        import torch._inductor.compile_fx  # noqa: PLC0415 - the same
        import torch._inductor.cpu_vec_isa  # noqa: PLC0415 - the same

    def probe(x: Any) -> Any:
        _require_compiling(torch)
        return x + 1

    try:
        torch.compile(probe, backend="eager", **_OPTIONS)(torch.zeros(8))  # first, since no C++ compiler is asked for it
        torch._inductor.cpu_vec_isa.pick_vec_isa()  # noqa: SLF001 - asked here so that PyTorch's own cache keeps the answer
        with _scratch():
            _compile(probe)(torch.zeros(8))
    except BackendError as error:
        raise BackendError(f"backend 'torch:compile' compiles nothing: {error}") from None
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise BackendError(f"backend 'torch:compile' needs a C++ compiler that PyTorch can use: {reason}") from error


@contextmanager
def _scratch() -> Iterator[None]:
    """Write compiled code to a temporary directory that is removed after the call: nothing in it is used twice."""
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as directory, _lock(Path(directory)):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = directory
        try:
            yield
        finally:
            os.environ.pop("TORCHINDUCTOR_CACHE_DIR")
            if before is not None:
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = before


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Hold a lock on a directory, which the system releases when this process is killed.

    Raises:
        BlockingIOError: another process holds it.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_what_was_left_behind() -> None:
    """Remove the scratch directories of processes that were killed."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            if time.time() - directory.stat().st_mtime > _YOUNG_SECONDS:  # younger ones may not be locked yet
                with _lock(directory):
                    shutil.rmtree(directory, ignore_errors=True)
        except OSError:
            continue  # in use, somebody else's, or gone
