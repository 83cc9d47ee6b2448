"""What the author of a kernel declares of it: ``@convfuzz.backend``."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, Never, SupportsFloat, TypeVar

from convfuzz.backends.kernels.axes import dims_of_axes
from convfuzz.backends.kernels.buffers import require_buffers
from convfuzz.backends.kernels.environment import required_environment, required_flag
from convfuzz.case import Case
from convfuzz.case.arguments import one_of, some_of
from convfuzz.case.config import DTYPES, OPS, ConvConfig
from convfuzz.case.domain import Domain
from convfuzz.case.domain.declared import GroupKind, Padding, PerAxis
from convfuzz.case.dtypes import FLOATING
from convfuzz.errors import CaseSyntaxError, InvalidConfig, closest
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.guards import DEFAULT_ALIGNMENT, BufferNeeds

Kernel = Callable[..., Any]
AnyKernel = TypeVar("AnyKernel", bound=Kernel)
_ATTRIBUTE = "__convfuzz_declaration__"
_DEVICE = re.compile(r"[a-z]+(:\d+)?")


@dataclass(frozen=True)
class Declaration:
    """What ``@convfuzz.backend`` says of a kernel.

    Raises:
        InvalidConfig: an option is none of its allowed values; the message has both, and what to write.
    """

    tensors: Literal["numpy", "torch", "tensorflow"] = "numpy"
    device: str = "cpu"
    ops: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] = tuple(FLOATING)
    dims: tuple[int, ...] | None = None
    supports: Callable[[ConvConfig], str | bool | None] | None = None
    numerics: Numerics | Callable[[ConvConfig], Numerics] = field(default_factory=Numerics)
    gradients: Callable[..., Sequence[Any]] | bool = True
    out: bool | Literal["strided"] = False
    rejects_invalid: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    share: float = 1.0
    layouts: Collection[str] | None = None
    batches: Collection[int | None] | None = None
    channel_multiple: int = 1
    groups: Collection[GroupKind] | None = None
    kernel_sizes: Collection[PerAxis] | None = None
    strides: Collection[PerAxis] | None = None
    dilations: Collection[PerAxis] | None = None
    paddings: Collection[Padding] | None = None
    padding_modes: Collection[str] | None = None
    bias: Collection[bool] | None = None
    examples: Collection[str] = ()
    layout: str | None = None
    weight_layout: str | None = None
    alignment: int | None = None
    extra_bytes: int = 0
    guards: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    own_process: bool = False
    compile: Callable[[ConvConfig], Any] | None = None
    compile_timeout: float = 60.0

    def __post_init__(self) -> None:
        for name, allowed in (("ops", OPS), ("dtypes", DTYPES), ("dims", (1, 2, 3))):
            if getattr(self, name) is not None or name == "dtypes":
                object.__setattr__(self, name, some_of(name, getattr(self, name), allowed))
        require_buffers(self.out, self.alignment, self.extra_bytes)
        object.__setattr__(self, "dims", dims_of_axes(self.layout, self.weight_layout, self.dims))
        for name in ("rejects_invalid", "guards"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidConfig(f"{name}={getattr(self, name)!r} is not True or False")
        object.__setattr__(self, "environment", required_environment(self.environment))
        required_flag(self.own_process)
        self._require_tensors()
        self._require_functions()
        if not isinstance(self.versions, Mapping) or not all(isinstance(text, str) for pair in self.versions.items() for text in pair):
            raise InvalidConfig(f"versions={self.versions!r} is not a mapping of names to texts, such as {{'triton': '3.2.0'}}")
        if isinstance(self.share, bool | str) or not isinstance(self.share, SupportsFloat) or not 0 < float(self.share) <= 1:
            raise InvalidConfig(f"share={self.share!r} is not above 0 and at most 1")
        object.__setattr__(self, "share", float(self.share))
        _ = self.domain  # for its checks

    def _require_tensors(self) -> None:
        one_of("tensors", self.tensors, ("numpy", "torch", "tensorflow"))
        if self.out and self.tensors == "tensorflow":
            raise InvalidConfig(f"out={self.out!r} with tensors='tensorflow': its tensors cannot be written to")
        object.__setattr__(self, "device", str(self.device))  # a torch.device prints as its name
        if not _DEVICE.fullmatch(self.device):
            raise InvalidConfig(f"device={self.device!r} is not the name of a device, such as 'cpu', 'cuda' or 'cuda:1'")
        if self.device != "cpu" and self.tensors != "torch":
            raise InvalidConfig(
                f"device={self.device!r} with tensors={self.tensors!r}: only torch tensors are moved; tensors='torch' does it"
            )

    def _require_functions(self) -> None:
        """Refuse what is said in place of a function: a plain yes, a text, a result."""
        if self.supports is not None and not callable(self.supports):
            raise InvalidConfig(
                f"supports={self.supports!r} is not a function of the configuration, such as supports=lambda config: config.groups == 1; "
                "a kernel without further limits leaves it out"
            )
        if not isinstance(self.numerics, Numerics) and not callable(self.numerics):
            raise InvalidConfig(
                f"numerics={self.numerics!r} is neither a convfuzz.Numerics nor a function of the configuration that returns one, "
                "such as numerics=convfuzz.Numerics(inputs='tfloat32')"
            )
        if self.compile is not None and not callable(self.compile):
            raise InvalidConfig(
                f"compile={self.compile!r} is not a function of the configuration; what it returns is the kernel's argument 'compiled'"
            )
        seconds: Any = self.compile_timeout
        if isinstance(seconds, bool | str) or not isinstance(seconds, SupportsFloat) or not float(seconds) > 0:
            raise InvalidConfig(f"compile_timeout={seconds!r} is not a number of seconds above 0")
        object.__setattr__(self, "compile_timeout", float(seconds))
        if not isinstance(self.gradients, bool) and not callable(self.gradients):
            raise InvalidConfig(f"gradients={self.gradients!r} is neither a function gradients(x, w, b, dy, config) nor True nor False")

    @cached_property
    def domain(self) -> Domain:
        """What the options say that the kernel computes.

        Raises:
            InvalidConfig: an option is none of its allowed values, or an example is no case or is declined by the other options.
        """
        options = {name: getattr(self, name) for name in _OF_DOMAIN}
        domain = Domain(**options, takes_invalid=self.rejects_invalid)
        return replace(domain, examples=_examples(self.examples, domain))

    @property
    def buffer_needs(self) -> BufferNeeds | None:
        """What its operands' buffers need; ``None`` where they are not guarded: on a device, as a framework's copies, or as declared."""
        if not self.guards or self.device != "cpu" or self.tensors == "tensorflow":
            return None
        return BufferNeeds(DEFAULT_ALIGNMENT if self.alignment is None else self.alignment, self.extra_bytes)

    @property
    def runs_elsewhere(self) -> bool:
        """Whether the kernel is called in a process of its own, which an environment implies."""
        return self.own_process or bool(self.environment)

    @property
    def is_narrow(self) -> bool:
        """Whether anything is said of what the kernel computes beyond being a convolution on floating-point numbers."""
        plain = Domain(dtypes=FLOATING)
        own = {name: getattr(self.domain, name) for name in _OF_DOMAIN if name != "dtypes"}
        return set(self.dtypes) != set(FLOATING) or bool(self.examples) or any(value != getattr(plain, n) for n, value in own.items())


_OF_DOMAIN = (
    "ops", "dims", "dtypes", "layouts", "batches", "channel_multiple", "groups", "kernel_sizes", "strides", "dilations", "paddings",
    "padding_modes", "bias", "supports",
)  # fmt: skip
"""The options that say what a kernel computes."""


def _examples(lines: Collection[str], domain: Domain) -> tuple[ConvConfig, ...]:
    """Read the examples of a domain.

    Raises:
        InvalidConfig: one is no case, or is outside the domain.
    """
    if isinstance(lines, str) or not isinstance(lines, Collection):
        raise InvalidConfig(f"examples={lines!r} is not a list of cases, such as ['conv1d_c8_o8_g8_i16_k4_p3:0_f32']")
    configs = []
    for line in lines:
        try:
            config = Case.parse(line).config
        except CaseSyntaxError as error:
            raise InvalidConfig(f"examples={lines!r}: {error}") from None
        try:
            reason = domain.declines(config)
        except Exception:  # noqa: BLE001 - the author's function may need what its module defines further down
            reason = ""
        if reason:
            raise InvalidConfig(f"examples={lines!r}: the other options decline {line}: {reason}")
        configs.append(config)
    return tuple(configs)


def backend(  # noqa: PLR0913, D417 - what must not be given has no description; each is an option of its own
    *kernel: Never,
    tensors: Literal["numpy", "torch", "tensorflow"] = "numpy",
    device: str = "cpu",
    ops: tuple[str, ...] | None = None,
    dtypes: tuple[str, ...] = FLOATING,
    dims: tuple[int, ...] | None = None,
    supports: Callable[[ConvConfig], str | bool | None] | None = None,
    numerics: Numerics | Callable[[ConvConfig], Numerics] | None = None,
    gradients: Callable[..., Sequence[Any]] | bool = True,
    out: bool | Literal["strided"] = False,
    rejects_invalid: bool = False,
    versions: Mapping[str, str] | None = None,
    share: float = 1.0,
    layouts: Collection[str] | None = None,
    batches: Collection[int | None] | None = None,
    channel_multiple: int = 1,
    groups: Collection[GroupKind] | None = None,
    kernel_sizes: Collection[PerAxis] | None = None,
    strides: Collection[PerAxis] | None = None,
    dilations: Collection[PerAxis] | None = None,
    paddings: Collection[Padding] | None = None,
    padding_modes: Collection[str] | None = None,
    bias: Collection[bool] | None = None,
    examples: Collection[str] = (),
    layout: str | None = None,
    weight_layout: str | None = None,
    alignment: int | None = None,
    extra_bytes: int = 0,
    guards: bool = True,
    environment: Mapping[str, str] | None = None,
    own_process: bool = False,
    compile: Callable[[ConvConfig], Any] | None = None,  # noqa: A002 - what it does
    compile_timeout: float = 60.0,
    **unknown: Never,
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
            reason to decline. It is asked about thousands of configurations before the first case, so that it should be quick.
        numerics: the arithmetic it declares, as a value or per configuration; see :class:`convfuzz.Numerics`.
        gradients: a function ``gradients(x, w, b, dy, config)`` that returns the gradients of Σ y·dy to x and w, and to b where
            there is one. Without it those of a kernel on torch tensors are autograd's, where its result is differentiable;
            ``False`` leaves them out.
        out: call it as ``kernel(x, w, b, config, out)`` with an output array full of NaN that it has to fill: contiguous, or with
            ``"strided"`` in the case's memory layout.
        rejects_invalid: hand it invalid configurations too, which it must reject by raising.
        versions: versions to show in the report.
        share: the part of a campaign's configurations that a slow kernel runs, above 0 and at most 1: 0.05 is one in 20.
        layouts: the memory layouts of input and weight.
        batches: the batch sizes it computes, ``None`` for an unbatched input.
        channel_multiple: what the numbers of input and of output channels have to be multiples of.
        groups: ``"none"``, ``"depthwise"``, or numbers of groups.
        kernel_sizes: the kernel sizes: a number for all axes, or a tuple with one for each.
        strides: the strides, likewise.
        dilations: the dilations, likewise.
        paddings: a number for all sides, ``(lo, hi)`` for all axes, ``"same"`` or ``"valid"`` as the parameter, ``"half"`` of the
            dilated kernel on both sides, or ``"causal"``, all but one of it on the low side.
        padding_modes: the padding modes it computes.
        bias: ``(False,)`` without a bias only, ``(True,)`` with one only.
        examples: cases that it computes, in their one-line form, for a domain so rare that no search finds it.
        layout: the order of the axes of input and output, such as ``"NHWC"``, or ``"N...C"`` for any number of dimensions. It is
            handed ``x`` and ``out`` like that, and returns its result and the gradient to the input so; memory layouts are then those
            of these arrays.
        weight_layout: the order of the weight's axes, such as ``"HWIO"`` or ``"O...I"``: O are the output channels and I the input
            channels, of a transposed convolution too, for which PyTorch's own order is ``"IOHW"``.
        alignment: the operands begin at multiples of so many bytes, a power of two up to 4096; memory layouts in which they cannot are
            declined. By default their buffers are aligned to 16 bytes, as malloc has it. With 1 they are aligned as their elements
            are, and so end exactly where a guard page begins.
        extra_bytes: how many bytes behind each operand may be read, as kernels do that read whole vectors.
        guards: whether its operands and output lie against guard pages and between canaries; see ``docs/c-kernels.md``.
        environment: the environment variables that have to be set when the kernel's module is imported, such as
            ``{"TRITON_INTERPRET": "1"}``. They imply a process of its own, and are read from the text of the file: a constant.
        own_process: call it in a process of its own, since its framework does not bear others beside it.
        compile: a function of the configuration, called once for each; what it returns is the kernel's argument ``compiled``. Its time
            is counted apart from the kernel's.
        compile_timeout: the seconds that ``compile`` may take, whatever limit a call has.

    What is said of the domain is what cases are drawn from; see ``docs/kernels.md``. ``None`` leaves a parameter open.

    Raises:
        InvalidConfig: an option is unknown, or is none of its allowed values; the message has both, and the closest.
    """
    if kernel:
        raise InvalidConfig(f"@convfuzz.backend got {kernel[0]!r}: write its options in parentheses, or @convfuzz.backend() without any")
    given: dict[str, Any] = unknown
    for name, value in given.items():
        names = [option.name for option in fields(Declaration)]
        raise InvalidConfig(f"{name}={value!r} is no option of @convfuzz.backend: expected {', '.join(names)}{closest(name, names)}")
    declaration = Declaration(
        tensors,
        device,
        ops,
        dtypes,
        dims,
        supports,
        Numerics() if numerics is None else numerics,
        gradients,
        out,
        rejects_invalid,
        {} if versions is None else versions,
        share,
        layouts=layouts,
        batches=batches,
        channel_multiple=channel_multiple,
        groups=groups,
        kernel_sizes=kernel_sizes,
        strides=strides,
        dilations=dilations,
        paddings=paddings,
        padding_modes=padding_modes,
        bias=bias,
        examples=examples,
        layout=layout,
        weight_layout=weight_layout,
        alignment=alignment,
        extra_bytes=extra_bytes,
        guards=guards,
        environment={} if environment is None else environment,
        own_process=own_process,
        compile=compile,
        compile_timeout=compile_timeout,
    )

    def declare(kernel: AnyKernel) -> AnyKernel:
        if not callable(kernel):
            raise InvalidConfig(f"@convfuzz.backend is for a function kernel(x, w, b, config), not for {kernel!r}")
        setattr(kernel, _ATTRIBUTE, declaration)
        return kernel

    return declare
