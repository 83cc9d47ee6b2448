"""The rewritings of the relations as source: a ``run`` that calls the one before it on other tensors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from convfuzz.backends.script_parts import arguments, operands
from convfuzz.backends.source import CallSource, indented
from convfuzz.case import Case
from convfuzz.case.dtypes import is_complex

Index = tuple[Any, ...]


def around(case: Case, said: str, before: Iterable[str], after: Iterable[str], **values: object) -> CallSource:
    """Return a ``run`` that calls the one before it: ``before`` changes the arguments, ``after`` the dictionary ``outputs``."""
    call = f"run_rewritten({arguments(case)})"
    lines = [
        f'"""{said}"""',
        *before,
        f"outputs = {call}" if case.grad else f'outputs = {{"forward": {call}}}',
        *after,
        "return outputs" if case.grad else 'return outputs["forward"]',
    ]
    return CallSource([f"def run({arguments(case)}, run_rewritten=run):", *indented(lines)], values)


def zero_stuffed(case: Case, shape: tuple[int, ...], taps: Index) -> CallSource:
    """Spread the weight out to ``shape``; keep the taps of its gradient."""
    before = ["stuffed = np.zeros($shape, w.dtype)", "stuffed[$taps] = w", "w = stuffed"]
    after = ['outputs["grad_weight"] = outputs["grad_weight"][$taps]'] if case.grad else []
    said = "Convolve with the kernel of the full extent, which has zeros between the taps."
    return around(case, said, before, after, shape=shape, taps=taps)


def subsampled(case: Case, shape: tuple[int, ...], sites: Index) -> CallSource:
    """Compute every site of an output of ``shape`` and keep those of the stride; the gradient has zeros at the others."""
    before = ["dense = np.zeros($shape, dy.dtype)", "dense[$sites] = dy", "dy = dense"] if case.grad else []
    after = ['outputs["forward"] = outputs["forward"][$sites]']
    return around(case, "Convolve with stride 1 and keep the sites of the stride.", before, after, shape=shape, sites=sites)


def padded(case: Case, inside: Index, amounts: list[tuple[int, int]], mode: str, window: Index) -> CallSource:
    """Crop to ``inside`` and pad by ``amounts``; the input's gradient is that in the ``window``, and zero where it was cropped."""
    after = [
        'whole = np.zeros($shape, outputs["grad_input"].dtype)',
        'whole[$inside] = outputs["grad_input"][$window]',
        'outputs["grad_input"] = whole',
    ]
    return around(
        case,
        "Pad and crop first, then convolve without padding.",
        ["x = np.pad(x[$inside], $amounts, mode=$mode)"],
        after if case.grad else [],
        inside=inside,
        amounts=amounts,
        mode=mode,
        window=window,
        shape=case.config.input_shape,
    )


def permuted(case: Case) -> CallSource:
    """Reverse the channels of every group on both sides, and restore the order of what comes back."""
    config = case.config
    rows = "kernels" if config.op == "conv" else "channels"
    before = [
        "channels = np.arange($in_channels).reshape($groups, -1)[:, ::-1].reshape(-1)",
        "kernels = np.arange($out_channels).reshape($groups, -1)[:, ::-1].reshape(-1)",
        # Without the copy an axis of size 1 would keep its negative stride, which torch rejects.
        f"x, w = np.take(x, channels, $axis), w[{rows}][:, ::-1].copy()",
        *(["b = b[kernels]"] if "b" in operands(case).split(", ") else []),
        *(["dy = np.take(dy, kernels, $axis)"] if case.grad else []),
    ]
    restored = {
        "grad_input": 'np.take(outputs["grad_input"], channels, $axis)',
        "grad_weight": f'outputs["grad_weight"][{rows}][:, ::-1].copy()',
        "grad_bias": 'outputs["grad_bias"][kernels]',
    }
    after = [
        'if outputs["forward"].shape == $shape:  # a wrong shape is left as it is, to be reported',
        '    outputs["forward"] = np.take(outputs["forward"], kernels, $axis)',
        *(f'outputs["{name}"] = {restored[name]}' for name in case.passes if name in restored),
    ]
    return around(
        case,
        "Convolve with the channels of every group in reverse.",
        before,
        after,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        groups=config.groups,
        axis=int(config.batch is not None),
        shape=config.output_shape,
    )


def adjoint(case: Case) -> CallSource:
    """Pass the input as the opposite operation's output gradient; the source uses the names ``widened`` and ``rounded``."""
    config = case.config
    lines = [
        '"""Return the input gradient of the opposite operation."""',
        *(["w = np.conj(w)  # a complex gradient conjugates the weight"] if is_complex(config.dtype) else []),
        'y = run_rewritten(np.zeros($shape, x.dtype), w, None, x)["grad_input"]',
    ]
    if config.bias:
        lines += [
            "if y.shape == $shape:  # a wrong shape is left as it is, to be reported",
            '    with np.errstate(all="ignore"):',
            f"        y = rounded(widened(y) + widened(b).reshape(-1{', 1' * config.dims}))",
        ]
    return CallSource(["def run(x, w, b, run_rewritten=run):", *indented([*lines, "return y"])], {"shape": config.output_shape})
