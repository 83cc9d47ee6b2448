"""The data sheets of the backends' arithmetic, as `docs/arithmetic.md` shows them.

    python benchmarks/arithmetic.py [--backends torch,jax] [--gradients] [--write]

Every backend that loads here is measured by ``convfuzz.reveal`` on one layer and one transposed layer, in every floating-point
dtype; whether results change with what they must not depend on is asked in float32 and bfloat16. ``--gradients`` measures
the gradients to input and weight instead, of those that have any. ``--write`` puts the tables into the page, in place of the last ones.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import convfuzz
from convfuzz.backends import available, require_all
from convfuzz.errors import ConvfuzzError
from convfuzz.revealing.invariance import KINDS
from convfuzz.revealing.sheet import Sheet

PAGE = Path(__file__).parent.parent / "docs" / "arithmetic.md"
MARK = "<!-- What follows is written by benchmarks/arithmetic.py. -->"
MARK_OF_GRADIENTS = "<!-- And what follows by benchmarks/arithmetic.py --gradients. -->"
GRADIENTS = ("grad_input", "grad_weight")
LAYER_OF_GRADIENTS = "conv2d_n8_c16_o16_i6_k3_p1"
LAYERS = {"conv": "conv2d_n8_c16_o16_i8_k3_p1_b", "transposed": "convt2d_n8_c16_o16_i8_k3_p1_b"}
DTYPES = {"f32": "float32", "f64": "float64", "f16": "float16", "bf16": "bfloat16"}
MEASURED = (
    "torch", "torch:native", "torch:avx2", "tensorflow", "tensorflow:native", "tensorflow:xla", "jax", "onnxruntime", "openvino",
    "openvino:f32",
)  # fmt: skip
"""By default those that load here; other modes of a framework differ in what the arithmetic has no part in."""
SHOWN_INVARIANCE = ("f32", "bf16")


def main() -> None:
    """Measure, print, and write the page if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", help="names joined by commas; by default the frameworks that load here")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/arithmetic.md")
    parser.add_argument("--gradients", action="store_true", help="measure gradients instead of forward passes")
    options = parser.parse_args()
    chosen = options.backends.split(",") if options.backends else list(MEASURED)
    require_all(chosen)
    chosen = [name for name in chosen if available(name) is None]
    text = "\n".join(page_of_gradients(dict(measured_gradients(chosen))) if options.gradients else page(dict(measured(chosen))))
    print(text)
    if options.write:
        before, _, gradients = PAGE.read_text().partition(MARK_OF_GRADIENTS)
        head, _, forward = before.partition(MARK)
        forward, gradients = (forward, text) if options.gradients else (text, gradients)
        PAGE.write_text(f"{head}{MARK}\n\n{forward.strip()}\n\n{MARK_OF_GRADIENTS}\n\n{gradients.strip()}\n")


def measured_gradients(backends: list[str]) -> Iterator[tuple[tuple[str, str, str], Sheet]]:
    """Yield every sheet of a gradient by backend, pass and dtype; backends without gradients have none."""
    for name, in_pass, dtype in itertools.product(backends, GRADIENTS, DTYPES):
        try:
            sheet = convfuzz.reveal(name, f"{LAYER_OF_GRADIENTS}_{dtype}", in_pass=in_pass, invariance=False, advice=False)
        except ConvfuzzError as error:
            print(f"{name} {in_pass} {dtype}: {error}", file=sys.stderr)
            continue
        print(f"{name} {in_pass} {dtype}: {sheet.calls} calls", file=sys.stderr)
        yield (name, in_pass, dtype), sheet


def page_of_gradients(sheets: dict[tuple[str, str, str], Sheet]) -> Iterator[str]:
    """Yield the lines of the table of gradients."""
    yield f"## Gradients: `{LAYER_OF_GRADIENTS}`\n"
    yield "| backend | gradient to | dtype | order of the sum | products | accumulator | inputs | output | subnormals |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for (name, in_pass, dtype), sheet in sheets.items():
        order, _, *others = cells(sheet)
        yield f"| `{name}` | {in_pass.removeprefix('grad_')} | {DTYPES[dtype]} | {' | '.join([order, *others])} |"
    unclear = [f"- `{name}`, {in_pass}, {dtype}: {line}" for (name, in_pass, dtype), s in sheets.items() for line in s.notes.not_understood]
    if unclear:
        yield "\nNot understood:\n"
        yield from unclear


def measured(backends: list[str]) -> Iterator[tuple[tuple[str, str, str], Sheet | str]]:
    """Yield every sheet, or why there is none, by backend, layer and dtype."""
    for name, layer, dtype in itertools.product(backends, LAYERS, DTYPES):
        began = time.perf_counter()
        try:
            sheet: Sheet | str = convfuzz.reveal(
                name, f"{LAYERS[layer]}_{dtype}", invariance=layer == "conv" and dtype in SHOWN_INVARIANCE, advice=layer == "conv"
            )
        except ConvfuzzError as error:
            sheet = str(error)
        print(f"{name} {layer} {dtype}: {time.perf_counter() - began:.1f} s", file=sys.stderr)
        yield (name, layer, dtype), sheet


def page(sheets: dict[tuple[str, str, str], Sheet | str]) -> Iterator[str]:
    """Yield the lines of the tables."""
    versions = {name: version for sheet in sheets.values() if isinstance(sheet, Sheet) for name, version in sheet.versions.items()}
    yield f"Measured with {', '.join(f'{name} {version}' for name, version in sorted(versions.items()))} on a CPU."
    for layer, line in LAYERS.items():
        yield f"\n## {'Convolution' if layer == 'conv' else 'Transposed convolution'}: `{line}`\n"
        yield "| backend | dtype | order of the sum | bias | products | accumulator | inputs | output | subnormals |"
        yield "|---|---|---|---|---|---|---|---|---|"
        for (name, of_layer, dtype), sheet in sheets.items():
            if of_layer == layer and isinstance(sheet, Sheet):
                yield f"| `{name}` | {DTYPES[dtype]} | {' | '.join(cells(sheet))} |"
    yield "\n## What must not change a result\n"
    yield f"| backend | dtype | {' | '.join(KINDS)} |\n|---|---|{'---|' * len(KINDS)}"
    for (name, _, dtype), sheet in sheets.items():
        if isinstance(sheet, Sheet) and any(said is not None for said in sheet.invariant.values()):
            said = [{True: "same", False: "**changes**", None: ""}[sheet.invariant[kind]] for kind in KINDS]
            yield f"| `{name}` | {DTYPES[dtype]} | {' | '.join(said)} |"
    yield "\nThe smallest case of each change:\n"
    for (name, _, _), sheet in sheets.items():
        if isinstance(sheet, Sheet):
            for kind, found in sheet.violations.items():
                yield f"- `{name}`, {kind}: {found.what}, max-abs {found.max_abs:.2g}, `{found.case}`"
    yield "\n## What was not understood\n"
    unclear = [
        f"- `{name}`, {layer}, {DTYPES[dtype]}: {line}"
        for (name, layer, dtype), sheet in sheets.items()
        if isinstance(sheet, Sheet)
        for line in sheet.notes.not_understood
    ]
    yield from unclear or ["Nothing."]


def cells(sheet: Sheet) -> list[str]:
    """Return the cells of a row."""
    order = sheet.order_in_words if sheet.order != "unknown" else f"unknown: {sheet.order_in_words}"
    between = f", {sheet.between_blocks} between blocks" if sheet.between_blocks not in ("none seen", "unknown") else ""
    stored = "" if sheet.outputs in ("exact", "unknown") else f"{sheet.outputs}, "
    return [
        order,
        sheet.bias or "unknown",
        {True: "fused", False: "rounded", None: "–"}[sheet.fma],
        sheet.accumulator + between,
        sheet.inputs,
        stored + sheet.output_rounding,
        "unknown" if sheet.flushes is None else ", ".join(sheet.flushes) or "kept",
    ]


if __name__ == "__main__":
    main()
