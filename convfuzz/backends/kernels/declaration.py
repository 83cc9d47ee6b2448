"""What the author of a kernel declares of it: ``@convfuzz.backend``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import FLOATING
from convfuzz.errors import InvalidConfig
from convfuzz.judging.numerics import Numerics

Kernel = Callable[..., Any]
AnyKernel = TypeVar("AnyKernel", bound=Kernel)
_ATTRIBUTE = "__convfuzz_declaration__"


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
