"""MLX on a CPU: ``mlx.core``'s convolutions, channels last, and their gradients by ``mx.vjp``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from convfuzz.backends.compile_cache import CallCache
from convfuzz.backends.protocol import Backend, Outputs, Support
from convfuzz.backends.registry import Family
from convfuzz.backends.script_parts import arguments, operands
from convfuzz.backends.source import BLANK, CallSource, indented, keywords
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Tensors

MODES = {"": "mlx.core's convolutions on the CPU, which say nothing of its Metal kernels"}
_DTYPES = ("float64", "float32", "float16", "bfloat16")
_PAD_MODES = {"reflect": "reflect", "replicate": "edge"}
_ROW_MAJOR = ("contiguous", "channels_last")


class MlxBackend:
    """The convolutions of MLX on its CPU device, and their gradients by ``mx.vjp``.

    Zeros that are the same on both sides go to ``conv1d`` to ``conv3d`` and ``conv_transpose1d`` to ``conv_transpose3d``, other numbers to
    ``conv_general``, whose transposed convolution is one on a dilated input with the kernel flipped. "same" is no word of MLX's: its
    numbers are passed. ``mx.pad`` pads by reflection and by copies of the edge. The bias is added afterwards, as ``mlx.nn.Conv2d`` does.

    An operand that is in no row-major order is a view of MLX's, whose axes are moved there; the others are in MLX's own order of axes.

    Invalid configurations: ``conv_general`` and ``run_conv_checks`` (mlx/ops.cpp) are the rules.
    """

    name = "mlx"

    def __init__(self) -> None:
        import mlx.core as mx  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz

        self._mx: Any = mx
        self._calls = CallCache(self._make)
        self.versions: Mapping[str, str] = {"mlx": version("mlx")}

    def supports(self, case: Case) -> Support:
        """Decline what MLX's documentation and the messages of its argument checks exclude."""
        return next((Support.no(reason) for reason, declined in _declined(case) if declined), Support.YES)

    def numerics(self, case: Case) -> Numerics:
        """Direct sums in float32 at least; the bias is a second rounding.

        The gradient of an input that ``mx.pad`` copied is a sum of its own, in the operands' dtype, as MLX adds; in float16 its terms
        are rounded to subnormals.
        """
        config = case.config
        copied = config.padding_mode != "zeros" and config.dtype in ("float16", "bfloat16")
        own = Numerics(accumulator=config.dtype, bias="separate", flushes_subnormals=True) if copied else None
        return Numerics(bias="separate", gradients=own)

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Run the call on arrays with the channels last."""
        with self._mx.stream(self._mx.cpu):
            return self._calls.run(case, tensors)

    def _make(self, case: Case) -> Any:
        mx = self._mx

        def array(a: Any) -> npt.NDArray[Any]:
            return np.array(a.view(mx.uint16)).view(ml_dtypes.bfloat16) if a.dtype == mx.bfloat16 else np.array(a)

        def tensor(a: npt.NDArray[Any]) -> Any:
            return mx.array(a, dtype=getattr(mx, a.dtype.name))  # MLX takes float64 for float32 unless it is told

        return _source(case).function("run", {"np": np, "mx": mx, "tensor": tensor, "array": array})

    def title(self, case: Case) -> str:
        """Name the function."""
        return f"mlx.core.{_Call(case.config).function}"

    def script(self, case: Case) -> str:
        """Return the source that :meth:`run` runs, on the CPU."""
        conversions = _CONVERSIONS.format(dtype=case.config.dtype)
        if case.config.dtype == "bfloat16":
            # An invalid call may return anything.
            conversions = _BFLOAT16_CONVERSIONS.format(check="    assert a.dtype == mx.bfloat16, a.dtype\n" * case.config.is_valid)
        return f"{_SETTINGS}{conversions}\n\n{_source(case)}"


_SETTINGS = """\
import mlx.core as mx

mx.set_default_device(mx.cpu)
"""
_CONVERSIONS = """

def tensor(a):
    return mx.array(a, dtype=mx.{dtype})


array = np.array
"""
_BFLOAT16_CONVERSIONS = '''

def tensor(a):
    """Return an array of MLX's of one that holds bfloat16 as bits."""
    return mx.array(a).view(mx.bfloat16) if a.dtype == np.uint16 else mx.array(a)


def array(a):
    """Return NumPy's array of float32, which holds bfloat16."""
{check}    return np.array(a.astype(mx.float32))
'''


def _source(case: Case) -> CallSource:
    config, call = case.config, _Call(case.config)
    names = operands(case)
    leaves = names.removesuffix(", dy")
    body = [
        f"x = {_moved('x', '1, -1', in_order=config.layout in _ROW_MAJOR)}" if config.flaw != "input-flat" else "x = tensor(x)",
        f"w = {call.weight}",
        *(["b = tensor(b)"] if config.bias else []),
    ]
    layer = [f"def convolve({leaves}):", *indented([*call.lines, "return y"]), *BLANK]
    if not case.grad:
        body += [f"y = convolve({leaves})", "return np.moveaxis(array(y), -1, 1)"]
    else:
        body += [
            "dy = tensor(np.moveaxis(dy, 1, -1))",
            f"(y,), gradients = mx.vjp(convolve, [{leaves}], [dy])",
            "return {",
            '    "forward": np.moveaxis(array(y), -1, 1),',
            '    "grad_input": np.moveaxis(array(gradients[0]), -1, 1),',
            f'    "grad_weight": {call.gradient("array(gradients[1])")},',
            *(['    "grad_bias": array(gradients[2]),'] if config.bias else []),
            "}",
        ]
    return CallSource([*layer, f"def run({arguments(case)}):", *indented(body)], call.values)


def _moved(name: str, axes: str, *, in_order: bool) -> str:
    """Return the expression for an operand with its axes moved: by NumPy before MLX copies it, or a view of MLX's."""
    return f"tensor(np.moveaxis({name}, {axes}))" if in_order else f"mx.moveaxis(tensor({name}), {axes})"


class _Call:
    """A function of ``mlx.core``: ``lines`` compute y from x, w and b, and ``values`` are what their ``$`` names stand for.

    ``weight`` is the expression that reorders w, (out, in/groups, *kernel) or transposed (in, out/groups, *kernel), to MLX's
    (out, *kernel, in/groups).
    """

    def __init__(self, config: ConvConfig) -> None:
        transposed = config.op == "conv_transpose"
        stride, dilation = config.as_called("stride", config.stride), config.as_called("dilation", config.dilation)
        lows, highs = (config.as_called("padding", side) for side in zip(*config.pads, strict=True))
        self.values: dict[str, object] = {}
        before: list[str] = []
        if config.padding_mode != "zeros":
            self.values |= {"pad": [(0, 0), *config.pads, (0, 0)], "pad_mode": _PAD_MODES[config.padding_mode]}
            before = ["x = mx.pad(x, $pad, mode=$pad_mode)"] if any(lows) or any(highs) else []
            lows = highs = (0,) * config.dims
        named: dict[str, Any]
        if lows != highs or min(lows) < 0:
            self.function = "conv_general"
            named = {"stride": list(stride), "padding": (list(lows), list(highs)), "kernel_dilation": list(dilation)}
            if transposed:
                axes = list(zip(config.effective_kernel, config.pads, config.output_padding, strict=True))
                low, high = tuple(e - 1 - lo for e, (lo, _), _ in axes), tuple(e - 1 - hi + extra for e, (_, hi), extra in axes)
                inner = list(config.as_called("padding", low)), list(config.as_called("padding", high))
                named |= {"stride": 1, "padding": inner, "input_dilation": list(stride), "flip": True}
        else:
            self.function = f"conv_transpose{config.dims}d" if transposed else f"conv{config.dims}d"
            named = {"stride": _single(stride), "padding": _single(lows), "dilation": _single(dilation)}
            if transposed:
                extra = (*config.output_padding, 0) if config.flaw == "output-length" else config.output_padding
                named["output_padding"] = _single(extra)
        named["groups"] = config.groups
        self.values |= named
        self._regroups = transposed and config.groups != 1
        in_order = (config.weight_layout or config.layout) in _ROW_MAJOR
        # Transposed: (in, out, *kernel), of which the input channels go to the end, so that the output channels come first.
        self.weight = _moved("w", "0, -1" if transposed else "1, -1", in_order=in_order)
        self._moved_back = "np.moveaxis({}, -1, 0)" if transposed else "np.moveaxis({}, -1, 1)"
        if self._regroups:
            rows, columns, *kernel = config.weight_shape
            self.values["split"] = config.groups, rows // max(config.groups, 1), columns, *kernel
            self.values["merged"] = config.groups * columns, *kernel, rows // max(config.groups, 1)
            self.values["unmerged"] = config.groups, columns, *kernel, rows // max(config.groups, 1)
            self.values["whole"] = config.weight_shape
            self.weight = "tensor(np.moveaxis(w.reshape($split), 1, -1).reshape($merged))"
        self.lines = [
            *before,
            f"y = mx.{self.function}(x, w, {keywords(named)})",
            *(["y = y + b"] if config.bias else []),
        ]

    def gradient(self, expression: str) -> str:
        """Return the expression for a gradient of the weight in the order of the weight itself."""
        if self._regroups:
            return f"np.moveaxis({expression}.reshape($unmerged), -1, 1).reshape($whole)"
        return self._moved_back.format(expression)


def _single(values: tuple[int, ...]) -> int | tuple[int, ...]:
    return values[0] if len(values) == 1 else values


def _declined(case: Case) -> Iterator[tuple[str, bool]]:
    config = case.config
    yield f"dtype {config.dtype}: floating-point types only", config.dtype not in _DTYPES
    yield "an unbatched input", config.batch is None
    yield "groups in three dimensions", config.dims == 3 and config.groups != 1
    # conv_general says of these "got unsupported data type": only its matrix products take float64.
    products = config.op == "conv" and set(config.dilation) == {1} and (config.dims == 1 or config.groups == 1) and not case.grad
    yield "float64 where MLX multiplies no matrices", config.dtype == "float64" and config.is_valid and not products
    yield f"padding mode {config.padding_mode}: mx.pad has constant, edge, reflect and symmetric", config.padding_mode == "circular"
    if config.is_valid:
        return
    yield "reflection that goes round more than once, as numpy.pad allows", config.padding_mode == "reflect"
    yield "output_padding is any number of sites", config.op == "conv_transpose" and config.flaw is None
    yield "the bias is added by the caller, and an addition broadcasts", (config.flaw or "").startswith("bias")
    yield "operands of two dtypes are promoted to one", config.flaw == "weight-dtype"
    regrouped = config.op == "conv_transpose" and config.groups != 1
    yield "the caller reorders a grouped transposed weight, by the shape that it should have", regrouped and config.flaw == "weight-rank"
    unpadded = config.flaw == "output-length" and _Call(config).function == "conv_general"
    yield "mx.conv_general has no argument for output_padding", unpadded


def _load(mode: str) -> Backend:
    del mode
    return MlxBackend()


def _preload(mode: str) -> None:
    del mode
    import mlx.core  # noqa: F401, PLC0415 - that is what preloading is; its threads start when it computes for the first time


FAMILY = Family(summary="MLX's convolutions on a CPU", modes=MODES, load=_load, extra="mlx", preload=_preload)
