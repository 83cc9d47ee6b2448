"""The declaration that is advised: it fits what was seen, drawn cases agree with it, and what is wrong gets none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from convfuzz import Case, Numerics
from convfuzz.checking.checker import check
from convfuzz.revealing.advice import line_of
from convfuzz.revealing.measurement import reveal

from .kernels import Add, Array, Kernel, Terms, backend, blocked, cut, flushed, lanes, pairwise, to_bits


def of_each_channel(terms: Terms, add: Add) -> Array:
    """Adds up each channel's taps, then those sums, on layers of 8 and of 12 channels."""
    return blocked(9 if len(terms) == 72 else 25)(terms, add)


CASE = "conv2d_n24_c8_o1_i3_k3_b_f32"

ADVISED: dict[str, tuple[str, Kernel, Numerics]] = {
    "plain": (CASE, Kernel(), Numerics()),
    "in float64": (CASE, Kernel(pairwise, accumulator=np.float64), Numerics(accumulator="float64")),
    "TF32": (CASE, Kernel(inputs=to_bits(11)), Numerics(inputs="tfloat32")),
    "bfloat16, truncated": (CASE, Kernel(inputs=cut(8)), Numerics(inputs="bfloat16-truncated")),
    "stored in bfloat16": (CASE, Kernel(store=to_bits(8)), Numerics(outputs="bfloat16")),
    "flushed inputs": (CASE, Kernel(inputs=flushed(np.float32)), Numerics(flushes_subnormals=True)),
    "float16, truncated": (CASE.replace("f32", "f16"), Kernel(store=cut(11)), Numerics(outputs="float16")),
    "separate bias": (CASE.replace("f32", "bf16"), Kernel(bias="separate"), Numerics(bias="separate")),
}  # fmt: skip


@pytest.mark.parametrize("name", ADVISED)
def test_the_advice_is_what_the_kernel_does(name: str) -> None:
    """The advised declaration is the narrowest that the kernel keeps, and it has been tried on cases."""
    case, kernel, expected = ADVISED[name]
    sheet = reveal(backend(kernel), case, invariance=False)
    assert sheet.declare == line_of(expected)
    assert sheet.checked_cases >= 40


def test_a_sharper_declaration_is_told_as_such() -> None:
    """A kernel that adds in float64, and declares nothing, could be judged more sharply: by how much, the sheet says."""
    sheet = reveal(backend(Kernel(accumulator=np.float64)), CASE, invariance=False)
    assert sheet.declared == "Numerics()"
    assert sheet.sharper is not None
    assert sheet.sharper > 3.0


def test_a_wrong_kernel_gets_no_advice() -> None:
    """A kernel that leaves out a product on some layers gets no declaration: none would be true of it."""

    def wrong(x: Array, w: Array, b: Array | None, config: object) -> Array:
        if w.shape[-1] == 2:
            w = w.copy()
            w[..., -1] = 0
        return Kernel()(x, w, b, config)  # type: ignore[arg-type]

    sheet = reveal(backend(wrong), CASE, invariance=False)
    assert (sheet.declare, sheet.order) == ("", "sequential")
    assert any("no advice, for a finding that is no matter of precision: wrong" in line for line in sheet.notes.not_understood)


def test_the_advice_still_catches_a_mistake() -> None:
    """Under the advised declaration a kernel that drops one product, or rounds its sum to bfloat16 once, is found."""
    sheet = reveal(backend(Kernel(accumulator=np.float64)), CASE, invariance=False)
    numerics = eval(sheet.declare, {"Numerics": Numerics})  # noqa: S307 - the line that a user pastes

    def dropped(x: Array, w: Array, b: Array | None, config: object) -> Array:
        w = w.copy()
        w[:, -1, -1, -1] = 0
        return Kernel(accumulator=np.float64)(x, w, b, config)  # type: ignore[arg-type]

    case = Case.parse(f"{CASE}@normal.3")
    assert check(case, [backend(dropped, numerics)]).failures
    assert check(case, [backend(Kernel(), numerics)]).failures  # float32 sums are beyond float64's
    assert not check(case, [backend(Kernel(accumulator=np.float64), numerics)]).failures


def test_a_wider_declaration_is_tried_on_what_the_narrower_failed() -> None:
    """A kernel that rounds its inputs on other layers than the measured one is advised what covers those, or nothing."""

    def mixed(x: Array, w: Array, b: Array | None, config: object) -> Array:
        kernel = Kernel(accumulator=np.float64) if w.shape[2:] == (3, 3) else Kernel()
        return kernel(x, w, b, config)  # type: ignore[arg-type]

    sheet = reveal(backend(mixed), CASE, invariance=False)
    assert sheet.accumulator == "float64"
    assert sheet.declare == "Numerics()"
    tried = [seen for seen in sheet.notes.seen if "on drawn cases" in seen.probe]
    assert tried[0].probe.startswith("Numerics(accumulator='float64')")
    assert "beyond it: imprecise" in tried[0].result


@pytest.mark.parametrize(
    ("order", "declare"),
    [(lanes(8), "Numerics(order='lanes-8')"), (blocked(16), "Numerics(order='blocked-16')"), (of_each_channel, "Numerics()")],
)
def test_an_order_is_advised_where_two_layers_have_it(order: Callable[[Terms, Add], Array], declare: str) -> None:
    """Lanes and blocks are declared, and are sharper; a block that is a whole kernel is another on a layer with another kernel."""
    sheet = reveal(backend(Kernel(order)), CASE, invariance=False, seconds=2.0)
    assert sheet.declare == declare
    assert sheet.sharper is not None
    assert (sheet.sharper > 1.1) == ("order" in declare)
    assert ("is that of this layer" in " ".join(sheet.notes.inferred)) == (order is of_each_channel)
