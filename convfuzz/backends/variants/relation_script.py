"""The rewritings of the relations as source, around the script of the rewritten case."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from convfuzz.backends.script_parts import arguments, operands
from convfuzz.backends.source import literal
from convfuzz.backends.variants.base import wide
from convfuzz.backends.variants.split_script import TO_BFLOAT16
from convfuzz.case import Case
from convfuzz.case.dtypes import is_complex

Index = tuple[Any, ...]


def around(case: Case, said: str, before: Iterable[str], after: Iterable[str]) -> str:
    """Write a ``run`` that calls the one before it: ``before`` changes the arguments, ``after`` the dictionary ``outputs``."""
    call = f"run_rewritten({arguments(case)})"
    lines = [
        f'"""{said}"""',
        *before,
        f"outputs = {call}" if case.grad else f'outputs = {{"forward": {call}}}',
        *after,
        "return outputs" if case.grad else 'return outputs["forward"]',
    ]
    return "\n".join(["", "", f"def run({arguments(case)}, run_rewritten=run):", *(f"    {line}" for line in lines), ""])


def zero_stuffed(case: Case, shape: tuple[int, ...], taps: Index) -> str:
    """Spread the weight out to ``shape``; of its gradient, the taps are what counts."""
    before = [f"taps = {_source(taps)}", f"stuffed = np.zeros({shape}, w.dtype)", "stuffed[taps] = w", "w = stuffed"]
    after = ['outputs["grad_weight"] = outputs["grad_weight"][taps]'] if case.grad else []
    return around(case, "Convolve with the kernel of the full extent, which has zeros between the taps.", before, after)


def subsampled(case: Case, shape: tuple[int, ...], sites: Index) -> str:
    """Compute every site of an output of ``shape`` and keep those of the stride."""
    before = [f"sites = {_source(sites)}"]
    if case.grad:
        before += [f"dense = np.zeros({shape}, dy.dtype)", "dense[sites] = dy", "dy = dense"]
    return around(
        case, "Convolve with stride 1 and keep the sites of the stride.", before, ['outputs["forward"] = outputs["forward"][sites]']
    )


def padded(case: Case, inside: Index, amounts: list[tuple[int, int]], mode: str, window: Index) -> str:
    """Pad by ``amounts`` what is ``inside``; of the input's gradient, what lies in the ``window`` counts."""
    options = "" if mode == "constant" else f", mode={mode!r}"
    before = [f"inside = {_source(inside)}", f"x = np.pad(x[inside], {amounts}{options})"]
    after = []
    if case.grad:
        after = [
            f'whole = np.zeros({case.config.input_shape}, outputs["grad_input"].dtype)',
            f'whole[inside] = outputs["grad_input"][{_source(window)}]',
            'outputs["grad_input"] = whole',
        ]
    return around(case, "Pad and crop first, then convolve without padding.", before, after)


def permuted(case: Case) -> str:
    """Reverse the channels of every group on both sides, and turn what comes back round again."""
    config, given = case.config, operands(case).split(", ")
    axis = int(config.batch is not None)
    rows = "kernels" if config.op == "conv" else "channels"
    before = [
        f"channels = np.arange({config.in_channels}).reshape({config.groups}, -1)[:, ::-1].reshape(-1)",
        f"kernels = np.arange({config.out_channels}).reshape({config.groups}, -1)[:, ::-1].reshape(-1)",
        f"x, w = np.take(x, channels, {axis}), w[{rows}][:, ::-1].copy()",
        *(["b = b[kernels]"] if "b" in given else []),
        *([f"dy = np.take(dy, kernels, {axis})"] if case.grad else []),
    ]
    turned = {
        "grad_input": f'np.take(outputs["grad_input"], channels, {axis})',
        "grad_weight": f'outputs["grad_weight"][{rows}][:, ::-1].copy()',
        "grad_bias": 'outputs["grad_bias"][kernels]',
    }
    after = [
        f'if outputs["forward"].shape == {config.output_shape}:  # otherwise it shows as the wrong shape that it is',
        f'    outputs["forward"] = np.take(outputs["forward"], kernels, {axis})',
        *(f'outputs["{name}"] = {turned[name]}' for name in case.passes if name in turned),
    ]
    return around(case, "Convolve with the channels of every group in reverse.", before, after)


def adjoint(case: Case) -> str:
    """Hand the input over as the opposite operation's output gradient."""
    config = case.config
    lines = [
        '"""Return the input gradient of the opposite operation."""',
        *(["w = np.conj(w)"] if is_complex(config.dtype) else []),
        f'y = run_rewritten(np.zeros({config.output_shape}, x.dtype), w, None, x)["grad_input"]',
    ]
    helper, total = "", ""
    if config.bias:
        b, dtype = "b", wide(config.dtype)
        if config.dtype == "bfloat16":
            helper, b = TO_BFLOAT16, "(b.astype(np.uint32) << 16).view(np.float32)"
        total = f"y.astype(np.{dtype}) + {b}.astype(np.{dtype}).reshape(-1{', 1' * config.dims})"
        lines.append(f"y = to_bfloat16({total})" if helper else f"y = ({total}).astype(np.{config.dtype})")
    lines.append("return y")
    decorator = '@np.errstate(all="ignore")'
    return helper + "\n".join(["", "", decorator, "def run(x, w, b, run_rewritten=run):", *(f"    {line}" for line in lines), ""])


def _source(index: Index) -> str:
    return f"np.s_[{literal(index)}]"
