"""A function in C or C++ as a kernel: built where it is source, loaded with ctypes, and handed pointers and a description of the layer."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from convfuzz.backends.kernels.axes import axes_of, inverse
from convfuzz.backends.kernels.declaration import Kernel, backend
from convfuzz.case.config import ConvConfig
from convfuzz.errors import BackendError, InvalidConfig
from convfuzz.tensors.generator import Array

_LIBRARIES = (".so", ".dylib")
_CPP = (".cc", ".cpp", ".cxx")
_SECONDS = 300
_MOST_SHOWN = 2000
_AXES = 3

HEADER = """\
#ifndef CONVFUZZ_LAYER_H
#define CONVFUZZ_LAYER_H
#include <stdint.h>

/* One layer. Axes are depth, height, width: of one or two dimensions the first ones have size 1, stride 1 and no padding.
   Strides of arrays are in elements, for the axes N, C, D, H, W of x and y, and O, I, D, H, W of w (transposed: I, O, D, H, W),
   whatever the order in which they lie. An axis that an array does not have has stride 0. */
struct convfuzz_layer {
    int64_t transposed;                          /* 0, or 1 for a transposed convolution */
    int64_t dims, batch, in_channels, out_channels, groups;
    int64_t input_size[3], kernel_size[3], output_size[3];
    int64_t stride[3], dilation[3], padding_low[3], padding_high[3], output_padding[3];
    int64_t x_stride[5], w_stride[5], y_stride[5], b_stride;
};
#endif
"""
"""``convfuzz_layer.h``, which a source may include."""


class _Layer(ctypes.Structure):
    """``struct convfuzz_layer``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("transposed", "dims", "batch", "in_channels", "out_channels", "groups")),
        *(
            (name, ctypes.c_int64 * _AXES)
            for name in (
                "input_size", "kernel_size", "output_size", "stride", "dilation", "padding_low", "padding_high", "output_padding",
            )
        ),
        *((name, ctypes.c_int64 * (2 + _AXES)) for name in ("x_stride", "w_stride", "y_stride")),
        ("b_stride", ctypes.c_int64),
    )  # fmt: skip


def c_kernel(
    source: str | os.PathLike[str],
    symbol: str,
    *,
    flags: Sequence[str] = ("-O2",),
    compiler: str | None = None,
    status: bool = False,
    **options: Any,
) -> Kernel:
    """Return the function ``symbol`` of a C library as a kernel; it is built first where ``source`` is source.

    The function is ``void symbol(const T *x, const T *w, const T *b, T *y, const struct convfuzz_layer *layer)``, with the struct of
    ``convfuzz_layer.h``, which source may include. ``b`` is ``NULL`` where there is no bias; every array is contiguous and aligned as
    its elements are, unless ``layouts`` and ``alignment`` say otherwise; ``y`` is full of NaN.

    Args:
        source: a shared library, a file of C or C++, relative to the file that calls this, or the text of a C source.
        symbol: the name of the function.
        flags: the compiler's options beside those for a shared library.
        compiler: the compiler; by default ``$CC`` or ``cc``, for C++ ``$CXX`` or ``c++``.
        status: whether the function returns an ``int``, and anything but 0 is a failure.
        options: those of :func:`convfuzz.backend`, which say what it computes. By default these are forward convolutions in float32
            with zeros as padding, contiguous.

    Raises:
        BackendError: there is no compiler, it refuses the source, or the library cannot be loaded or has no such function.
        InvalidConfig: an option is none of its allowed values, or there is no such file.
    """
    caller = sys._getframe(1).f_globals  # noqa: SLF001 - as named tuples do, so that the kernel is found by its module
    library = _library(source, Path(caller.get("__file__") or "").parent, tuple(flags), compiler)
    function = _function(library, symbol, status=status)

    orders = {"layout": options.get("layout"), "weight_layout": options.get("weight_layout")}

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig, out: Array) -> None:
        returned = function(_pointer(x), _pointer(w), _pointer(b), _pointer(out), ctypes.byref(_layer(config, x, w, b, out, orders)))
        if status and returned:
            raise RuntimeError(f"{symbol} returned {returned}")

    kernel.__name__ = kernel.__qualname__ = symbol
    kernel.__module__ = caller.get("__name__", kernel.__module__)
    for given, values in (("tensors", ("numpy",)), ("device", ("cpu",)), ("out", (True, "strided"))):
        if options.get(given, values[0]) not in values:
            raise InvalidConfig(f"{given}={options[given]!r} is no option of convfuzz.c_kernel, which hands over NumPy's memory")
    defaults: dict[str, Any] = {
        "ops": ("conv",), "dtypes": ("float32",), "padding_modes": ("zeros",), "layouts": ("contiguous",), "out": True, "alignment": 1,
    }  # fmt: skip
    return backend(**defaults | options)(kernel)


def _pointer(array: Array | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.__array_interface__["data"][0])


def _layer(config: ConvConfig, x: Array, w: Array, b: Array | None, y: Array, orders: Mapping[str, str | None]) -> _Layer:
    filled = _AXES - config.dims
    pads = tuple(config.pads)
    each: dict[str, tuple[tuple[int, ...], int]] = {
        "input_size": (config.input_size, 1),
        "kernel_size": (config.kernel_size, 1),
        "output_size": (tuple(config.output_size), 1),
        "stride": (config.stride, 1),
        "dilation": (config.dilation, 1),
        "padding_low": (tuple(low for low, _ in pads), 0),
        "padding_high": (tuple(high for _, high in pads), 0),
        "output_padding": (config.output_padding, 0),
    }
    layer = _Layer(
        int(config.op == "conv_transpose"),
        config.dims,
        1 if config.batch is None else config.batch,
        config.in_channels,
        config.out_channels,
        config.groups,
    )
    for name, (values, missing) in each.items():
        getattr(layer, name)[:] = (*((missing,) * filled), *values)
    axes = axes_of(config, orders["layout"], orders["weight_layout"])
    for name, array, order in (("x_stride", x, axes.get("x")), ("w_stride", w, axes.get("w")), ("y_stride", y, axes.get("dy"))):
        strides = [stride // array.itemsize for stride in (array if order is None else array.transpose(inverse(order))).strides]
        leading = strides[: array.ndim - config.dims]
        getattr(layer, name)[:] = (*((0,) * (2 - len(leading))), *leading, *((0,) * filled), *strides[array.ndim - config.dims :])
    layer.b_stride = 0 if b is None else b.strides[0] // b.itemsize
    return layer


def _function(library: Path, symbol: str, *, status: bool) -> Callable[..., int | None]:
    try:
        function = getattr(ctypes.CDLL(str(library)), symbol)
    except OSError as error:
        raise BackendError(f"{library} cannot be loaded: {error}") from error
    except AttributeError:
        raise BackendError(f'{library} has no function {symbol!r}; one in C++ is declared extern "C", and none may be static') from None
    function.restype = ctypes.c_int if status else None
    function.argtypes = [ctypes.c_void_p] * 5
    return function  # type: ignore[no-any-return]


# -- building -------------------------------------------------------------------------------------------------------------


def _library(source: str | os.PathLike[str], folder: Path, flags: tuple[str, ...], compiler: str | None) -> Path:
    """Return the shared library of a source, which is built unless it has been."""
    text = os.fspath(source)
    if "\n" in text or "{" in text:
        return _built(text, None, flags, compiler)
    path = (folder / text).resolve()
    if not path.is_file():
        raise InvalidConfig(f"source={text!r} is neither a file in {folder.resolve()} nor the text of a C function")
    return path if path.suffix in _LIBRARIES or ".so." in path.name else _built(path.read_text(), path, flags, compiler)


def _built(text: str, path: Path | None, flags: tuple[str, ...], compiler: str | None) -> Path:
    is_cpp = path is not None and path.suffix in _CPP
    variable, usual = ("CXX", "c++") if is_cpp else ("CC", "cc")
    name = compiler or os.environ.get(variable) or usual
    program = shutil.which(name)
    if program is None:
        raise BackendError(
            f"there is no compiler {name!r} on the PATH: install gcc or clang, name one as compiler= or in ${variable}, "
            "or hand over a shared library"
        )
    with tempfile.TemporaryDirectory(prefix="convfuzz-") as scratch:
        Path(scratch, "convfuzz_layer.h").write_text(HEADER)
        file = Path(scratch, f"kernel{path.suffix if path else '.c'}")
        file.write_text(text if path is None else f'#line 1 "{path}"\n{text}')
        arguments = [program, *flags, "-I", scratch, *(["-I", str(path.parent)] if path else []), str(file)]
        whole = _run([*arguments, "-E", "-P"]) + _run([program, "--version"])  # with everything that it includes
        name = hashlib.sha256(repr((program, flags, whole)).encode()).hexdigest()[:32]
        kept = _cache() / f"{name}.so"
        if not kept.is_file():
            built = Path(scratch, "kernel.so")
            _run([*arguments, "-shared", "-fPIC", "-o", str(built)])
            handle, beside = tempfile.mkstemp(dir=kept.parent)
            os.close(handle)
            shutil.copy(built, beside)
            Path(beside).replace(kept)  # in one step: other processes build the same
    return kept


def _cache() -> Path:
    """Return the user's own folder for what was built."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "convfuzz", "c_kernels")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BackendError(f"what is built is kept in {folder}, which cannot be made: {error.strerror}; set XDG_CACHE_HOME") from error
    return folder


def _run(command: list[str]) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False)  # noqa: S603 - the user's compiler
    if ended.returncode:
        raise BackendError(f"{' '.join(command)} fails:\n{ended.stderr[-_MOST_SHOWN:].strip()}")
    return ended.stdout
