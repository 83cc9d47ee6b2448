"""TensorFlow, eager: ``tf.nn.conv1d/2d/3d``, their transposes and ``depthwise_conv2d`` as a user calls them."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.backends.arrays import to_numpy
from convfuzz.backends.compile_cache import Compiled
from convfuzz.backends.protocol import Outputs, Support
from convfuzz.backends.registry import Family
from convfuzz.backends.script_parts import arguments, operands, results
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Tensors

MODES = {
    "": "eager tf.nn convolutions, channels last, as they come; oneDNN does the float32 and bfloat16 work on a CPU",
    "native": "eager, oneDNN off (TF_ENABLE_ONEDNN_OPTS=0): TensorFlow's own kernels; in a process of its own",
    "graph": "the default functions traced by tf.function, gradients with them",
    "xla": "the default functions compiled by XLA: tf.function(jit_compile=True)",
    "convolution": "eager tf.nn.convolution and conv_transpose, the functions for any number of dimensions that Keras calls",
}
_GENERIC = "convolution"
_TRACED: dict[str, dict[str, Any]] = {"graph": {}, "xla": {"jit_compile": True}}
_SHARE_OF_TRACED = 1 / 5
_KEPT_TRACES = 200
_ENVIRONMENT = {"native": {"TF_ENABLE_ONEDNN_OPTS": "0"}}
_DTYPES = ("float64", "float32", "float16", "bfloat16")


class TensorFlowBackend:
    """The eager convolutions of TensorFlow, and their gradients by a tape.

    Inputs are handed over channels-last, the only format its CPU kernels take, so that a ``channels_last`` case is
    passed without rearranging; TensorFlow's tensors have no strides, so every layout ends in the same tensor.
    ``"same"`` and ``"valid"`` reach it as SAME and VALID; numbers reach ``conv2d`` as its explicit padding and the
    others, which have none, through ``tf.pad``. A transposed convolution is told its output's shape, and what padding
    its function cannot say is cut off a VALID one's output. The bias is ``tf.nn.bias_add``, a second operation that
    rounds again.

    Invalid configurations: ``ComputeConv2DDimension`` (tensorflow/core/kernels/conv_ops.cc) and the shape functions
    (core/framework/common_shape_fns.cc) are TensorFlow's rules. They want strides and dilations above 0, an input depth
    that is a multiple of the filter's, output channels that are a multiple of the groups so inferred, and a kernel no
    larger than the padded input; ``BiasAdd`` wants one value per channel.
    """

    def __init__(self, mode: str) -> None:
        self._tf = tf = _import()
        self._mode = mode
        self._generic = mode == _GENERIC
        self.share = _SHARE_OF_TRACED if mode in _TRACED else 1.0
        self._compiled = Compiled(self._trace, most=_KEPT_TRACES, forget=gc.collect)
        self.name = f"tensorflow:{mode}" if mode else "tensorflow"
        self.versions: Mapping[str, str] = {"tensorflow": str(tf.__version__)}
        try:
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:  # its threads run already: whoever imported it first has decided
            pass

    def supports(self, case: Case) -> Support:
        """Decline what TensorFlow's documentation and its CPU kernels' argument checks exclude."""
        return next((Support.no(reason) for reason, declined in _declined(case, self._mode) if declined), Support.YES)

    def numerics(self, case: Case) -> Numerics:
        """Float32 accumulation and flushed subnormals, except float16; the bias is a second rounding.

        ``conv2d`` converts float16 to float32 and back (``tensorflow/core/kernels/conv_2d.h``), and so ``conv1d``, which
        calls it; ``conv3d`` and ``depthwise_conv2d`` add in float16, and in bfloat16 where oneDNN is off. Gradients, and so
        transposed convolutions, are matrix products in the case's dtype whose columns are added up in it
        (``conv_grad_input_ops.cc``, ``Col2im``), and a bfloat16 bias's gradient is a sum in bfloat16 (``bias_op.cc``,
        ``AccumulatorType``).
        TensorFlow's threads flush the subnormals of float32 and float64 (``tsl/platform/denormal.h``), bfloat16 is
        computed as float32; float16's subnormals are normal numbers in float32 and survive.
        """
        dtype, call = case.config.dtype, _Call(case.config, generic=self._generic)
        own = Numerics(
            accumulator=dtype if dtype in ("float16", "bfloat16") else None, bias="separate", flushes_subnormals=dtype != "float16"
        )
        by_eigen = dtype == "float16" or (dtype == "bfloat16" and self._mode == "native")
        narrow = case.config.op == "conv_transpose" or (by_eigen and (case.config.dims == 3 or call.is_depthwise))
        return own if narrow else replace(own, accumulator=None, gradients=own)

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Transpose to channels-last, convolve, add the bias, transpose back; a tape gives the gradients."""
        tf, config = self._tf, case.config
        call = _Call(config, generic=self._generic)
        x = tf.convert_to_tensor(_last(tensors.x))
        w = tf.convert_to_tensor(np.array(_filters(tensors.w, config, depthwise=call.is_depthwise), order="C"))
        b = None if tensors.b is None else tf.convert_to_tensor(np.ascontiguousarray(tensors.b))
        dy = None if tensors.dy is None else tf.convert_to_tensor(_last(tensors.dy))
        passes = self._compiled.of(config, grad=dy is not None) if self._mode in _TRACED else partial(self._passes, call)
        y, *gradients = map(to_numpy, passes(x, w, b, dy))
        outputs = {"forward": np.moveaxis(y, -1, 1)}
        if dy is None:
            return outputs
        grad_x, grad_w, *grad_b = gradients
        outputs["grad_input"] = np.moveaxis(grad_x, -1, 1)
        outputs["grad_weight"] = _weights(grad_w, config, depthwise=call.is_depthwise)
        return outputs | dict(zip(["grad_bias"], grad_b, strict=False))

    def _trace(self, config: ConvConfig, grad: bool) -> Any:  # noqa: FBT001 - as Compiled calls it
        del grad  # what is traced with an output gradient is traced for it
        call = _Call(config, generic=self._generic)
        return self._tf.function(partial(self._passes, call), autograph=False, **_TRACED[self._mode])

    def _passes(self, call: _Call, x: Any, w: Any, b: Any, dy: Any) -> list[Any]:
        if dy is None:
            return [self._layer(call, x, w, b)]
        operands = [x, w] if b is None else [x, w, b]
        with self._tf.GradientTape() as tape:
            tape.watch(operands)
            y = self._layer(call, x, w, b)
        return [y, *tape.gradient(y, operands, output_gradients=dy)]

    def _layer(self, call: _Call, x: Any, w: Any, b: Any) -> Any:
        tf = self._tf
        if call.pad:
            x = tf.pad(x, call.pad, mode=call.pad_mode)
        y = getattr(tf.nn, call.function)(x, w, **call.arguments)
        if call.crop is not None:
            y = y[(slice(None), *call.crop)]
        return y if b is None else tf.nn.bias_add(y, b)

    def title(self, case: Case) -> str:
        """Name the function."""
        return f"tf.nn.{_Call(case.config, generic=self._generic).function}"

    def script(self, case: Case) -> str:
        """Write the same call down."""
        config, call = case.config, _Call(case.config, generic=self._generic)
        sources = operands(case).removesuffix(", dy")
        lines = [
            "import os",
            "",
            'os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")',
            *(f"os.environ[{name!r}] = {value!r}" for name, value in _ENVIRONMENT.get(self._mode, {}).items()),
            "import tensorflow as tf",
            "",
            "tf.config.threading.set_intra_op_parallelism_threads(1)",
            "tf.config.threading.set_inter_op_parallelism_threads(1)",
            "",
            "",
            _TENSOR_OF_BITS if config.dtype == "bfloat16" else _TENSOR,
            *self._passes_lines(case, call, sources),
            f"def run({arguments(case)}):",
            f"    x = tensor({'x' if config.flaw == 'input-flat' else 'np.moveaxis(x, 1, -1)'})",
            f"    w = tensor({_filters_source(config, call)})",
            *(["    b = tensor(b)"] if config.bias else []),
        ]
        if not case.grad:
            lines += [f"    y = convolve({sources})", *(f"    {line}" for line in dtype_check(case, "tf"))]
            lines += [f"    return np.moveaxis({_array('y', config)}, -1, 1)"]
            return "\n".join(lines) + "\n"
        gradients = {"grad_input": "np.moveaxis({}, -1, 1)", "grad_weight": _weights_source(config, call), "grad_bias": "{}"}
        return "\n".join([
            *lines,
            f"    y, *gradients = passes({sources}, tensor(np.moveaxis(dy, 1, -1)))",
            *(f"    {line}" for line in dtype_check(case, "tf")),
            "    return {",
            f'        "forward": np.moveaxis({_array("y", config)}, -1, 1),',
            *(
                f'        "{name}": {gradients[name].format(_array(f"gradients[{i}]", config))},'
                for i, name in enumerate(case.passes[1:])
            ),
            "    }",
            "",
        ])  # fmt: skip

    def _passes_lines(self, case: Case, call: _Call, sources: str) -> list[str]:
        """Return the definition of ``convolve``, and with gradients that of ``passes``; the one that is called is traced."""
        options = "".join(f", {name}={value!r}" for name, value in _TRACED.get(self._mode, {}).items())
        decorated = [f"@tf.function(autograph=False{options})"] if self._mode in _TRACED else []
        layer = [f"def convolve({sources}):", *(f"    {line}" for line in self._layer_lines(case.config, call)), "    return y", "", ""]
        if not case.grad:
            return [*decorated, *layer]
        return [
            *layer,
            *decorated,
            f"def passes({sources}, dy):",
            "    with tf.GradientTape() as tape:",
            f"        tape.watch([{sources}])",
            f"        y = convolve({sources})",
            f"    return [y, *tape.gradient(y, [{sources}], output_gradients=dy)]",
            "",
            "",
        ]

    def _layer_lines(self, config: ConvConfig, call: _Call) -> list[str]:
        keywords = ", ".join(f"{name}={value!r}" for name, value in call.arguments.items())
        lines = [f"x = tf.pad(x, {call.pad}, mode={call.pad_mode!r})"] if call.pad else []
        lines.append(f"y = tf.nn.{call.function}(x, w, {keywords})")
        if call.crop is not None:
            lines.append(f"y = y[:, {as_source(call.crop)}]")
        if config.bias:
            lines.append("y = tf.nn.bias_add(y, b)")
        return lines


_TENSOR = """\
def tensor(a):
    return tf.convert_to_tensor(np.array(a, order="C"))

"""
_TENSOR_OF_BITS = '''\
def tensor(a):
    """Return a tensor of an array, which holds bfloat16 as bits."""
    a = np.array(a, order="C")
    return tf.convert_to_tensor(a.view(tf.bfloat16.as_numpy_dtype) if a.dtype == np.uint16 else a)

'''


def _array(tensor: str, config: ConvConfig) -> str:
    """Return the expression for a tensor's array, in float32 that of bfloat16."""
    return f"tf.cast({tensor}, tf.float32).numpy()" if config.dtype == "bfloat16" else f"{tensor}.numpy()"


def _filters_source(config: ConvConfig, call: _Call) -> str:
    """Write :func:`_filters` down."""
    if call.is_depthwise:
        shape = (config.in_channels, config.out_channels // config.in_channels, *config.kernel_size)
        return f"w.reshape{shape}.transpose(2, 3, 0, 1)"
    return "w" if config.flaw == "weight-scalar" else "w.transpose(*range(2, w.ndim), 1, 0)"


def _weights_source(config: ConvConfig, call: _Call) -> str:
    """Write :func:`_weights` down."""
    if call.is_depthwise:
        return f"{{}}.transpose(2, 3, 0, 1).reshape{config.weight_shape}"
    axes = (config.dims + 1, config.dims, *range(config.dims))
    return f"{{}}.transpose{axes}"


def _import() -> Any:
    with _start_messages_held_back():
        import tensorflow as tf  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz

        return tf


@contextmanager
def _start_messages_held_back() -> Iterator[None]:
    """Hold back what TensorFlow's C++ side prints while it starts, before its log level counts; show it on failure."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _declined(case: Case, mode: str) -> Iterator[tuple[str, bool]]:
    config, generic = case.config, mode == _GENERIC
    crops = any(side < 0 for sides in config.pads for side in sides)
    dilated = any(d != 1 for d in config.dilation)
    transposed = config.op == "conv_transpose"
    call = _Call(config, generic=generic)
    yield f"dtype {config.dtype}", config.dtype not in (*_DTYPES, "int32")
    yield "int32 with three dimensions or depthwise", config.dtype == "int32" and (config.dims == 3 or call.is_depthwise)
    yield "gradients of integers", config.dtype == "int32" and case.grad
    yield "an unbatched input", config.batch is None
    yield "no input or output channels: filters must not be empty", 0 in config.weight_shape and config.is_valid
    yield f"padding mode {config.padding_mode}", config.padding_mode not in ("zeros", "reflect")
    yield "padding is a word, which has no length", config.flaw == "padding-length" and not isinstance(call.arguments["padding"], list)
    yield "a depthwise filter takes another shape", config.flaw in ("weight-rank", "weight-scalar") and call.is_depthwise
    if transposed:
        yield "groups in a transposed convolution", config.groups != 1
        yield "dilation in a transposed convolution on a CPU", dilated
        yield "padding that extends the output at its low end", any(lo < 0 for lo, _ in config.pads)
        yield "an output that no input of its stride has", config.is_valid and call.extends
        yield "an output padding that cropping takes back", not config.is_valid and call.crop is not None
        return
    yield "negative padding", crops
    yield "axes before the channels are batch axes", config.flaw == "input-rank" and not call.is_depthwise
    strided = any(stride != 1 for stride in config.stride)
    yield "tf.nn.convolution with stride and dilation", generic and strided and dilated
    yield "conv3d with groups", config.dims == 3 and config.groups != 1
    by_eigen = mode == "native" or config.dtype in ("float64", "float16")
    yield "conv3d with dilation in this dtype, or without oneDNN", config.dims == 3 and dilated and by_eigen
    yield (
        "reflect padding of an empty batch: tf.pad wants every axis longer than its padding",
        config.padding_mode != "zeros" and config.batch == 0,
    )
    yield "infers groups from the filter's depth", _infers_groups(config)
    narrow = config.dims < 3 and not generic and not call.is_depthwise
    yield "gradients of dilated convolutions are not supported on a CPU", case.grad and dilated and narrow
    yield "gradients of grouped convolutions are not supported on a CPU", case.grad and config.groups > 1 and not call.is_depthwise


def _infers_groups(config: ConvConfig) -> bool:
    if config.groups < 1 or config.in_channels % config.groups:
        return True
    depth = config.in_channels // config.groups
    return config.flaw == "input-channels" and depth > 0 and (config.in_channels + 1) % depth == 0


class _Call:
    """Which ``tf.nn`` function is called, with which arguments, and what has to be done around it."""

    def __init__(self, config: ConvConfig, *, generic: bool) -> None:
        self.pad: list[list[int]] | None = None
        self.crop: tuple[slice, ...] | None = None
        self.pad_mode = "REFLECT" if config.padding_mode == "reflect" else "CONSTANT"
        self.extends = False
        strides = list(config.as_called("stride", config.stride))
        dilations = list(config.as_called("dilation", config.dilation))
        if config.op == "conv_transpose":
            self._transposed(config, strides, dilations, generic=generic)
            return
        padding: Any = "SAME" if config.padding == "same" else "VALID"
        padded = [[0, 0], *map(list, config.pads), [0, 0]]
        if any(map(any, padded)):
            if config.padding_mode != "zeros" or (padding == "VALID" and (config.dims != 2 or generic)):
                self.pad, padding = padded, "VALID"
            elif padding == "VALID":
                padding = [*padded, [0, 0]] if config.flaw == "padding-length" else padded
        self.arguments: dict[str, Any]
        if generic:
            self.function = "convolution"
            self.arguments = {"strides": strides, "padding": padding, "dilations": dilations}
        elif config.dims == 1:
            self.function = "conv1d"
            self.arguments = {"stride": _single(strides), "padding": padding, "dilations": _single(dilations)}
        elif config.dims == 2 and config.groups == config.in_channels > 1 and config.is_valid and _depthwise_strides(config):
            self.function = "depthwise_conv2d"
            self.arguments = {"strides": [1, *strides, 1], "padding": padding, "dilations": list(dilations)}
        else:
            self.function = f"conv{config.dims}d"
            self.arguments = {"strides": [1, *strides, 1], "padding": padding, "dilations": [1, *dilations, 1]}

    @property
    def is_depthwise(self) -> bool:
        """Whether the filter is a depthwise one."""
        return self.function == "depthwise_conv2d"

    def _transposed(self, config: ConvConfig, strides: list[int], dilations: list[int], *, generic: bool) -> None:
        """A transposed convolution: SAME, the explicit padding of ``conv2d_transpose``, or VALID with its output cropped."""
        self.function = "conv_transpose" if generic else f"conv{config.dims}d_transpose"
        size = list(config.output_size)
        padding: Any = "VALID"
        explicit: Any = [[0, 0], *map(list, config.pads), [0, 0]]
        if config.padding == "same":
            padding = "SAME"
        elif any(map(any, config.pads)) and config.dims == 2 and min(map(min, config.pads)) >= 0 and not generic:
            padding = [*explicit, [0, 0]] if config.flaw == "padding-length" else explicit
        elif any(map(any, config.pads)):
            size, crop = [], []
            for full, op, (lo, hi), stride in zip(_full_size(config), config.output_padding, config.pads, config.stride, strict=True):
                extra = max(op - hi, 0)
                self.extends |= extra >= stride
                size.append(full + extra)
                crop.append(slice(lo, full + extra - max(hi - op, 0)))
            self.crop = tuple(crop)
        if config.padding != "same" and self.crop is None:
            self.extends = any(op >= stride for op, stride in zip(config.output_padding, config.stride, strict=True))
        if config.flaw == "output-length":
            size = size[:-1]
        self.arguments = {
            "output_shape": [config.batch, *size, config.out_channels],
            "strides": strides if generic else _single(strides) if config.dims == 1 else [1, *strides, 1],
            "padding": padding,
            "dilations": dilations if generic else _single(dilations) if config.dims == 1 else [1, *dilations, 1],
        }


def _single(values: list[int]) -> int | list[int]:
    return values[0] if len(values) == 1 else values


def _full_size(config: ConvConfig) -> list[int]:
    return [(size - 1) * s + extent for size, s, extent in zip(config.input_size, config.stride, config.effective_kernel, strict=True)]


def _depthwise_strides(config: ConvConfig) -> bool:
    """``depthwise_conv2d`` documents equal strides, and stride 1 where it is dilated."""
    return len(set(config.stride)) == 1 and (set(config.dilation) == {1} or set(config.stride) == {1})


def _last(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Put the channels last, as TensorFlow has them."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1)) if array.ndim > 1 else array


def _filters(w: npt.NDArray[Any], config: ConvConfig, *, depthwise: bool) -> npt.NDArray[Any]:
    """Reorder (out, in/groups, *kernel) to TensorFlow's (*kernel, in/groups, out), or (*kernel, in, multiplier).

    A transposed convolution's (in, out, *kernel) becomes (*kernel, out, in) by the same exchange.
    """
    if depthwise:
        return w.reshape(config.in_channels, config.out_channels // config.in_channels, *config.kernel_size).transpose(2, 3, 0, 1)
    return w.transpose(*range(2, w.ndim), 1, 0) if w.ndim > 1 else w


def _weights(filters: npt.NDArray[Any], config: ConvConfig, *, depthwise: bool) -> npt.NDArray[Any]:
    """Undo :func:`_filters`."""
    if depthwise:
        return filters.transpose(2, 3, 0, 1).reshape(config.weight_shape)
    return filters.transpose(filters.ndim - 1, filters.ndim - 2, *range(filters.ndim - 2))


def _load(mode: str) -> TensorFlowBackend:
    return TensorFlowBackend(mode)


def _preload(mode: str) -> None:
    del mode
    _import()


FAMILY = Family(
    summary="TensorFlow's eager convolutions", modes=MODES, load=_load, extra="tensorflow", preload=_preload, environment=_ENVIRONMENT
)
