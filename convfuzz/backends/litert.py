"""LiteRT on a CPU: a model of one convolution, written with the schema of its wheel, in an ``Interpreter``."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from convfuzz.backends.compile_cache import CallCache
from convfuzz.backends.protocol import Backend, Outputs, Support
from convfuzz.backends.registry import Family
from convfuzz.backends.source import BLANK, CallSource, indented
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Tensors


@dataclass(frozen=True)
class _Mode:
    """Which kernels a mode resolves the operators to."""

    summary: str
    resolver: str


_MODES = {
    "": _Mode("the interpreter as it comes, which delegates to XNNPACK what that computes", "AUTO"),
    "builtin": _Mode("LiteRT's own optimised kernels, without a delegate", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"),
    "reference": _Mode("LiteRT's reference kernels", "BUILTIN_REF"),
}
MODES = {name: mode.summary for name, mode in _MODES.items()}

_MODEL = '''\
class Model:
    """A model of one subgraph that is written operator by operator; its input is tensor 0 and its output the last one."""

    def __init__(self, shape):
        self.buffers, self.tensors, self.codes, self.operators = [schema.BufferT()], [], [], []
        self.tensor(shape)

    def tensor(self, shape=(), constant=None):
        tensor, buffer = schema.TensorT(), schema.BufferT()
        tensor.name, tensor.buffer, tensor.type = f"t{len(self.tensors)}", len(self.buffers), schema.TensorType.FLOAT32
        tensor.shape = list(shape)
        if constant is not None:
            tensor.shape, buffer.data = list(constant.shape), np.frombuffer(constant.tobytes(), np.uint8)
            tensor.type = getattr(schema.TensorType, constant.dtype.name.upper())
        self.buffers.append(buffer)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def operator(self, name, version, options, inputs, shape, **attributes):
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode, code.version = getattr(schema.BuiltinOperator, name), version
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self.codes), inputs, [self.tensor(shape)]
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        operator.builtinOptions = getattr(schema, f"{options}T")()
        for attribute, value in attributes.items():
            setattr(operator.builtinOptions, attribute, value)
        self.codes.append(code)
        self.operators.append(operator)
        return operator.outputs[0]

    def content(self):
        graph, model, builder = schema.SubGraphT(), schema.ModelT(), flatbuffers.Builder()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = self.tensors, self.operators, [0], [len(self.tensors) - 1]
        model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, self.buffers, self.codes, [graph]
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
'''


_INT16_MAX = 2**15 - 1


class LiteRtBackend:
    """The operators CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV, CONV_3D and CONV_3D_TRANSPOSE of LiteRT.

    The operators know SAME and VALID: zeros at the sides are an operator PAD before, reflection is MIRROR_PAD, and a transposed layer's
    padding is cut off the output of a VALID one. One dimension is a CONV_2D of height 1, as LiteRT's converter writes it; groups are
    inferred from the filter's depth.

    Invalid configurations: each kernel checks its operator (``TF_LITE_ENSURE`` in tflite/kernels).
    """

    def __init__(self, mode: str) -> None:
        import flatbuffers  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz
        from ai_edge_litert import interpreter, schema_py_generated  # noqa: PLC0415 - the same

        self._mode = _MODES[mode]
        self.name = f"litert:{mode}" if mode else "litert"
        self.versions: Mapping[str, str] = {"litert": version("ai-edge-litert")}
        written = {"np": np, "flatbuffers": flatbuffers, "schema": schema_py_generated}
        model = CallSource(_MODEL.splitlines(), {}).function("Model", written)
        self._given = {**written, "Model": model, "Interpreter": interpreter.Interpreter, "OpResolverType": interpreter.OpResolverType}
        self._calls = CallCache(self._make)

    def supports(self, case: Case) -> Support:
        """Decline what LiteRT's operators do not have."""
        return next((Support.no(reason) for reason, concerned in _declined(case) if concerned), Support.YES)

    def numerics(self, case: Case) -> Numerics:
        """Direct sums in float32.

        XNNPACK flushes subnormals (``PTHREADPOOL_FLAG_DISABLE_DENORMALS`` where it runs an operator), and so does ruy, whose matrix
        product the optimised CONV_3D alone is ("Suppress denormals to avoid computation inefficiency", ruy/trmul.cc).
        """
        by_ruy = self._mode.resolver != "BUILTIN_REF" and case.config.dims == 3 and case.config.op == "conv"
        return Numerics(flushes_subnormals=self._mode.resolver == "AUTO" or by_ruy)

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Write the model and run it."""
        return self._calls.run(case, tensors)

    def _make(self, case: Case) -> Any:
        return self._source(case).function("run", self._given)

    def _source(self, case: Case) -> CallSource:
        layer = _Layer(case.config)
        body = [
            f"x = np.ascontiguousarray({'np.moveaxis(x, 1, -1)[:, None]' if case.config.dims == 1 else 'np.moveaxis(x, 1, -1)'})",
            "interpreter = Interpreter(",
            "    model_content=layer(x, w, b),",
            "    num_threads=1,",
            f"    experimental_op_resolver_type=OpResolverType.{self._mode.resolver},",
            ")",
            "interpreter.allocate_tensors()",
            'interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)',
            "interpreter.invoke()",
            'y = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])',
            f"return np.moveaxis(y{'[$crop]' if layer.crops else ''}, -1, 1){'[:, :, 0]' if case.config.dims == 1 else ''}",
        ]
        lines = ["def layer(x, w, b):", *indented(layer.lines), *BLANK, "def run(x, w, b):", *indented(body)]
        return CallSource(lines, layer.values)

    def title(self, case: Case) -> str:
        """Name the operator."""
        return f"LiteRT: {_Layer(case.config).operator}"

    def script(self, case: Case) -> str:
        """Return the source that :meth:`run` runs."""
        return f"{_IMPORTS}{_MODEL}\n\n{self._source(case)}"


_IMPORTS = """\
import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType


"""


class _Layer:
    """The operators of a configuration: ``lines`` write the model of x, w and b, and ``values`` are what their ``$`` names stand for."""

    def __init__(self, config: ConvConfig) -> None:
        transposed = config.op == "conv_transpose"
        # One dimension is the second of two.
        flat = (1,) if config.dims == 1 else ()
        kernel, stride, dilation = (flat + given for given in (config.kernel_size, config.stride, config.dilation))
        pads = ((0, 0),) * len(flat) + config.pads
        size = flat + config.input_size
        is_same = config.padding == "same" and config.padding_mode == "zeros"
        padded = [(0, 0), *pads, (0, 0)] if not transposed and not is_same and any(map(any, pads)) else None
        if padded is not None:
            size = tuple(max(n + lo + hi, 0) for n, (lo, hi) in zip(size, pads, strict=True))
        self.values: dict[str, object] = {"pads": padded, "padded": [config.batch, *size, config.in_channels]}
        self.lines = ["model = Model(x.shape)", "inputs = 0"]
        if padded is not None:
            name, options, mode = ("MIRROR_PAD", "MirrorPadOptions", ", mode=schema.MirrorPadMode.REFLECT")
            if config.padding_mode == "zeros":
                name, options, mode = "PAD", "PadOptions", ""
            self.lines += [
                "pads = model.tensor(constant=np.array($pads, np.int32))",
                f'inputs = model.operator("{name}", 1, "{options}", [0, pads], $padded{mode})',
            ]
        attributes = {f"stride{axis}": step for axis, step in zip("DHW"[-len(stride) :], stride, strict=True)}
        attributes |= {f"dilation{axis}Factor": step for axis, step in zip("DHW"[-len(dilation) :], dilation, strict=True)}
        depthwise = not transposed and config.dims < 3 and config.groups == config.in_channels > 1
        self.operator, version, options = _operator(config, depthwise=depthwise)
        if depthwise:
            attributes["depthMultiplier"] = config.out_channels // config.in_channels
        if options == "TransposeConvOptions":
            attributes = {name: step for name, step in attributes.items() if not name.startswith("dilation")}
        outputs = flat + tuple(max(n, 0) for n in config.output_size)  # the interpreter infers its own
        self.crops = transposed and config.padding != "same" and any(map(any, config.pads))
        if self.crops:
            reach = (*kernel[: len(flat)], *config.effective_kernel)
            axes = list(zip(size, reach, stride, pads, (0,) * len(flat) + config.output_padding, strict=True))
            full = tuple((n - 1) * s + k + max(extra - hi, 0) for n, k, s, (_, hi), extra in axes)
            cuts = (slice(lo, n - max(hi - extra, 0)) for n, (_, _, _, (lo, hi), extra) in zip(full, axes, strict=True))
            self.values["crop"] = (slice(None), *cuts)
            outputs = full
        self.values |= {"outputs": [config.batch, *outputs, config.out_channels], "filter": (config.out_channels, *kernel)}
        self.values |= attributes | {"split": (*config.weight_shape[:2], *kernel)}
        filters = {"DEPTHWISE_CONV_2D": "w.reshape($filter).transpose(1, 2, 0)[None]"}.get(
            self.operator, f"w.reshape($split).{_order(config)}"
        )
        # CONV_2D and DEPTHWISE_CONV_2D want a bias; their converter writes zeros for none.
        bias = "b" if config.bias else "np.zeros($bias, np.float32)" if self.operator.endswith("CONV_2D") else ""
        self.values["bias"] = config.out_channels
        weights = ["filters", *(["bias"] if bias else [])]
        names = ", ".join(["sizes", "filters", "inputs", *weights[1:]] if transposed else ["inputs", *weights])
        named = "".join(f", {name}=${name}" for name in attributes)
        self.lines += [
            *(["sizes = model.tensor(constant=np.array($outputs, np.int32))"] if transposed else []),
            f"filters = model.tensor(constant=np.ascontiguousarray({filters}))",
            *([f"bias = model.tensor(constant={bias})"] if bias else []),
            f"padding = schema.Padding.{'SAME' if is_same else 'VALID'}",
            f'model.operator("{self.operator}", {version}, "{options}", [{names}], $outputs, padding=padding{named})',
            "return model.content()",
        ]
        self.values = {name: value for name, value in self.values.items() if f"${name}" in "".join(self.lines) or name == "crop"}


def _operator(config: ConvConfig, *, depthwise: bool) -> tuple[str, int, str]:
    if config.dims == 3:
        name = "CONV_3D_TRANSPOSE" if config.op == "conv_transpose" else "CONV_3D"
        return name, 1, "Conv3DOptions"
    if config.op == "conv_transpose":
        return "TRANSPOSE_CONV", 3 if config.bias else 1, "TransposeConvOptions"
    if depthwise:
        return "DEPTHWISE_CONV_2D", 2, "DepthwiseConv2DOptions"
    return "CONV_2D", 1, "Conv2DOptions"


def _order(config: ConvConfig) -> str:
    """Return the reordering of (out, in/groups, *kernel), transposed (in, out, *kernel), to the filter's order."""
    if config.dims == 3:
        return "transpose(2, 3, 4, 1, 0)"  # (*kernel, in, out), and transposed (*kernel, out, in)
    return "transpose(1, 2, 3, 0)" if config.op == "conv_transpose" else "transpose(0, 2, 3, 1)"  # (out, *kernel, in)


_OF_NO_MODEL = {
    "input-flat": "an input whose channels cannot be moved behind its sites",
    "weight-rank": "a weight whose channels cannot be moved behind its taps",
    "weight-scalar": "a weight whose channels cannot be moved behind its taps",
    "bias-rank": "a bias of two axes, whose elements are counted",
    **dict.fromkeys(("stride-length", "padding-length", "dilation-length", "output-length"), "an operator has one number for each axis"),
}
"""Flaws of a call that no model has, or that are none."""


def _declined(case: Case) -> Iterator[tuple[str, bool]]:
    config = case.config
    grouped = config.groups != 1
    yield "gradients: a model of LiteRT's has the forward pass", case.grad
    yield f"dtype {config.dtype}: float32 only", config.dtype != "float32"
    yield "an unbatched input", config.batch is None
    yield "empty tensors", config.is_valid and 0 in (*config.input_shape, *config.weight_shape)
    yield f"padding mode {config.padding_mode}: MIRROR_PAD has reflect", config.padding_mode in ("replicate", "circular")
    yield "groups in three dimensions", config.dims == 3 and grouped
    beyond = max(*map(abs, config.stride), *map(abs, config.dilation)) > _INT16_MAX
    yield "a stride or dilation beyond 16 bits, which the kernels of one and two dimensions refuse", config.dims < 3 and beyond
    if config.op == "conv_transpose":
        yield "groups in a transposed convolution", grouped
        yield "dilation in a transposed convolution of one or two dimensions", config.dims < 3 and set(config.dilation) != {1}
        gaps = any(stride > kernel for stride, kernel in zip(config.stride, config.kernel_size, strict=True))
        yield "SAME with a stride that is longer than the kernel", config.padding == "same" and gaps
        yield "an output that no input of its stride has", config.is_valid and any(map(operator.ge, config.output_padding, config.stride))
    yield "negative padding", config.padding != "same" and min(side for sides in config.pads for side in sides) < 0
    if config.is_valid:
        return
    yield "groups are what the filter's depth says", grouped and (config.groups < 1 or config.in_channels % config.groups > 0)
    yield "padding that the caller cuts off", config.op == "conv_transpose" and config.padding != "same" and any(map(any, config.pads))
    yield "an output padding below zero, which is an output of another size", min(config.output_padding) < 0
    yield "numbers that a model has 32 bits for", config.is_extreme
    yield _OF_NO_MODEL.get(config.flaw or "", ""), config.flaw in _OF_NO_MODEL


def _load(mode: str) -> Backend:
    return LiteRtBackend(mode)


def _preload(mode: str) -> None:
    del mode
    import ai_edge_litert.interpreter  # noqa: F401, PLC0415 - that is what preloading is
    import flatbuffers  # noqa: F401, PLC0415 - the same


FAMILY = Family(summary="LiteRT on a CPU", modes=MODES, load=_load, extra="litert", preload=_preload)
