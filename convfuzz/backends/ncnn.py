"""ncnn on a CPU: a network of one layer, written as the text and the weights that ``ncnn.Net`` loads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
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
    """The options of ``ncnn.Net.opt`` that a mode sets."""

    summary: str
    options: tuple[str, ...] = ()


_MODES = {
    "": _Mode("ncnn.Net on a CPU, one thread, with its options as they come"),
    "bf16": _Mode("operands and results stored in bfloat16", ("use_bf16_storage = True",)),
    "nopack": _Mode("without packed channels", ("use_packing_layout = False",)),
    "winograd-off": _Mode("without Winograd for 3×3 kernels", ("use_winograd_convolution = False",)),
    "sgemm-off": _Mode("without matrix products: a kernel for each size and packing", ("use_sgemm_convolution = False",)),
}
MODES = {name: mode.summary for name, mode in _MODES.items()}
_SAME_UPPER = -233
_PAD_TYPES = {"replicate": 1, "reflect": 2}
_AXES = "dhw"
# The numbers of ncnn's parameters (docs/developer-guide/operators.md), by axis.
_KERNEL = {"w": 1, "h": 11, "d": 21}
_DILATION = {"w": 2, "h": 12, "d": 22}
_STRIDE = {"w": 3, "h": 13, "d": 23}
_LOW = {"w": 4, "h": 14, "d": 24}
_HIGH = {"w": 15, "h": 16, "d": 17}
_OUTPUT_PADDING = {"w": 18, "h": 19, "d": 20}
_OUTPUT_SIZE = {1: {"w": 20}, 2: {"w": 20, "h": 21}, 3: {"w": 25, "h": 26, "d": 27}}
_BORDER = {"w": (2, 3), "h": (0, 1), "d": (7, 8)}


class NcnnBackend:
    """The layers Convolution and Deconvolution of ncnn, with their depthwise and their 1-D and 3-D kin.

    ``docs/developer-guide/operators.md`` of ncnn is the documentation. "same" is the pad -233, which its converters write for
    SAME_UPPER; reflection and copies of the edge are a layer Padding before. A batch is one sample after the other: ncnn has none.

    Invalid configurations: ``load_param`` of each layer is the rule, and -100 what a size that cannot be is answered with.
    """

    def __init__(self, mode: str) -> None:
        import ncnn  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz

        self._ncnn: Any = ncnn
        self._mode = mode
        self.name = f"ncnn:{mode}" if mode else "ncnn"
        self.versions: Mapping[str, str] = {"ncnn": str(ncnn.__version__)}
        self._calls = CallCache(self._make)

    def supports(self, case: Case) -> Support:
        """Decline what ncnn's layers have no parameter for."""
        return next((Support.no(reason) for reason, concerned in _declined(case) if concerned), Support.YES)

    def numerics(self, case: Case) -> Numerics:
        """Direct sums in float32; Winograd for 3×3 kernels of stride 1, which ``Option`` documents, and bfloat16 where it is asked for.

        ``Option`` flushes subnormals too (``flush_denormals`` is 3, both ways, as it comes). What of that shows is Winograd's, whose
        smallest products are lost before the transform back multiplies them, and bfloat16's, whose instruction flushes them in any case.
        """
        narrow = self._mode == "bf16"
        transforms = self._mode != "winograd-off" and _may_transform(case.config)
        return Numerics(
            inputs="bfloat16" if narrow else "exact",
            outputs="bfloat16" if narrow else "exact",
            algorithm="transform" if transforms else "direct",
            flushes_subnormals=transforms or narrow,
        )

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Load the network and run it on each sample."""
        return self._calls.run(case, tensors)

    def _make(self, case: Case) -> Any:
        return self._source(case).function("run", {"np": np, "ncnn": self._ncnn, "Path": Path, "tempfile": tempfile})

    def _source(self, case: Case) -> CallSource:
        config = case.config
        network = [
            "net = ncnn.Net()",
            "net.opt.num_threads = 1",
            *(f"net.opt.{option}" for option in _MODES[self._mode].options),
            "with tempfile.TemporaryDirectory() as folder:",
            '    text, weights = Path(folder, "layer.param"), Path(folder, "layer.bin")',
            '    text.write_text("\\n".join($layers) + "\\n")',
            f"    weights.write_bytes(bytes(4) + {_weight(config)}.tobytes(){' + b.tobytes()' * config.bias})",
            "    if net.load_param(str(text)) or net.load_model(str(weights)):",
            '        raise RuntimeError("ncnn cannot load the layer")',
            "return net",
        ]
        compute = [
            "extractor = net.create_extractor()",
            "sample = np.ascontiguousarray(sample)  # a Mat of an array does not keep it",
            'extractor.input("x", ncnn.Mat(sample).clone())',
            'status, y = extractor.extract("y")',
            "if status:",
            '    raise RuntimeError(f"ncnn returns {status}")',
            "return np.array(y)",
        ]
        result = "compute(net, x)" if config.batch is None else "np.stack([compute(net, sample) for sample in x])"
        lines = [
            "def network(w, b):",
            *indented(network),
            *BLANK,
            "def compute(net, sample):",
            *indented(compute),
            *BLANK,
            "def run(x, w, b):",
            *indented(["net = network(w, b)", f"return {result}"]),
        ]
        return CallSource(lines, _values(config))

    def title(self, case: Case) -> str:
        """Name the layer."""
        return f"ncnn: {layer_type(case.config)}"

    def script(self, case: Case) -> str:
        """Return the source that :meth:`run` runs."""
        return f"import tempfile\nfrom pathlib import Path\n\nimport ncnn\n\n\n{self._source(case)}"


def layer_type(config: ConvConfig) -> str:
    """Return ncnn's name of the layer."""
    kind = "Deconvolution" if config.op == "conv_transpose" else "Convolution"
    return f"{kind}{'DepthWise' * (config.groups != 1)}{'' if config.dims == 2 else f'{config.dims}D'}"


def _values(config: ConvConfig) -> dict[str, object]:
    """Return the lines of the network's text, and the shapes between which a transposed layer's weight is reordered."""
    axes = _AXES[-config.dims :]
    padded = config.op == "conv" and config.padding_mode != "zeros" and any(map(any, config.pads))
    layers = ["7767517", f"{3 if padded else 2} {3 if padded else 2}", "Input x 0 1 x"]
    if padded:
        borders = {
            number: side for axis, sides in zip(axes, config.pads, strict=True) for number, side in zip(_BORDER[axis], sides, strict=True)
        }
        layers.append(f"Padding padded 1 1 x padded {_numbers(borders | {4: _PAD_TYPES[config.padding_mode]})}")
    layers.append(f"{layer_type(config)} y 1 1 {'padded' if padded else 'x'} y {_numbers(_parameters(config, axes))}")
    rows, columns, *kernel = config.weight_shape
    return {"layers": layers, "split": (max(config.groups, 1), rows // max(config.groups, 1), columns, *kernel)}


def _parameters(config: ConvConfig, axes: str) -> dict[int, int]:
    numbers = {0: config.out_channels, 5: int(config.bias), 6: int(np.prod(config.weight_shape))}
    if config.groups != 1:
        numbers[7] = config.groups
    for axis, kernel, dilation, stride in zip(axes, config.kernel_size, config.dilation, config.stride, strict=True):
        numbers |= {_KERNEL[axis]: kernel, _DILATION[axis]: dilation, _STRIDE[axis]: stride}
    by_word = config.padding == "same" and config.padding_mode == "zeros"
    for axis, (lo, hi) in zip(axes, config.pads, strict=True):
        sides = (_SAME_UPPER, _SAME_UPPER) if by_word else (0, 0) if config.padding_mode != "zeros" else (lo, hi)
        numbers |= dict(zip((_LOW[axis], _HIGH[axis]), sides, strict=True))
    if config.op == "conv_transpose":
        for axis, extra, size in zip(axes, config.output_padding, config.output_size, strict=True):
            numbers |= {_OUTPUT_SIZE[config.dims][axis]: size} if by_word else {_OUTPUT_PADDING[axis]: extra}
    return numbers


def _numbers(numbers: Mapping[int, int]) -> str:
    return " ".join(f"{number}={value}" for number, value in sorted(numbers.items()))


def _weight(config: ConvConfig) -> str:
    """Return the expression for the weight in ncnn's order, (out, in/groups, *kernel) in each group."""
    return "w" if config.op == "conv" else "w.reshape($split).swapaxes(1, 2)"


def _may_transform(config: ConvConfig) -> bool:
    return config.op == "conv" and config.dims == 2 and set(config.kernel_size) == {3} and set(config.stride) == {1}


def _declined(case: Case) -> Iterator[tuple[str, bool]]:
    config = case.config
    yield "gradients: ncnn has the forward pass", case.grad
    yield f"dtype {config.dtype}: models are float32", config.dtype != "float32"
    empty = config.is_valid and 0 in (*config.input_shape, *config.weight_shape)
    yield "empty tensors: an empty Mat says that something failed", empty
    yield "negative padding", min(side for sides in config.pads for side in sides) < 0
    yield "padding mode circular: Padding has constant, replicate and reflect", config.padding_mode == "circular"
    if config.is_valid:
        return
    yield "operands without shapes: weights are a stream of numbers, and a Mat has no batch", config.flaw not in (None, "input-channels")
    yield "output_padding is any number of sites", config.op == "conv_transpose" and _has_other_output(config)
    uneven = config.groups > 1 and config.in_channels % config.groups > 0
    yield "groups that the weights cannot be reordered in", config.op == "conv_transpose" and uneven


def _has_other_output(config: ConvConfig) -> bool:
    axes = zip(config.output_padding, config.stride, config.dilation, strict=True)
    return any(extra < 0 or 0 < extra >= max(stride, dilation) for extra, stride, dilation in axes)


def _load(mode: str) -> Backend:
    return NcnnBackend(mode)


def _preload(mode: str) -> None:
    del mode
    import ncnn  # noqa: F401, PLC0415 - that is what preloading is


FAMILY = Family(summary="ncnn on a CPU", modes=MODES, load=_load, extra="ncnn", preload=_preload)
