"""Assertions for any test suite: an output or its gradients, held against the reference within the derived tolerance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from convfuzz.case import PASSES, Case
from convfuzz.case.config import ITEMSIZE, ConvConfig
from convfuzz.case.dtypes import is_complex, is_integer
from convfuzz.checking.tally import count_assertion
from convfuzz.errors import InvalidConfig
from convfuzz.judging.judge import Judge
from convfuzz.judging.judgement import Judgement
from convfuzz.judging.numerics import Numerics
from convfuzz.judging.plain_loop import strays
from convfuzz.testing.failure_text import Diagnosis
from convfuzz.testing.given_layer import Array, ForeignLayer, as_array
from convfuzz.testing.whole_numbers import hold_integers
from convfuzz.verdicts import Verdict

PerAxis = int | Sequence[int]
Padding = int | Sequence[int | tuple[int, int]] | str
DataFormat = Literal["channels_first", "channels_last"]

_GRADIENTS: tuple[str, ...] = PASSES[1:]


def assert_conv_close(  # noqa: PLR0913 - a layer has that many parameters
    actual: object,
    x: object,
    w: object,
    b: object | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    transposed: bool = False,
    output_padding: PerAxis = 0,
    padding_mode: str = "zeros",
    data_format: DataFormat = "channels_first",
    numerics: Numerics | None = None,
) -> None:
    """Assert that ``actual`` is the convolution of ``x`` and ``w``, as close as its arithmetic can be.

    There is no tolerance to choose: it follows, per element, from the data and from ``numerics``, see ``docs/numerics.md``.
    Where the operands are whole numbers whose sums the dtype represents, the result has to be exact.

    Args:
        actual: the output to judge, of x's dtype. It and the operands are NumPy arrays, tensors of PyTorch (on any
            device), TensorFlow or JAX, or anything with ``__array__`` or DLPack.
        x: the input (N, C, *spatial), or (C, *spatial) when unbatched. Its dtype is the layer's: floating-point,
            bfloat16 with it, complex, or int8, int32 or int64.
        w: the weight (out, in / groups, *kernel), transposed (in, out / groups, *kernel). It says how many spatial axes
            there are: one, two or three.
        b: the bias (out,).
        stride: one number, or one for each axis; ``dilation`` and ``output_padding`` likewise.
        padding: ``"same"``, ``"valid"``, a number, or for each axis a number or a ``(lo, hi)`` pair; negative crops.
        dilation: the distance between neighbouring taps.
        groups: how many groups the channels are cut into.
        transposed: whether the layer is a transposed convolution.
        output_padding: how much longer the output of a transposed convolution is at its high end.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        data_format: ``"channels_last"`` for TensorFlow's layouts: data (N, *spatial, C), weight (*kernel, in / groups,
            out), transposed (*kernel, out / groups, in).
        numerics: the arithmetic that is allowed. By default sums are direct, of the operands as they are, in the dtype
            or in float32 for 16-bit ones; there the sum may be rounded before the bias is added; a complex product may be
            made of three real ones.

    Raises:
        AssertionError: ``actual`` is something else; the message shows where, by how much, and what would explain it.
        InvalidConfig: the parameters are no convolution, or an operand has the wrong shape or dtype (a ValueError).
        TypeError: something is no array.
    """
    __tracebackhide__ = True
    layer = ForeignLayer.of(
        {"x": x, "w": w} | ({} if b is None else {"b": b}),
        data_format=data_format,
        bias=b is not None,
        op="conv_transpose" if transposed else "conv",
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        output_padding=output_padding,
        padding_mode=padding_mode,
    )
    message = _message(layer, {"forward": as_array("actual", actual)}, numerics)
    if message:
        raise AssertionError(message)


def assert_conv_grads_close(  # noqa: PLR0913 - a layer has that many parameters
    actual: Mapping[str, object],
    x: object,
    w: object,
    dy: object,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    transposed: bool = False,
    output_padding: PerAxis = 0,
    padding_mode: str = "zeros",
    data_format: DataFormat = "channels_first",
    numerics: Numerics | None = None,
) -> None:
    """Assert that ``actual`` holds the gradients of a convolution, as close as its arithmetic can be.

    ``actual`` maps any of ``"grad_input"``, ``"grad_weight"`` and ``"grad_bias"`` to an array of the shape of x, w or the
    bias, and ``dy`` is the gradient of the output. Complex gradients are PyTorch's: ``dy`` contracted with the conjugate
    of the other operand. All else is as in :func:`assert_conv_close`.

    Raises:
        AssertionError: a gradient is something else; the message is about each one that is.
        InvalidConfig: as there; or ``actual`` is empty or has an unknown key, or the dtype is an integer one.
        TypeError: as there.
    """
    __tracebackhide__ = True
    outputs = _gradients(actual)
    layer = ForeignLayer.of(
        {"x": x, "w": w, "dy": dy},
        data_format=data_format,
        bias="grad_bias" in outputs,
        op="conv_transpose" if transposed else "conv",
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        output_padding=output_padding,
        padding_mode=padding_mode,
    )
    if is_integer(layer.config.dtype):
        raise InvalidConfig(f"x is {layer.config.dtype}: a convolution of integers has no gradients")
    message = _message(layer, outputs, numerics)
    if message:
        raise AssertionError(message)


def _gradients(actual: Mapping[str, object]) -> dict[str, Array]:
    """Return the gradients that were handed in, in the order of the passes."""
    if not isinstance(actual, Mapping):
        raise TypeError(f"actual is of type {type(actual).__name__}, not a mapping such as {{'grad_weight': w.grad}}")
    unknown = [name for name in actual if name not in _GRADIENTS]
    if unknown or not actual:
        found = f"{unknown[0]!r}" if unknown else "nothing"
        raise InvalidConfig(f"actual holds {found}: expected any of {', '.join(_GRADIENTS)}")
    return {name: as_array(f"actual[{name!r}]", actual[name]) for name in _GRADIENTS if name in actual}


def _message(layer: ForeignLayer, outputs: Mapping[str, Array], numerics: Numerics | None) -> str:
    """Judge one output for each pass and say what is wrong; nothing where nothing is."""
    count_assertion()
    allowed = (_usual(layer.config) if numerics is None else numerics).in_pass(next(iter(outputs)))
    case = Case(layer.config, grad="forward" not in outputs)
    judge = Judge(case, layer.tensors, integers=hold_integers(layer, allowed))
    judged = {name: _judge(layer, judge, allowed, name, output) for name, output in outputs.items()}
    failing = [name for name, judgement in judged.items() if judgement.verdict.failing]
    paragraphs = [str(Diagnosis(layer, judge, allowed, name, outputs[name], judged[name])) for name in failing]
    if failing and len(failing) < len(judged):
        paragraphs.append(f"agree: {', '.join(name for name in judged if name not in failing)}")
    return "\n\n".join(paragraphs)


def _judge(layer: ForeignLayer, judge: Judge, allowed: Numerics, name: str, output: Array) -> Judgement:
    """Judge an output, by the proven bound alone where a plain loop over the same data is beyond the statistical one."""
    ours = layer.ours(name, output)
    judgement = judge.judge(ours, allowed, name)
    rounded = judgement.verdict in (Verdict.WRONG, Verdict.IMPRECISE) and judgement.discrepancy is not None and judgement.discrepancy.ratio
    if (
        rounded
        and not judgement.proven
        and not is_complex(layer.config.dtype)
        and strays(judge, layer.tensors, ours, allowed.in_any_order(), name)
    ):
        return Judgement(verdict=Verdict.AGREE)
    return judgement


def _usual(config: ConvConfig) -> Numerics:
    """Allow what layers of all frameworks do: a bias added to the rounded sum, and complex products made of three real ones."""
    return Numerics(
        bias="separate" if config.bias and ITEMSIZE[config.dtype] == 2 else "fused",
        complex_products="three" if is_complex(config.dtype) else "four",
    )
