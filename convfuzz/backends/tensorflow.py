"""TensorFlow, eager: ``tf.nn.conv1d``, ``conv2d``, ``conv3d`` and ``depthwise_conv2d`` as a user calls them."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.backends.arrays import to_numpy
from convfuzz.backends.protocol import Outputs, Support
from convfuzz.backends.registry import Family
from convfuzz.case import Case
from convfuzz.config import ConvConfig
from convfuzz.numerics import Numerics
from convfuzz.tensors import Tensors

MODES = {"": "eager tf.nn convolutions, channels last, as they come; oneDNN does the float32 and bfloat16 work on a CPU"}
_DTYPES = ("float64", "float32", "float16", "bfloat16")


class TensorFlowBackend:
    """The eager convolutions of TensorFlow.

    Inputs are handed over channels-last, the only format its CPU kernels take, so that a ``channels_last`` case is
    passed without rearranging; TensorFlow's tensors have no strides, so every layout ends in the same tensor.
    ``"same"`` and ``"valid"`` reach it as SAME and VALID; numbers reach ``conv2d`` as its explicit padding and the
    others, which have none, through ``tf.pad``. The bias is ``tf.nn.bias_add``, a second operation that rounds again.
    """

    def __init__(self) -> None:
        self._tf = tf = _import()
        self.name = "tensorflow"
        self.versions: Mapping[str, str] = {"tensorflow": str(tf.__version__)}
        try:
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:  # its threads run already: whoever imported it first has decided
            pass

    def supports(self, case: Case) -> Support:
        """Decline what TensorFlow's documentation and its CPU kernels' argument checks exclude."""
        config = case.config
        if config.op != "conv":
            return Support.no("transposed convolution is not wired up yet")
        if case.grad:
            return Support.no("gradients are not wired up yet")
        return next((Support.no(reason) for reason, declined in _declined(config) if declined), Support.YES)

    def numerics(self, case: Case) -> Numerics:
        """Float32 accumulation and flushed subnormals, except float16; the bias is a second rounding.

        ``conv2d`` converts float16 to float32 and back (``tensorflow/core/kernels/conv_2d.h``), and so ``conv1d``, which
        calls it; ``conv3d`` and ``depthwise_conv2d`` add in float16. TensorFlow's threads flush the subnormals of
        float32 and float64 (``tsl/platform/denormal.h``), bfloat16 is computed as float32; float16's subnormals are
        normal numbers in float32 and survive.
        """
        half = case.config.dtype == "float16"
        narrow = half and _Call(case.config).function in ("conv3d", "depthwise_conv2d")
        return Numerics(accumulator="float16" if narrow else None, bias="separate", flushes_subnormals=not half)

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Transpose to channels-last, convolve, add the bias, transpose back."""
        tf, config, call = self._tf, case.config, _Call(case.config)
        x = tf.convert_to_tensor(np.ascontiguousarray(np.moveaxis(tensors.x, 1, -1)))
        w = tf.convert_to_tensor(np.ascontiguousarray(_filters(tensors.w, config, depthwise=call.function == "depthwise_conv2d")))
        if call.pad:
            x = tf.pad(x, call.pad, mode=call.pad_mode)
        y = getattr(tf.nn, call.function)(x, w, **call.arguments)
        if tensors.b is not None:
            y = tf.nn.bias_add(y, tf.convert_to_tensor(np.ascontiguousarray(tensors.b)))
        return {"forward": np.moveaxis(to_numpy(y), -1, 1)}

    def script(self, case: Case) -> str:
        """Write the same call down."""
        config, call = case.config, _Call(case.config)
        lines = [
            "import os",
            "",
            'os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")',
            "import tensorflow as tf",
            "",
            "tf.config.threading.set_intra_op_parallelism_threads(1)",
            "tf.config.threading.set_inter_op_parallelism_threads(1)",
            "",
            "",
            "def run(x, w, b):",
            f"    x = tf.cast(np.ascontiguousarray(np.moveaxis(x, 1, -1)), tf.{config.dtype})",
        ]
        if call.function == "depthwise_conv2d":
            lines.append(
                f"    w = w.reshape({config.in_channels}, {config.out_channels // config.in_channels}, *w.shape[2:]).transpose(2, 3, 0, 1)"
            )
        else:
            lines.append("    w = w.transpose(*range(2, w.ndim), 1, 0)")
        lines.append(f"    w = tf.cast(np.ascontiguousarray(w), tf.{config.dtype})")
        if call.pad:
            lines.append(f"    x = tf.pad(x, {call.pad}, mode={call.pad_mode!r})")
        lines += [
            f"    y = tf.nn.{call.function}(x, w, {', '.join(f'{k}={v!r}' for k, v in call.arguments.items())})",
            "    if b is not None:",
            f"        y = tf.nn.bias_add(y, tf.cast(b, tf.{config.dtype}))",
            f"    assert y.dtype == tf.{config.dtype}, y.dtype",
            "    return np.moveaxis(tf.cast(y, tf.float64).numpy(), -1, 1)",
        ]
        return "\n".join(lines) + "\n"


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


def _declined(config: ConvConfig) -> tuple[tuple[str, bool], ...]:
    crops = any(side < 0 for sides in config.pads for side in sides)
    dilated = any(d != 1 for d in config.dilation)
    return (
        (f"dtype {config.dtype}", config.dtype not in _DTYPES),
        ("an unbatched input", config.batch is None),
        ("no input or output channels: filters must not be empty", 0 in config.weight_shape),
        (f"padding mode {config.padding_mode}", config.padding_mode not in ("zeros", "reflect")),
        ("negative padding", crops),
        ("conv3d with groups", config.dims == 3 and config.groups != 1),
        ("conv3d with dilation in this dtype", config.dims == 3 and dilated and config.dtype in ("float64", "float16")),
        (
            "reflect padding of an empty batch: tf.pad wants every axis longer than its padding",
            config.padding_mode != "zeros" and config.batch == 0,
        ),
        ("an input of spatial size 0", 0 in config.input_size),
        ("infers groups from the filter's depth", config.groups < 1 or config.in_channels % config.groups != 0),
    )


class _Call:
    """Which ``tf.nn`` function is called, with which arguments, and what ``tf.pad`` has to do before it."""

    def __init__(self, config: ConvConfig) -> None:
        strides, dilations, pads = config.stride, config.dilation, config.pads
        self.pad: list[list[int]] | None = None
        self.pad_mode = "REFLECT" if config.padding_mode == "reflect" else "CONSTANT"
        padding: Any = "SAME" if config.padding == "same" else "VALID"
        padded = [[0, 0], *map(list, pads), [0, 0]]
        if any(map(any, padded)):
            if config.padding_mode != "zeros" or (padding == "VALID" and config.dims != 2):
                self.pad, padding = padded, "VALID"
            elif padding == "VALID":
                padding = padded
        if config.dims == 1:
            self.function = "conv1d"
            self.arguments: dict[str, Any] = {"stride": strides[0], "padding": padding, "dilations": dilations[0]}
        elif config.dims == 2 and config.groups == config.in_channels > 1 and _depthwise_strides(config):
            self.function = "depthwise_conv2d"
            self.arguments = {"strides": [1, *strides, 1], "padding": padding, "dilations": list(dilations)}
        else:
            self.function = f"conv{config.dims}d"
            self.arguments = {"strides": [1, *strides, 1], "padding": padding, "dilations": [1, *dilations, 1]}


def _depthwise_strides(config: ConvConfig) -> bool:
    """``depthwise_conv2d`` documents equal strides, and stride 1 where it is dilated."""
    return len(set(config.stride)) == 1 and (set(config.dilation) == {1} or set(config.stride) == {1})


def _filters(w: npt.NDArray[Any], config: ConvConfig, *, depthwise: bool) -> npt.NDArray[Any]:
    """Reorder (out, in/groups, *kernel) to TensorFlow's (*kernel, in/groups, out), or (*kernel, in, multiplier)."""
    if depthwise:
        return w.reshape(config.in_channels, config.out_channels // config.in_channels, *config.kernel_size).transpose(2, 3, 0, 1)
    return w.transpose(*range(2, w.ndim), 1, 0)


def _load(mode: str) -> TensorFlowBackend:
    del mode
    return TensorFlowBackend()


def _preload() -> None:
    _import()


FAMILY = Family(summary="TensorFlow's eager convolutions", modes=MODES, load=_load, extra="tensorflow", preload=_preload)
