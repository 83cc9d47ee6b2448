"""What a kernel refuses where it is called: asked with operands that have a shape and no numbers, so that nothing is computed.

A kernel that raises :class:`~convfuzz.Unsupported` before it reads its operands says as much as a predicate does. It is called
with the configuration that is asked about and with operands that end the call where they are read, which stands for yes: what is
refused later than that is met by the cases alone. Only a kernel is called so whose code, or that of the functions it calls, names
``Unsupported``.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, Never

import numpy as np

from convfuzz.backends.arrays import to_torch
from convfuzz.backends.kernels.axes import axes_of
from convfuzz.backends.kernels.declaration import Declaration, Kernel
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import numpy_dtype
from convfuzz.errors import Unsupported

MOST_QUESTIONS = 2000
"""How often a search calls a kernel at most: a call may take far longer than a predicate, such as one that builds something first."""
_MOST_FUNCTIONS = 200


class _Read(BaseException):
    """Ends a call where an operand is read; no handler of a kernel's own takes it."""


class Unread:
    """An operand that has a shape and a dtype, and ends the call where anything else of it is read.

    What only converts it gives itself, so that a kernel may do that before it refuses.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str, tensors: str) -> None:
        self._shape, self._dtype, self._tensors = shape, dtype, tensors

    @property
    def shape(self) -> tuple[int, ...]:
        """As the operand's."""
        return self._shape

    @property
    def ndim(self) -> int:
        """As the operand's."""
        return len(self._shape)

    @property
    def dtype(self) -> Any:
        """NumPy's dtype, or PyTorch's for a kernel on its tensors."""
        empty = np.empty(0, numpy_dtype(self._dtype))
        if self._tensors == "tensorflow":
            raise _Read
        return to_torch(empty).dtype if self._tensors == "torch" else empty.dtype

    @property
    def size(self) -> Any:
        """NumPy's number of elements; PyTorch's function of an axis."""
        if self._tensors == "numpy":
            return int(np.prod(self._shape, dtype=np.int64))
        return lambda axis=None: self._shape if axis is None else self._shape[axis]

    def dim(self) -> int:
        """As PyTorch's."""
        return len(self._shape)

    def __len__(self) -> int:
        return self._shape[0]

    def _converted(self, *_: object, **__: object) -> Unread:
        return self

    astype = copy = contiguous = detach = clone = cpu = to = float = double = half = bfloat16 = _converted

    def _end(self, *_: object, **__: object) -> Never:
        raise _Read

    __array__ = __getitem__ = __setitem__ = __iter__ = __bool__ = __int__ = __float__ = _end

    def __getattr__(self, name: str) -> Never:
        raise _Read


class _UnreadArray(Unread):
    """One that a kernel takes for an array."""

    @property  # type: ignore[misc] # what isinstance asks where the type is another
    def __class__(self) -> Any:
        return np.ndarray


def names_unsupported(kernel: Kernel) -> bool:
    """Whether the code of a kernel, or of a function that it calls, names ``Unsupported``."""
    waiting, seen = [_function(kernel)], set[FunctionType]()
    while waiting and len(seen) < _MOST_FUNCTIONS:
        function = waiting.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        for name in _names(function.__code__):
            value = function.__globals__.get(name)
            if name == "Unsupported" or (isinstance(value, type) and issubclass(value, Unsupported)):
                return True
            waiting += _functions(value, function.__code__)
        waiting += [_function(cell.cell_contents) for cell in function.__closure__ or () if _is_filled(cell)]
        waiting.append(_function(getattr(function, "__wrapped__", None)))
    return False


def refusal(kernel: Kernel, declared: Declaration, config: ConvConfig) -> str:
    """Say why ``kernel`` refuses ``config`` before it reads its operands; empty where it reads them, or fails in another way."""
    shapes = {"x": config.input_shape, "w": config.weight_shape}
    for name, order in axes_of(config, declared.layout, declared.weight_layout).items():
        if name in shapes:
            shapes[name] = tuple(shapes[name][axis] for axis in order)
    kind = _UnreadArray if declared.tensors == "numpy" else Unread
    x, w, out = (kind(shape, config.dtype, declared.tensors) for shape in (*shapes.values(), config.output_shape))
    b = kind((config.out_channels,), config.dtype, declared.tensors) if config.bias else None
    compiled = {} if declared.compile is None else {"compiled": out}
    try:
        kernel(x, w, b, config, *([out] if declared.out else []), **compiled)
    except Unsupported as error:
        return str(error) or "refused by the kernel"
    except (_Read, Exception, SystemExit):  # noqa: BLE001 - it computes the layer, or fails where a case shows it
        return ""
    return ""


def _function(value: object) -> FunctionType | None:
    if not isinstance(value, FunctionType):
        value = getattr(value, "__func__", None) or vars(type(value)).get("__call__")
    return value if isinstance(value, FunctionType) else None


def _functions(value: object, code: CodeType) -> Iterator[FunctionType | None]:
    """Yield what a name stands for where that is a function, or a module with functions that the code names too."""
    if isinstance(value, ModuleType):
        yield from (_function(vars(value).get(name)) for name in code.co_names)
    elif isinstance(value, FunctionType):
        yield value


def _names(code: CodeType) -> Iterator[str]:
    """Yield the global names and the attributes of a function, and of those defined within."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True
