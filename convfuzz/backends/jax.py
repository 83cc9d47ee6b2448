"""JAX: ``lax.conv_general_dilated`` and ``lax.conv_transpose``, operation by operation or compiled as one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from convfuzz.backends.arrays import to_numpy
from convfuzz.backends.compile_cache import Compiled
from convfuzz.backends.protocol import Outputs, Support
from convfuzz.backends.registry import Family
from convfuzz.backends.script_parts import arguments, dtype_check, operands
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import is_complex, is_integer
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Tensors

MODES = {
    "": "jax.lax's convolutions, operation by operation; XLA compiles each operation once per shape",
    "jit": "padding, convolution, bias and gradients compiled together by jax.jit",
}
_PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
_SHARE = 1 / 20
_KEPT_SHAPES = 200
"""Compiled shapes that are kept; a shape takes about 6 MB, so that a long campaign has to forget some."""


class JaxBackend:
    """The convolutions of JAX on its CPU device, and their gradients by ``jax.vjp``.

    ``"same"`` and ``"valid"`` reach it as ``"SAME"`` and ``"VALID"``, numbers as pairs, which crop where they are negative;
    other padding modes go through ``jax.numpy.pad`` first. A transposed convolution is ``lax.conv_transpose`` with
    ``transpose_kernel=True``, which is PyTorch's; its padding in numbers is that of the convolution that it is made of,
    dilation·(kernel − 1) less the layer's. Grouped ones, for which ``conv_transpose`` has no argument, are
    ``conv_general_dilated`` with ``lhs_dilation`` and the kernel turned round. The bias is added, which rounds again.
    ``precision`` is left alone: on a CPU every precision is the same. 64-bit types need ``jax_enable_x64``, which is set
    for the whole process.

    Invalid configurations: ``_conv_general_dilated_shape_rule`` (jax/_src/lax/convolution.py) and the verifier of StableHLO
    are the rules. They want strides, dilations and windows above 0, operands of one rank and one dtype, groups that
    divide, and as many strides and pads as there are axes; a kernel larger than the padded input gives an empty output.
    """

    share = _SHARE

    def __init__(self, mode: str) -> None:
        flag = "--xla_cpu_multi_thread_eigen=false"  # counts until JAX computes for the first time
        if flag not in os.environ.get("XLA_FLAGS", ""):
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
        import jax  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz
        import jaxlib  # noqa: PLC0415

        self._jax: Any = jax
        self._jax.config.update("jax_enable_x64", True)  # noqa: FBT003 - its own signature
        self._mode = mode
        self.name = f"jax:{mode}" if mode else "jax"
        self.versions: Mapping[str, str] = {"jax": str(jax.__version__), "jaxlib": str(vars(jaxlib)["__version__"])}
        self._compiled = Compiled(self._make, most=_KEPT_SHAPES, forget=jax.clear_caches)

    def supports(self, case: Case) -> Support:
        """Decline what JAX's documentation excludes, and flaws in what its functions have no argument for."""
        return next((Support.no(reason) for reason, declined in _declined(case) if declined), Support.YES)

    def numerics(self, case: Case) -> Numerics:
        """Direct sums in at least float32, and flushed subnormals; the bias is a second rounding.

        XLA's CPU client flushes subnormals while it executes (``ScopedFlushDenormal`` in xla/pjrt/cpu/cpu_client.cc); those of
        float16 are normal numbers in float32. Complex products are three real ones (``_complex_mul`` in
        jax/_src/lax/convolution.py). The gradients of a bias that was broadcast and of an input that ``jax.numpy.pad`` copied
        are sums of their own, in the operands' dtype (XLA's ``Reduce`` and ``Add`` compute in the type they are given).
        """
        config = case.config
        flushes, narrow = config.dtype != "float16", config.dtype in ("float16", "bfloat16")
        own = Numerics(accumulator=config.dtype, bias="separate", flushes_subnormals=flushes) if narrow else None
        sums = own if config.bias or config.padding_mode != "zeros" else None
        return Numerics(bias="separate", flushes_subnormals=flushes, complex_products="three", gradients=sums)

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Convolve arrays of the case's dtype; the vector-Jacobian product gives the gradients."""
        jax = self._jax
        computed = self._compiled.of(case.config, grad=tensors.dy is not None)
        with jax.default_device(jax.devices("cpu")[0]):
            x, w, b, dy = (None if a is None else jax.numpy.asarray(a) for a in (tensors.x, tensors.w, tensors.b, tensors.dy))
            results = computed(x, w, b, dy)
            return dict(zip(case.passes, map(to_numpy, results), strict=True))

    def _make(self, config: ConvConfig, grad: bool) -> Any:  # noqa: FBT001 - as Compiled calls it
        jax, call = self._jax, _Call(config)

        def layer(x: Any, w: Any, b: Any = None) -> Any:
            return call.layer(jax, x, w, b)

        def forward(x: Any, w: Any, b: Any, _: Any) -> tuple[Any, ...]:
            return (layer(x, w, b),)

        def both(x: Any, w: Any, b: Any, dy: Any) -> tuple[Any, ...]:
            y, vjp = jax.vjp(layer, *((x, w) if b is None else (x, w, b)))
            # JAX does not conjugate where it transposes: PyTorch's gradient Aᴴ·dy is the conjugate of Aᵀ·conj(dy).
            return y, *(gradient.conj() for gradient in vjp(dy.conj()))

        passes = both if grad else forward
        return jax.jit(passes) if self._mode == "jit" else passes

    def title(self, case: Case) -> str:
        """Name the function."""
        return f"jax.lax.{_Call(case.config).function}"

    def script(self, case: Case) -> str:
        """Write the same call down."""
        config, call = case.config, _Call(case.config)
        leaves = operands(case).removesuffix(", dy")
        conj = ".conj()" if is_complex(config.dtype) else ""
        array = ".astype(jnp.float32)" if config.dtype == "bfloat16" else ""
        names = arguments(case)
        lines = [
            "import os",
            "",
            'os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"',
            "import jax",
            "import jax.numpy as jnp",
            "from jax import lax",
            "",
            'jax.config.update("jax_enable_x64", True)',
            'jax.config.update("jax_default_device", jax.devices("cpu")[0])',
            "",
            "",
            *([_TENSOR_OF_BITS] if config.dtype == "bfloat16" else []),
            "def convolve(x, w, b=None):",
            *(f"    {line}" for line in call.lines(bias=config.bias)),
            "    return y",
            "",
            "",
        ]
        if case.grad:
            lines += [
                *(["@jax.jit"] if self._mode == "jit" else []),
                f"def passes({leaves}, dy):",
                f"    y, vjp = jax.vjp(convolve, {leaves})",
                f"    return y, *{f'(a{conj} for a in vjp(dy{conj}))' if conj else 'vjp(dy)'}",
                "",
                "",
            ]
        elif self._mode == "jit":
            lines += ["convolve = jax.jit(convolve)", "", ""]
        tensor = "tensor" if config.dtype == "bfloat16" else "jnp.asarray"
        lines += [f"def run({names}):", f"    {operands(case)} = map({tensor}, ({operands(case)}))"]
        lines.append(f"    y, *gradients = passes({leaves}, dy)" if case.grad else f"    y = convolve({leaves})")
        lines += [f"    {line}" for line in dtype_check(case, "jnp")]
        if case.grad:
            lines += [f"    names = {case.passes}", f"    return {{name: np.array(a{array}) for name, a in zip(names, (y, *gradients))}}"]
        else:
            lines.append(f"    return np.array(y{array})")
        return "\n".join(lines) + "\n"


_TENSOR_OF_BITS = '''\
def tensor(a):
    """Return an array of JAX's of one that holds bfloat16 as bits."""
    return jnp.asarray(a.view(jnp.bfloat16) if a.dtype == np.uint16 else a)

'''


def _declined(case: Case) -> Iterator[tuple[str, bool]]:
    config = case.config
    yield "gradients of integers", is_integer(config.dtype) and case.grad
    yield "an unbatched input: jax.lax wants a batch axis", config.batch is None
    if config.is_valid:
        return
    grouped = config.op == "conv_transpose" and config.groups != 1
    yield "a transposed convolution has no argument for groups, which are the caller's own rearrangement", grouped
    yield "the bias is an addition of the caller's own, which broadcasts", (config.flaw or "").startswith("bias")
    yield "there is no argument for output_padding", config.flaw == "output-length" or _misplaces_output_padding(config)
    yield "padding is a word, which has no length", config.flaw == "padding-length" and isinstance(config.padding, str)
    yield "padding modes are jax.numpy.pad's, which repeats as often as it takes", config.padding_mode != "zeros"
    yield "padding that crops more than the input has: the other side's comes first", _crops_all(config)


def _crops_all(config: ConvConfig) -> bool:
    axes = zip(config.input_size, config.pads, strict=True)
    return any(min(lo, hi) < -size or size + min(lo, 0) + min(hi, 0) < 0 for size, (lo, hi) in axes)


def _misplaces_output_padding(config: ConvConfig) -> bool:
    if config.op == "conv" or config.padding == "same":
        return any(config.output_padding)
    limits = map(max, config.stride, config.dilation)
    return any(extra < 0 or extra >= max(limit, 1) for extra, limit in zip(config.output_padding, limits, strict=True))


class _Call:
    """Which function is called, with which arguments, and what has to be done around it."""

    def __init__(self, config: ConvConfig) -> None:
        axes = "DHW"[-config.dims :]
        self.spatial = tuple(range(2, config.dims + 2))
        self.pad: tuple[tuple[int, int], ...] | None = None
        self.pad_mode = ""
        stride, dilation = config.as_called("stride", config.stride), config.as_called("dilation", config.dilation)
        padding: Any = config.padding
        self.regrouped: tuple[tuple[int, ...], tuple[int, ...]] | None = None
        if config.op == "conv_transpose" and config.groups != 1:
            rows, columns, *kernel = config.weight_shape
            apart = (config.groups, rows // config.groups, columns, *kernel)
            self.regrouped = apart, (config.groups * columns, rows // config.groups, *kernel)
        if config.op == "conv_transpose" and not (padding == "same" and config.groups == 1):
            padding = "valid" if _is_valid_padding(config) else _inner_padding(config)
        elif config.padding_mode != "zeros":
            self.pad, self.pad_mode = ((0, 0), (0, 0), *config.pads), _PAD_MODES[config.padding_mode]
            padding = "valid"
        padding = padding.upper() if isinstance(padding, str) else config.as_called("padding", padding)
        self.function = "conv_general_dilated"
        self.arguments: dict[str, Any]
        if self.regrouped is not None:
            self.arguments = {"window_strides": (1,) * config.dims, "padding": padding, "lhs_dilation": stride}
        elif config.op == "conv_transpose":
            self.function = "conv_transpose"
            numbers = (f"NC{axes}", f"OI{axes}", f"NC{axes}")
            self.arguments = {"strides": stride, "padding": padding, "dimension_numbers": numbers, "transpose_kernel": True}
        else:
            self.arguments = {"window_strides": stride, "padding": padding}
        self.arguments["rhs_dilation"] = dilation
        if config.groups != 1:
            self.arguments["feature_group_count"] = config.groups

    def layer(self, jax: Any, x: Any, w: Any, b: Any) -> Any:
        """Return the layer's output; what :meth:`lines` write down."""
        if self.pad is not None:
            x = jax.numpy.pad(x, self.pad, mode=self.pad_mode)
        if self.regrouped is not None:
            apart, together = self.regrouped
            w = jax.numpy.flip(w.reshape(apart).swapaxes(1, 2).reshape(together), self.spatial)
        y = getattr(jax.lax, self.function)(x, w, **self.arguments)
        return y if b is None else y + b.reshape(-1, *[1] * len(self.spatial))

    def lines(self, *, bias: bool) -> Iterator[str]:
        """Yield the same as source."""
        if self.pad is not None:
            yield f"x = jnp.pad(x, {self.pad}, mode={self.pad_mode!r})"
        if self.regrouped is not None:
            apart, together = self.regrouped
            yield f"w = jnp.flip(w.reshape({apart}).swapaxes(1, 2).reshape({together}), {self.spatial})"
        yield f"y = lax.{self.function}(x, w, {', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"
        if bias:
            yield f"y = y + b.reshape(-1{', 1' * len(self.spatial)})"


def _is_valid_padding(config: ConvConfig) -> bool:
    """Whether a transposed convolution's padding is what VALID means: none, and an output that covers its strides."""
    if config.groups != 1 or any(map(any, config.pads)) or config.flaw == "padding-length":
        return False
    axes = zip(config.output_padding, config.stride, config.effective_kernel, strict=True)
    return all(extra == max(stride - extent, 0) for extra, stride, extent in axes)


def _inner_padding(config: ConvConfig) -> tuple[tuple[int, int], ...]:
    """Return the padding of the convolution of the spread-out input that a transposed convolution is."""
    axes = zip(config.effective_kernel, config.pads, config.output_padding, strict=True)
    return tuple((extent - 1 - lo, extent - 1 - hi + extra) for extent, (lo, hi), extra in axes)


def _load(mode: str) -> JaxBackend:
    return JaxBackend(mode)


def _preload(mode: str) -> None:
    del mode
    import jax  # noqa: F401, PLC0415 - that is what preloading is; threads start when it computes for the first time


FAMILY = Family(summary="JAX's convolutions on a CPU", modes=MODES, load=_load, extra="jax", preload=_preload)
