"""A convolution as an ONNX model, made by ``onnx.helper`` and written down as source; several runtimes take it.

Opset 22 is the first whose Conv and ConvTranspose know bfloat16; its Pad has ``wrap``. IR version 10 belongs to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, TypeVar

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.tensors.generator import Array, Tensors

OPSET, IR_VERSION = 22, 10
_ELEMENT_TYPES = {"float64": "DOUBLE", "float32": "FLOAT", "float16": "FLOAT16", "bfloat16": "BFLOAT16"}
_PAD_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
_KEPT, _LARGEST_KEPT = 4, 2**20

Compiled = TypeVar("Compiled")


class Layer:
    """The nodes of a configuration: Conv or ConvTranspose with its attributes, and the Pad before it where it needs one.

    ``"same"`` and ``"valid"`` are ``auto_pad`` SAME_UPPER and VALID, zeros at either side ``pads``. Other padding modes and
    cropping, which ``pads`` has not ("any value greater than or equal to 0"), are a Pad node.
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


def serialize(config: ConvConfig, tensors: Tensors, *, constant: bool) -> bytes:
    """Return the model of a layer as bytes; ``constant`` makes weight and bias initializers, inputs of the graph otherwise."""
    from onnx import TensorProto, helper  # noqa: PLC0415 - loaded with the backend that needs it, not with convfuzz

    layer = Layer(config)
    operands = {name: array for name, array in tensors.named().items() if name != "dy"}
    types = {name: getattr(TensorProto, _ELEMENT_TYPES[array.dtype.name]) for name, array in operands.items()}
    constants = [name for name in operands if name != "x"] if constant else []
    initializers = [helper.make_tensor(name, types[name], operands[name].shape, operands[name].tobytes(), raw=True) for name in constants]
    nodes = []
    if layer.pad is not None:
        nodes.append(helper.make_node("Pad", ["x", "pads"], ["padded"], mode=layer.pad_mode))
        initializers.append(helper.make_tensor("pads", TensorProto.INT64, [len(layer.pad)], layer.pad))
    names = ["padded" if layer.pad is not None else "x", *(name for name in operands if name != "x")]
    nodes.append(helper.make_node(layer.operator, names, ["y"], **layer.attributes))
    inputs = [helper.make_tensor_value_info(name, types[name], a.shape) for name, a in operands.items() if name not in constants]
    outputs = [helper.make_tensor_value_info("y", types["x"], [None] * (config.dims + 2))]
    graph = helper.make_graph(nodes, "convolution", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


def feeds(tensors: Tensors, *, constant: bool) -> dict[str, Array]:
    """Return the graph's inputs by name."""
    return {name: array for name, array in tensors.named().items() if name == "x" or (name != "dy" and not constant)}


def keeping(compile_model: Callable[[bytes], Compiled]) -> Callable[[bytes], Compiled]:
    """Keep what was compiled of the last few models, so that repeats and recipes of one graph need not compile again.

    Large ones are not kept: they hold their weights and working memory.
    """
    kept = lru_cache(maxsize=_KEPT)(compile_model)
    return lambda model: kept(model) if len(model) <= _LARGEST_KEPT else compile_model(model)


def declined(case: Case) -> Iterator[tuple[str, bool]]:
    """Yield what the operators' specification excludes, each with whether the case is concerned."""
    config = case.config
    transposed = config.op == "conv_transpose"
    yield "gradients: ONNX describes the forward pass", case.grad
    yield f"dtype {config.dtype}", config.dtype not in _ELEMENT_TYPES
    yield "an unbatched input", config.batch is None
    yield "padding that extends the output: pads are at least 0", transposed and config.padding != "same" and _crops(config)
    # The padding is negative then, and its half is not where this library's "same" has it.
    yield "SAME with a stride that is longer than the kernel by two sites and more", transposed and gaps(config) > 1
    # Pad's modes are "similar to corresponding modes supported by numpy.pad", which goes round as often as it takes.
    repeats = config.padding_mode in ("reflect", "circular") and not config.is_valid
    yield "padding that goes round more than once, as numpy.pad has it", repeats
    word = isinstance(config.padding, str) and "auto_pad" in Layer(config).attributes
    yield "padding is a word, which has no length", config.flaw == "padding-length" and word


def _crops(config: ConvConfig) -> bool:
    return config.is_valid and any(side < 0 for side in itertools.chain(*config.pads))


def crops_everything(config: ConvConfig) -> bool:
    """Whether a Pad before a convolution has to remove more sites than there are, which its text leaves open."""
    left = (size + min(lo, 0) + min(hi, 0) for size, (lo, hi) in zip(config.input_size, config.pads, strict=True))
    return config.op == "conv" and min(left) < 0


def gaps(config: ConvConfig) -> int:
    """Return by how many sites, at most, the strides of a transposed SAME layer are longer than its kernel."""
    return max(-min(map(sum, config.pads)), 0) if config.is_valid and config.padding == "same" else 0


# -- the same as source -------------------------------------------------------------------------------------------

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


def model_source(case: Case, *, constant: bool) -> str:
    """Return the source of a function ``model(x, w, b)``, for a script that imports ``helper`` and ``TensorProto`` of onnx."""
    layer = Layer(case.config)
    weights = ["w", "b"] if case.config.bias else ["w"]
    nodes, initializers = [], [f'constant("{name}", {name})' for name in weights if constant]
    if layer.pad is not None:
        nodes.append(f'helper.make_node("Pad", ["x", "pads"], ["padded"], mode="{layer.pad_mode}"),')
        initializers.append(f'helper.make_tensor("pads", TensorProto.INT64, [{len(layer.pad)}], {layer.pad})')
    names = ["padded" if layer.pad is not None else "x", *weights]
    keywords = ", ".join(f"{name}={value!r}" for name, value in layer.attributes.items())
    nodes.append(f'helper.make_node("{layer.operator}", {names}, ["y"], {keywords}),')
    return _MODEL.format(
        nodes="\n".join(f"        {node}" for node in nodes),
        inputs=", ".join(f'value("{name}", {name})' for name in ("x", *([] if constant else weights))),
        initializers=", ".join(initializers),
        rank=case.config.dims + 2,
        opset=OPSET,
        ir_version=IR_VERSION,
    )


def feeds_source(case: Case, *, constant: bool) -> str:
    """Return the source of the dictionary of the graph's inputs."""
    names = ["x"] if constant else ["x", "w", "b"] if case.config.bias else ["x", "w"]
    return "{" + ", ".join(f'"{name}": {name}' for name in names) + "}"
