"""JAX: ``lax.conv_general_dilated`` and ``lax.conv_transpose``, operation by operation or compiled as one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from convfuzz.backends.arrays import to_numpy
from convfuzz.backends.compile_cache import CallCache
from convfuzz.backends.protocol import Outputs, Support
from convfuzz.backends.registry import Family
from convfuzz.backends.script_parts import arguments, operands, results
from convfuzz.backends.source import BLANK, CallSource, indented, keywords
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
"""How many compiled shapes are kept: a shape takes about 6 MB, so a long campaign has to drop some."""


class JaxBackend:
    """The convolutions of JAX on its CPU device, and their gradients by ``jax.vjp``.

    ``"same"`` and ``"valid"`` are passed as ``"SAME"`` and ``"VALID"``, numbers as pairs, which crop where they are negative;
    other padding modes go through ``jax.numpy.pad`` first. A transposed convolution is ``lax.conv_transpose`` with
    ``transpose_kernel=True``, PyTorch's convention; its padding in numbers is that of the convolution inside it,
    dilation·(kernel − 1) minus the layer's. ``conv_transpose`` has no argument for groups; grouped ones are
    ``conv_general_dilated`` with ``lhs_dilation`` and the kernel flipped. The bias is added afterwards, which rounds again.
    ``precision`` is left alone: on a CPU every precision is the same. 64-bit types need ``jax_enable_x64``, which is set
    for the whole process.

    Invalid configurations: ``_conv_general_dilated_shape_rule`` (jax/_src/lax/convolution.py) and the verifier of StableHLO
    are the rules. They want strides, dilations and windows above 0, operands of one rank and one dtype, groups that
    divide, and as many strides and pads as there are axes; a kernel larger than the padded input gives an empty output.
    """

    share = _SHARE

    def __init__(self, mode: str) -> None:
        flag = "--xla_cpu_multi_thread_eigen=false"  # takes effect only before JAX computes for the first time
        if flag not in os.environ.get("XLA_FLAGS", ""):
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
        self._jax = jax = _imported()
        import jaxlib  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz

        self._jax.config.update("jax_enable_x64", True)  # noqa: FBT003 - its own signature
        self._mode = mode
        self.name = f"jax:{mode}" if mode else "jax"
        self.versions: Mapping[str, str] = {"jax": str(jax.__version__), "jaxlib": str(vars(jaxlib)["__version__"])}
        self._compiled = CallCache(self._make, most=_KEPT_SHAPES, forget=jax.clear_caches)

    def supports(self, case: Case) -> Support:
        """Decline what JAX's documentation excludes, and flaws in arguments that its functions do not have."""
        return next((Support.no(reason) for reason, declined in _declined(case) if declined), Support.YES)

    def numerics(self, case: Case) -> Numerics:
        """Direct sums in at least float32, and flushed subnormals; the bias is a second rounding.

        XLA's CPU client flushes subnormals while it executes (``ScopedFlushDenormal`` in xla/pjrt/cpu/cpu_client.cc); those of
        float16 are normal numbers in float32. Complex products are three real ones (``_complex_mul`` in
        jax/_src/lax/convolution.py). The gradients of a bias that was broadcast and of an input that ``jax.numpy.pad`` copied
        are separate sums, in the operands' dtype (XLA's ``Reduce`` and ``Add`` compute in the type they are given).
        """
        config = case.config
        flushes, narrow = config.dtype != "float16", config.dtype in ("float16", "bfloat16")
        own = Numerics(accumulator=config.dtype, bias="separate", flushes_subnormals=flushes) if narrow else None
        sums = own if config.bias or config.padding_mode != "zeros" else None
        return Numerics(bias="separate", flushes_subnormals=flushes, complex_products="three", gradients=sums)

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Run the call on arrays of the case's dtype; the vector-Jacobian product gives the gradients."""
        with self._jax.default_device(self._jax.devices("cpu")[0]):
            return self._compiled.run(case, tensors)

    def _make(self, case: Case) -> Any:
        jax = self._jax
        given = {"jax": jax, "jnp": jax.numpy, "lax": jax.lax, "tensor": jax.numpy.asarray, "array": to_numpy}
        return self._source(case).function("run", given)

    def _source(self, case: Case) -> CallSource:
        call, names = _Call(case.config), operands(case)
        leaves = names.removesuffix(", dy")
        jit = ["@jax.jit"] if self._mode == "jit" else []
        layer = [f"def convolve({leaves}):", *indented([*call.lines, "return y"])]
        make = f"{names} = map(tensor, ({names}))"
        if not case.grad:
            body = [make, f"y = convolve({leaves})", *results(case)]
            return CallSource([*jit, *layer, *BLANK, f"def run({arguments(case)}):", *indented(body)], call.values)
        # JAX does not conjugate where it transposes: PyTorch's gradient Aᴴ·dy is the conjugate of Aᵀ·conj(dy).
        vjp = "(a.conj() for a in vjp(dy.conj()))" if is_complex(case.config.dtype) else "vjp(dy)"
        passes = [f"def passes({names}):", *indented([f"y, vjp = jax.vjp(convolve, {leaves})", f"return y, *{vjp}"])]
        body = [make, f"y, *gradients = passes({names})", *results(case)]
        return CallSource([*layer, *BLANK, *jit, *passes, *BLANK, f"def run({arguments(case)}):", *indented(body)], call.values)

    def title(self, case: Case) -> str:
        """Name the function."""
        return f"jax.lax.{_Call(case.config).function}"

    def script(self, case: Case) -> str:
        """Return the source that :meth:`run` runs, with JAX's settings."""
        return f"{_SETTINGS}{_conversions(case)}\n\n{self._source(case)}"


_SETTINGS = """\
import os

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
import jax
import jax.numpy as jnp
from jax import lax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_default_device", jax.devices("cpu")[0])
"""
_BFLOAT16_CONVERSIONS = '''

def tensor(a):
    """Return an array of JAX's of one that holds bfloat16 as bits."""
    return jnp.asarray(a.view(jnp.bfloat16) if a.dtype == np.uint16 else a)


def array(a):
    """Return NumPy's array of float32, which holds bfloat16."""
{check}    return np.array(a.astype(jnp.float32))
'''


def _conversions(case: Case) -> str:
    """Return a script's ``tensor`` and ``array``: bfloat16 comes as bits and goes as float32."""
    if case.config.dtype != "bfloat16":
        return "tensor, array = jnp.asarray, np.array\n"
    # An invalid call may return anything.
    return _BFLOAT16_CONVERSIONS.format(check="    assert a.dtype == jnp.bfloat16, a.dtype\n" if case.config.is_valid else "")


def _declined(case: Case) -> Iterator[tuple[str, bool]]:
    config = case.config
    yield "gradients of integers", is_integer(config.dtype) and case.grad
    yield "an unbatched input: jax.lax wants a batch axis", config.batch is None
    if config.is_valid:
        return
    grouped = config.op == "conv_transpose" and config.groups != 1
    yield "a transposed convolution has no argument for groups, which are the caller's own rearrangement", grouped
    yield "the bias is added by the caller, and an addition broadcasts", (config.flaw or "").startswith("bias")
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
    """A function of ``jax.lax``: ``lines`` compute y from x, w and b, and ``values`` are what their ``$`` names stand for."""

    def __init__(self, config: ConvConfig) -> None:
        axes = "DHW"[-config.dims :]
        before: list[str] = []
        self.values: dict[str, object] = {}
        stride, dilation = config.as_called("stride", config.stride), config.as_called("dilation", config.dilation)
        padding: Any = config.padding
        regrouped = config.op == "conv_transpose" and config.groups != 1
        if regrouped:
            rows, columns, *kernel = config.weight_shape
            self.values["split"] = config.groups, rows // config.groups, columns, *kernel
            self.values["merged"] = config.groups * columns, rows // config.groups, *kernel
            self.values["spatial"] = tuple(range(2, config.dims + 2))
            before.append("w = jnp.flip(w.reshape($split).swapaxes(1, 2).reshape($merged), $spatial)")
        if config.op == "conv_transpose" and not (padding == "same" and config.groups == 1):
            padding = "valid" if _is_valid_padding(config) else _inner_padding(config)
        elif config.padding_mode != "zeros":
            self.values["pad"], self.values["pad_mode"] = ((0, 0), (0, 0), *config.pads), _PAD_MODES[config.padding_mode]
            before.append("x = jnp.pad(x, $pad, mode=$pad_mode)")
            padding = "valid"
        padding = padding.upper() if isinstance(padding, str) else config.as_called("padding", padding)
        self.function = "conv_general_dilated"
        named: dict[str, Any]
        if regrouped:
            named = {"window_strides": (1,) * config.dims, "padding": padding, "lhs_dilation": stride}
        elif config.op == "conv_transpose":
            self.function = "conv_transpose"
            numbers = (f"NC{axes}", f"OI{axes}", f"NC{axes}")
            named = {"strides": stride, "padding": padding, "dimension_numbers": numbers, "transpose_kernel": True}
        else:
            named = {"window_strides": stride, "padding": padding}
        named["rhs_dilation"] = dilation
        if config.groups != 1:
            named["feature_group_count"] = config.groups
        self.values |= named
        self.lines = [
            *before,
            f"y = lax.{self.function}(x, w, {keywords(named)})",
            *([f"y = y + b.reshape(-1{', 1' * config.dims})"] if config.bias else []),
        ]


def _is_valid_padding(config: ConvConfig) -> bool:
    """Return whether a transposed convolution's padding is what VALID means: none, and an output that covers its strides."""
    if config.groups != 1 or any(map(any, config.pads)) or config.flaw == "padding-length":
        return False
    axes = zip(config.output_padding, config.stride, config.effective_kernel, strict=True)
    return all(extra == max(stride - extent, 0) for extra, stride, extent in axes)


def _inner_padding(config: ConvConfig) -> tuple[tuple[int, int], ...]:
    """Return the padding of the convolution inside a transposed convolution, which runs on the dilated input."""
    axes = zip(config.effective_kernel, config.pads, config.output_padding, strict=True)
    return tuple((extent - 1 - lo, extent - 1 - hi + extra) for extent, (lo, hi), extra in axes)


def _imported() -> Any:
    """Import JAX; its threads start when it computes for the first time."""
    # As for TensorFlow, which would complain of a GPU that is not there: JAX writes a default of its own that hides less.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import jax  # noqa: PLC0415 - as above

    return jax


def _load(mode: str) -> JaxBackend:
    return JaxBackend(mode)


def _preload(mode: str) -> None:
    del mode
    _imported()


FAMILY = Family(summary="JAX's convolutions on a CPU", modes=MODES, load=_load, extra="jax", preload=_preload)
