"""TensorFlow: ``tf.nn.conv1d/2d/3d``, their transposes and ``depthwise_conv2d`` as a user calls them."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.backends.arrays import to_numpy
from convfuzz.backends.compile_cache import CallCache
from convfuzz.backends.protocol import Outputs, Support
from convfuzz.backends.registry import Family
from convfuzz.backends.script_parts import arguments
from convfuzz.backends.source import BLANK, CallSource, indented
from convfuzz.backends.tensorflow.call import TensorFlowCall
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Tensors

MODES = {
    "": "eager tf.nn convolutions, channels last, as they come; oneDNN does the float32 and bfloat16 work of processors it is on for",
    "native": "eager, oneDNN off (TF_ENABLE_ONEDNN_OPTS=0): TensorFlow's own kernels; in a separate process",
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
    """The convolutions of TensorFlow in one mode, and their gradients by a tape.

    Inputs are passed channels-last, the only format that its CPU kernels support, so a ``channels_last`` case is not
    rearranged; TensorFlow's tensors have no strides, so every layout gives the same tensor. ``"same"`` and ``"valid"`` are
    passed as SAME and VALID; numbers are the explicit padding of ``conv2d``, and go through ``tf.pad`` for the functions that
    have none. A transposed convolution gets its output's shape, and padding that it has no argument for is cut off the
    output of a VALID one. The bias is ``tf.nn.bias_add``, a second operation that rounds again.

    Invalid configurations: ``ComputeConv2DDimension`` (tensorflow/core/kernels/conv_ops.cc) and the shape functions
    (core/framework/common_shape_fns.cc) are TensorFlow's rules. They want strides and dilations above 0, an input depth
    that is a multiple of the filter's, output channels that are a multiple of the groups so inferred, and a kernel no
    larger than the padded input; ``BiasAdd`` wants one value per channel.
    """

    def __init__(self, mode: str) -> None:
        self._tf = tf = import_tensorflow()
        self._mode = mode
        self._generic = mode == _GENERIC
        self.share = _SHARE_OF_TRACED if mode in _TRACED else 1.0
        traced = mode in _TRACED
        self._calls = CallCache(self._make, most=_KEPT_TRACES, forget=gc.collect) if traced else CallCache(self._make)
        self.name = f"tensorflow:{mode}" if mode else "tensorflow"
        self.versions: Mapping[str, str] = {"tensorflow": str(tf.__version__)}
        try:
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:  # its threads are running already, as whoever imported it first has set them
            pass
        self._has_onednn = mode == "xla" or _has_onednn(tf)  # XLA has kernels of its own

    def supports(self, case: Case) -> Support:
        """Decline what TensorFlow's documentation and its CPU kernels' argument checks exclude."""
        declined = _declined(case, generic=self._generic, has_onednn=self._has_onednn)
        return next((Support.no(reason) for reason, concerned in declined if concerned), Support.YES)

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
        dtype, call = case.config.dtype, TensorFlowCall(case.config, generic=self._generic)
        own = Numerics(
            accumulator=dtype if dtype in ("float16", "bfloat16") else None, bias="separate", flushes_subnormals=dtype != "float16"
        )
        by_eigen = dtype == "float16" or (dtype == "bfloat16" and not self._has_onednn)
        narrow = case.config.op == "conv_transpose" or (by_eigen and (case.config.dims == 3 or call.is_depthwise))
        return own if narrow else replace(own, accumulator=None, gradients=own)

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Run the call on tensors with the channels last; a tape gives the gradients."""
        return self._calls.run(case, tensors)

    def _make(self, case: Case) -> Any:
        tf = self._tf

        def tensor(array: npt.NDArray[Any]) -> Any:
            return tf.convert_to_tensor(np.asarray(array, order="C"))

        return self._source(case).function("run", {"np": np, "tf": tf, "tensor": tensor, "array": to_numpy})

    def _source(self, case: Case) -> CallSource:
        config, call = case.config, TensorFlowCall(case.config, generic=self._generic)
        operands = "x, w, b" if config.bias else "x, w"
        body = [
            f"x = tensor({'x' if config.flaw == 'input-flat' else 'np.moveaxis(x, 1, -1)'})",
            f"w = tensor({call.filters}.copy())",
            *(["b = tensor(b)"] if config.bias else []),
        ]
        if not case.grad:
            body += [f"y = convolve({operands})", "return np.moveaxis(array(y), -1, 1)"]
        else:
            body += [
                "dy = tensor(np.moveaxis(dy, 1, -1))",
                f"y, *gradients = map(array, passes({operands}, dy))",
                "return {",
                '    "forward": np.moveaxis(y, -1, 1),',
                '    "grad_input": np.moveaxis(gradients[0], -1, 1),',
                f'    "grad_weight": {call.weights.format("gradients[1]")},',
                *(['    "grad_bias": gradients[2],'] if config.bias else []),
                "}",
            ]
        lines = [*self._definitions(call, operands, grad=case.grad), f"def run({arguments(case)}):", *indented(body)]
        return CallSource(lines, call.values)

    def _definitions(self, call: TensorFlowCall, operands: str, *, grad: bool) -> list[str]:
        """Return the definition of ``convolve``, and with gradients that of ``passes``; the one that is called is traced."""
        options = "".join(f", {name}={value!r}" for name, value in _TRACED.get(self._mode, {}).items())
        traced = [f"@tf.function(autograph=False{options})"] if self._mode in _TRACED else []
        layer = [f"def convolve({operands}):", *indented([*call.lines, "return y"]), *BLANK]
        if not grad:
            return [*traced, *layer]
        passes = [
            "with tf.GradientTape() as tape:",
            f"    tape.watch([{operands}])",
            f"    y = convolve({operands})",
            f"return [y, *tape.gradient(y, [{operands}], output_gradients=dy)]",
        ]
        return [*layer, *traced, f"def passes({operands}, dy):", *indented(passes), *BLANK]

    def title(self, case: Case) -> str:
        """Name the function."""
        return f"tf.nn.{TensorFlowCall(case.config, generic=self._generic).function}"

    def script(self, case: Case) -> str:
        """Return the source that :meth:`run` runs, with the settings of the mode."""
        variables = "".join(f"os.environ[{name!r}] = {value!r}\n" for name, value in _ENVIRONMENT.get(self._mode, {}).items())
        return f"{_SETTINGS.format(variables=variables)}{_conversions(case)}{self._source(case)}"


_SETTINGS = """\
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
{variables}import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)


"""
_CONVERSIONS = """\
def tensor(a):
    return tf.convert_to_tensor(np.asarray(a, order="C"))


def array(a):
    return a.numpy()


"""
_BFLOAT16_CONVERSIONS = '''\
def tensor(a):
    """Return a tensor of an array, which holds bfloat16 as bits."""
    a = np.asarray(a, order="C")
    return tf.convert_to_tensor(a.view(tf.bfloat16.as_numpy_dtype) if a.dtype == np.uint16 else a)


def array(a):
    """Return an array of float32, which holds bfloat16."""
{check}    return tf.cast(a, tf.float32).numpy()


'''


def _conversions(case: Case) -> str:
    """Return a script's ``tensor`` and ``array``: bfloat16 comes as bits and goes as float32."""
    if case.config.dtype != "bfloat16":
        return _CONVERSIONS
    # An invalid call may return anything.
    return _BFLOAT16_CONVERSIONS.format(check="    assert a.dtype == tf.bfloat16, a.dtype\n" if case.config.is_valid else "")


def import_tensorflow() -> Any:
    """Import TensorFlow, and nothing that a process which has it dies of.

    TensorFlow and Triton register options of LLVM, and Triton, where it comes second, aborts for one that is there already. PyTorch's
    builds for a GPU bring Triton along and import it when they need it least, such as for a gradient on the meta device; without it
    they do what they do on a CPU.
    """
    sys.modules.setdefault("triton", None)  # type: ignore[arg-type] # how the import system notes what is not there
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _messages_held_back():
        import tensorflow as tf  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz

        return tf


def _has_onednn(tf: Any) -> bool:
    """Whether oneDNN is on, which TensorFlow decides by the processor where TF_ENABLE_ONEDNN_OPTS does not.

    It has no public question for that. Of its kernels for a CPU, oneDNN's alone takes a dilation in three dimensions.
    """
    x, w = tf.ones((1, 3, 1, 1, 1)), tf.ones((2, 1, 1, 1, 1))
    with _messages_held_back():  # it prints that it refuses
        try:
            tf.nn.conv3d(x, w, strides=[1] * 5, padding="VALID", dilations=[1, 2, 1, 1, 1])
        except tf.errors.InvalidArgumentError:
            return False
    return True


@contextmanager
def _messages_held_back() -> Iterator[None]:
    """Hold back what TensorFlow's C++ code prints, at the start before its log level takes effect; show it on failure."""
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


def _declined(case: Case, *, generic: bool, has_onednn: bool) -> Iterator[tuple[str, bool]]:
    config = case.config
    crops = any(side < 0 for sides in config.pads for side in sides)
    dilated = any(d != 1 for d in config.dilation)
    transposed = config.op == "conv_transpose"
    call = TensorFlowCall(config, generic=generic)
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
        yield "an output padding that cropping takes back", not config.is_valid and call.crops
        return
    yield "negative padding", crops
    yield "axes before the channels are batch axes", config.flaw == "input-rank" and not call.is_depthwise
    strided = any(stride != 1 for stride in config.stride)
    yield "tf.nn.convolution with stride and dilation", generic and strided and dilated
    yield "conv3d with groups", config.dims == 3 and config.groups != 1
    by_eigen = not has_onednn or config.dtype in ("float64", "float16")
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


def _load(mode: str) -> TensorFlowBackend:
    return TensorFlowBackend(mode)


def _preload(mode: str) -> None:
    del mode
    import_tensorflow()


FAMILY = Family(
    summary="TensorFlow's eager convolutions", modes=MODES, load=_load, extra="tensorflow", preload=_preload, environment=_ENVIRONMENT
)
