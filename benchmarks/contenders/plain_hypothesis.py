"""A Hypothesis test as an engineer would write it for a new kernel: drawn layers, PyTorch in float64, ``assert_close``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import hypothesis
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.case import Case, DataRecipe
from convfuzz.case.config import ConvConfig

from .calls import Call, Enough, compared, normal_operands

MODES = ("zeros", "reflect", "replicate", "circular")


@st.composite
def layers(draw: st.DrawFn) -> tuple[Case, int]:
    """Draw a layer of either operation that PyTorch computes, with or without gradients, and a seed for its data."""
    transposed, dims = draw(st.booleans()), draw(st.integers(1, 3))

    def per_axis(lowest: int, highest: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(lowest, highest)) for _ in range(dims))

    groups = draw(st.sampled_from([1, 1, 2, 3, 8]))
    kernel, stride, dilation = per_axis(1, 5), per_axis(1, 3), per_axis(1, 3)
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    padding: str | tuple[int, ...] = per_axis(0, 3)
    mode = "zeros" if transposed else draw(st.sampled_from(MODES))
    if mode == "zeros" and not transposed and set(stride) == {1} and draw(st.booleans()):
        padding = "same"
    pads = [3 if padding == "same" else p for p in padding] if isinstance(padding, tuple) else [3] * dims
    room = per_axis(0, 12)
    if transposed:
        output_padding = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
        size = tuple(1 + 2 * p + r for p, r in zip(pads, room, strict=True))  # enough for an output however it is cropped
    else:
        output_padding = (0,) * dims
        size = tuple(max(e - 2 * p, p + 1, 1) + r for e, p, r in zip(extent, pads, room, strict=True))
    config = ConvConfig(
        op="conv_transpose" if transposed else "conv",
        dims=dims,
        batch=draw(st.sampled_from([1, 2, 3, None])),
        in_channels=groups * draw(st.integers(1, 8)),
        out_channels=groups * draw(st.integers(1, 8)),
        groups=groups,
        input_size=size,
        kernel_size=kernel,
        stride=stride,
        padding=padding,
        padding_mode=mode,
        dilation=dilation,
        output_padding=output_padding,
        bias=draw(st.booleans()),
        dtype=draw(st.sampled_from(["float32", "float64", "float16", "bfloat16"])),
    )
    return Case(config, DataRecipe("normal", 0), draw(st.booleans())), draw(st.integers(0, 2**32 - 1))


class PlainHypothesis:
    """The test, with and without shrinking."""

    name = "Hypothesis + assert_close"
    version = f"Hypothesis {hypothesis.__version__}"
    made_for = "properties of any code; the domain and the tolerance are the author's"

    def run(self, seed: int, visit: Callable[[Call], None]) -> None:
        """Draw layers for ever."""

        @hypothesis.seed(seed)
        @settings(max_examples=10**6, phases=[Phase.generate], database=None, deadline=None, suppress_health_check=list(HealthCheck))
        @given(layers())
        def test(drawn: tuple[Case, int]) -> None:
            visit(_call(*drawn))

        test()

    def judged(self, case: Case) -> Call:
        """Return a call compared with PyTorch's result in float64."""
        return _call(case, 0)

    def shrunk(self, seed: int, kernel: KernelBackend, found_at: int, seconds: float) -> Case:
        """Return what Hypothesis shrinks the failing case to, which is number ``found_at`` of this seed; the best after ``seconds``."""
        count, best, began = 0, list[Case](), 0.0

        @hypothesis.seed(seed)
        @settings(
            max_examples=10**6, phases=[Phase.generate, Phase.shrink], database=None, deadline=None,
            suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
        )  # fmt: skip
        @given(layers())
        def test(drawn: tuple[Case, int]) -> None:
            nonlocal count, began
            count += 1
            if count < found_at:
                return  # this kernel passes there
            began = began or time.perf_counter()
            if time.perf_counter() - began > seconds:
                raise Enough
            wrong = _call(*drawn).judge(kernel)
            if wrong:
                best.append(drawn[0])
                raise AssertionError

        with contextlib.suppress(AssertionError, Enough, hypothesis.errors.Flaky):
            test()
        return best[-1]


def _call(case: Case, seed: int) -> Call:
    torch.manual_seed(seed)
    return compared(case, normal_operands(case), widest=True)
