"""A convolution as an ONNX model, made by the source that scripts show; several runtimes run it.

Opset 22 is the first whose Conv and ConvTranspose know bfloat16; its Pad has ``wrap``. IR version 10 belongs to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, TypeVar

import numpy as np

from convfuzz.backends.source import CallSource, keywords
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.errors import Unsupported
from convfuzz.tensors.generator import Array, Tensors

Runnable = TypeVar("Runnable")
"""What a runtime makes of a model."""

OPSET, IR_VERSION = 22, 10
_DTYPES = ("float64", "float32", "float16", "bfloat16")
_PAD_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
_KEPT, _LARGEST_KEPT = 4, 2**20
_MODEL = '''\
TYPES = {{"float64": TensorProto.DOUBLE, "float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint16": TensorProto.BFLOAT16}}


def constant(name, a):
    return helper.make_tensor(name, TYPES[a.dtype.name], a.shape, a.tobytes(), raw=True)


def value(name, a):
    return helper.make_tensor_value_info(name, TYPES[a.dtype.name], a.shape)


def model(x, w, b):
    """Return the layer as an ONNX model; an array of uint16 holds bfloat16 as bits."""
    nodes = [
{nodes}
    ]
    inputs = [{inputs}]
    outputs = [helper.make_tensor_value_info("y", TYPES[x.dtype.name], [None] * {rank})]
    graph = helper.make_graph(nodes, "convolution", inputs, outputs, [{initializers}])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", {opset})], ir_version={ir_version})
'''


class Layer:
    """The nodes of a configuration: Conv or ConvTranspose with its attributes, and the Pad before it where it needs one.

    ``"same"`` and ``"valid"`` are ``auto_pad`` SAME_UPPER and VALID, zeros at either side ``pads``. Other padding modes and
    cropping, which ``pads`` does not allow ("any value greater than or equal to 0"), are a Pad node.
    """

    def __init__(self, config: ConvConfig) -> None:
        transposed = config.op == "conv_transpose"
        self.operator = "ConvTranspose" if transposed else "Conv"
        self.pad_mode = _PAD_MODES[config.padding_mode]
        self.pad: list[int] | None = None
        self.attributes: dict[str, Any] = {
            "kernel_shape": list(config.kernel_size),
            "strides": list(config.as_called("stride", config.stride)),
            "dilations": list(config.as_called("dilation", config.dilation)),
            "group": config.groups,
        }
        lows, highs = (config.as_called("padding", side) for side in zip(*config.pads, strict=True))
        by_itself = not transposed and (config.padding_mode != "zeros" or min(*lows, *highs) < 0)
        if by_itself and any((*lows, *highs)):
            self.pad = [0, 0, *lows, 0, 0, *highs]
        elif not by_itself and isinstance(config.padding, str):
            self.attributes["auto_pad"] = "SAME_UPPER" if config.padding == "same" else "VALID"
        elif not by_itself:
            self.attributes["pads"] = [*lows, *highs]
        if transposed and (any(config.output_padding) or config.flaw == "output-length"):
            extra = (0,) if config.flaw == "output-length" else ()
            self.attributes["output_padding"] = [*config.output_padding, *extra]


def model_source(case: Case, *, constant: bool) -> CallSource:
    """Return the source of a function ``model(x, w, b)`` that uses ``helper`` and ``TensorProto`` of onnx.

    ``constant`` makes weight and bias initializers, inputs of the graph otherwise.
    """
    layer = Layer(case.config)
    weights = ["w", "b"] if case.config.bias else ["w"]
    nodes, initializers = [], [f'constant("{name}", {name})' for name in weights if constant]
    if layer.pad is not None:
        nodes.append('helper.make_node("Pad", ["x", "pads"], ["padded"], mode=$pad_mode),')
        initializers.append('helper.make_tensor("pads", TensorProto.INT64, $pad_shape, $pad)')
    names = ["padded" if layer.pad is not None else "x", *weights]
    nodes.append(f'helper.make_node("{layer.operator}", {names}, ["y"], {keywords(layer.attributes)}),')
    text = _MODEL.format(
        nodes="\n".join(f"        {node}" for node in nodes),
        inputs=", ".join(f'value("{name}", {name})' for name in graph_inputs(case, constant=constant)),
        initializers=", ".join(initializers),
        rank=case.config.dims + 2,
        opset=OPSET,
        ir_version=IR_VERSION,
    )
    pad = {"pad_mode": layer.pad_mode, "pad_shape": [len(layer.pad or ())], "pad": layer.pad}
    return CallSource(text.splitlines(), {**layer.attributes, **pad})


def graph_inputs(case: Case, *, constant: bool) -> list[str]:
    """Return the names of the graph's inputs."""
    return ["x"] if constant else ["x", "w", "b"] if case.config.bias else ["x", "w"]


def feeds_source(case: Case, *, constant: bool, tensor: str = "{}") -> str:
    """Return the source of the dictionary of the graph's inputs, each converted by the expression ``tensor``."""
    return "{" + ", ".join(f'"{name}": {tensor.format(name)}' for name in graph_inputs(case, constant=constant)) + "}"


def model_function(case: Case, *, constant: bool) -> Any:
    """Return the function ``model(x, w, b)``."""
    from onnx import TensorProto, helper  # noqa: PLC0415 - loaded with the backend that needs it, not with convfuzz

    return model_source(case, constant=constant).function("model", {"TensorProto": TensorProto, "helper": helper})


def as_bits(tensors: Tensors) -> Tensors:
    """Return the tensors as a script has them: bfloat16 as its bits in uint16."""
    bits = {name: a.view(np.uint16) if a.dtype.name == "bfloat16" else a for name, a in tensors.named().items()}
    return Tensors(bits["x"], bits["w"], bits.get("b"))


def onnx_model(config: ConvConfig, x: Array, w: Array, b: Array | None = None, *, constant: bool = True) -> bytes:
    """Return a layer as an ONNX model, the one that the runtimes here are given, for a kernel that calls a runtime of one's own.

    The graph has the input ``x`` and the output ``y``; ``w`` and ``b`` are initializers, or without ``constant`` inputs of these names.

    Raises:
        Unsupported: ONNX has no such layer, as the message says.
        ImportError: onnx is not installed; the message says how to.
    """
    if find_spec("onnx") is None:
        raise ImportError("convfuzz.onnx_model needs onnx; install it with: pip install 'convfuzz[onnx]'", name="onnx")
    reason = next((reason for reason, concerned in declined(Case(config)) if concerned), None)
    if reason is not None:
        raise Unsupported(f"ONNX has no such layer: {reason}")
    return serialize(Case(config), Tensors(x, w, b), constant=constant)


def serialize(case: Case, tensors: Tensors, *, constant: bool) -> bytes:
    """Return the model of a case as bytes."""
    bits = as_bits(tensors)
    return bytes(model_function(case, constant=constant)(bits.x, bits.w, bits.b).SerializeToString())


def keeping(compile_model: Callable[[bytes], Runnable]) -> Callable[[bytes], Runnable]:
    """Return a function that keeps what was compiled of the last few models, so that a repeat need not compile again.

    Large models are not kept: they hold their weights and working memory.
    """
    kept = lru_cache(maxsize=_KEPT)(compile_model)
    return lambda model: kept(model) if len(model) <= _LARGEST_KEPT else compile_model(model)


def declined(case: Case) -> Iterator[tuple[str, bool]]:
    """Yield what the operators' specification excludes, each with whether it applies to the case."""
    config = case.config
    transposed = config.op == "conv_transpose"
    yield "gradients: ONNX describes the forward pass", case.grad
    yield f"dtype {config.dtype}", config.dtype not in _DTYPES
    yield "an unbatched input", config.batch is None
    yield "padding that extends the output: pads are at least 0", transposed and config.padding != "same" and _crops(config)
    # The padding is negative then, and halving it rounds to another side than this library's "same".
    yield "SAME with a stride that is longer than the kernel by two sites and more", transposed and gaps(config) > 1
    # Pad's modes are "similar to corresponding modes supported by numpy.pad", which goes round as often as needed.
    repeats = config.padding_mode in ("reflect", "circular") and not config.is_valid
    yield "padding that goes round more than once, as numpy.pad allows", repeats
    # "… to add or remove (if negative)", whatever the mode.
    removes = config.padding_mode != "zeros" and min(itertools.chain(*config.pads)) < 0
    yield f"cropping with padding mode {config.padding_mode}, which Pad allows", removes
    word = isinstance(config.padding, str) and "auto_pad" in Layer(config).attributes
    yield "padding is a word, which has no length", config.flaw == "padding-length" and word


def _crops(config: ConvConfig) -> bool:
    return config.is_valid and any(side < 0 for side in itertools.chain(*config.pads))


def crops_everything(config: ConvConfig) -> bool:
    """Return whether the Pad before a convolution would remove more sites than there are, which its specification leaves open."""
    left = (size + min(lo, 0) + min(hi, 0) for size, (lo, hi) in zip(config.input_size, config.pads, strict=True))
    return config.op == "conv" and min(left) < 0


def gaps(config: ConvConfig) -> int:
    """Return by how many sites, at most, the strides of a transposed SAME layer are longer than its kernel."""
    return max(-min(map(sum, config.pads)), 0) if config.is_valid and config.padding == "same" else 0
