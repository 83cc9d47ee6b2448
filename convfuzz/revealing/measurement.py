"""``convfuzz.reveal``: the arithmetic of one backend on one case, measured by calling it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from convfuzz.backends import Backend, Numerics
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.checking.checker import as_backend, as_case
from convfuzz.errors import UsageError
from convfuzz.revealing.advice import advise, line_of, narrowest_numerics
from convfuzz.revealing.element import Element
from convfuzz.revealing.formats import Formats, measure_formats
from convfuzz.revealing.gradient_passes import MEASURED, GradientPass, Measured, sums_of
from convfuzz.revealing.invariance import KINDS, measure_invariance
from convfuzz.revealing.order import Order, measure_order
from convfuzz.revealing.order_advice import advised_order
from convfuzz.revealing.outline import outline
from convfuzz.revealing.prediction import confirm, is_compensated
from convfuzz.revealing.products import measure_fma, single_products_are_rounded
from convfuzz.revealing.sheet import Notes, Sheet, Violation
from convfuzz.revealing.transform import measure_transform
from convfuzz.revealing.tree_names import Name

DEFAULT_CASE = "conv2d_n8_c16_o16_i8_k3_p1_b_f32"
"""A layer of 144 taps and a bias, with channels in whole vectors: enough to tell lanes from blocks."""


_SECONDS = 10.0
_ON_INVARIANCE, _ON_ADVICE = 0.5, 0.35
"""The parts of the time in which new trials begin; the rest is for the probes, whose number is given by the layer."""


def reveal(
    backend: str | Backend | Callable[..., Any],
    case: Case | str = DEFAULT_CASE,
    *,
    invariance: bool = True,
    advice: bool = True,
    seconds: float = _SECONDS,
    in_pass: Measured = "forward",
) -> Sheet:
    """Measure the arithmetic of one pass of ``backend`` on ``case``, from outside, with some hundred calls.

    One output element in the middle is measured: the order in which its products are added, the formats they pass through, where the bias
    enters. Then whether results change with what they must not depend on, and which declaration fits. The data of ``case`` do
    not matter, nor do its gradients. Everything that was seen and everything that was inferred is in the sheet's ``notes``.

    Args:
        backend: a name, a backend, or a plain function ``kernel(x, w, b, config)``.
        case: a case or its one-line form, in a floating-point dtype.
        invariance: whether to try what must not change a result.
        advice: whether to look for a declaration, which runs a few hundred cases.
        seconds: about how long it may take: where a backend is slow, such as one that compiles each layer, less is tried.
        in_pass: the forward pass, or the gradient to the input or the weight; its sums are those of another layer's forward pass,
            which the notes name.

    Raises:
        BackendError: the name is unknown or its framework is missing.
        CaseSyntaxError: the line does not parse.
        UsageError: the backend declines the case, computes no values, wrong ones or fails, or there is nothing to measure in it.
    """
    if in_pass not in MEASURED:
        raise UsageError(f"in_pass={in_pass!r} is not one of {', '.join(MEASURED)}")
    chosen, layer, notes = as_backend(backend), as_case(case).config, Notes()
    if not chosen.numerics(Case(layer)).values:
        raise UsageError(f"{chosen.name} computes shapes and dtypes only: there is no arithmetic to measure")
    if in_pass == "forward":
        return _measured(chosen, layer, notes, invariance=invariance, advice=advice, seconds=seconds)
    _require_gradients(chosen, layer)
    gradient, sums = GradientPass(chosen, in_pass, layer.op), sums_of(layer, in_pass)
    notes.inferred.append(f"the sums of {in_pass} are those of the forward pass of {Case(sums)}, whose cases the trials name")
    sheet = _measured(gradient, sums, notes, invariance=invariance and in_pass == "grad_input", advice=advice, seconds=seconds)
    return _of_gradient(sheet, gradient, layer, chosen.numerics(Case(layer, grad=True)), in_pass)


def _require_gradients(backend: Backend, layer: ConvConfig) -> None:
    case = Case(layer, grad=True)
    if not layer.is_valid:
        raise UsageError(f"{case}: {layer.invalid_reason}; arithmetic is measured on a valid case")
    support = backend.supports(case)
    if not support:
        raise UsageError(f"{backend.name} does not compute {case}: {support.reason}; give another one with --case")


def _of_gradient(sheet: Sheet, backend: GradientPass, layer: ConvConfig, declared: Numerics, in_pass: Measured) -> Sheet:
    """Return the sheet of a gradient, from that of the layer that has its sums: the case and its declarations are the backend's own."""

    def line(numerics: Numerics | None) -> str:
        forward = replace(declared, gradients=None, complex_products="four")  # which is no matter of a real dtype
        return line_of(replace(forward, gradients=None if numerics == forward else numerics))

    def case_of(sums: str) -> str:
        own = backend.layer_of(Case.parse(sums).config)
        return sums if own is None else str(Case(own, grad=True))

    over = {"channel": "sample"} if in_pass == "grad_weight" else {}
    words, innermost = sheet.order_in_words, sheet.innermost
    for one, other in over.items():
        words, innermost = words.replace(one, other), innermost and innermost.replace(one, other)
    return replace(
        sheet,
        case=str(Case(layer, grad=True)),
        in_pass=in_pass,
        order_in_words=words,
        innermost=innermost,
        declare=line(sheet.numerics) if sheet.numerics else "",
        declared=line_of(declared),
        violations={kind: replace(found, case=case_of(found.case)) for kind, found in sheet.violations.items()},
    )


def _measured(chosen: Backend, config: ConvConfig, notes: Notes, *, invariance: bool, advice: bool, seconds: float) -> Sheet:
    """Measure the forward pass."""
    element, declared = Element(chosen, config), chosen.numerics(Case(config))
    element.require_right()
    is_transform = measure_transform(element, notes)
    formats, order, fma = (None, _of_transform(), None) if is_transform else _of_sum(element, notes)
    invariant: dict[str, bool | None] = dict.fromkeys(KINDS)
    violations: dict[str, Violation] = {}
    if invariance:
        invariant, violations = measure_invariance(chosen, config, notes, seconds=_ON_INVARIANCE * seconds)
    repeats = invariant["runs"] if invariant["runs"] is not None else not (formats and formats.output_rounding == "stochastic")
    has_rounded_products = fma is False and formats is not None and formats.holds_products_of(element.form)
    narrowest = narrowest_numerics(
        formats, config, declared, transform=is_transform, bias=order.bias, repeats=repeats, rounded_products=has_rounded_products
    )
    in_order = advised_order(chosen, config, formats, order, notes) if advice and not isinstance(chosen, GradientPass) else None
    advised = advise(chosen, config, narrowest, notes, order=in_order, seconds=_ON_ADVICE * seconds) if advice else None
    return Sheet(
        backend=chosen.name,
        versions=dict(chosen.versions),
        case=str(Case(config)),
        in_pass="forward",
        taps=element.taps,
        case_has_bias=element.has_bias,
        order=order.name.order,
        block=order.name.block,
        innermost=order.name.innermost,
        order_in_words=order.name.words,
        also=order.name.also,
        tree=order.text,
        outline=() if order.tree is None else outline(order.tree, element.taps if element.has_bias else -1),
        fma=fma,
        bias=order.bias,
        accumulator=formats.accumulator if formats else "unknown",
        accumulator_rounding=formats.accumulator_rounding if formats else "unknown",
        between_blocks=formats.between_blocks if formats else "unknown",
        inputs=formats.inputs if formats else "unknown",
        outputs=formats.outputs if formats else "unknown",
        output_rounding=formats.output_rounding if formats else "unknown",
        flushes=formats.flushes if formats else None,
        overflow=formats.overflow if formats else "unknown",
        negative_zero=formats.negative_zero if formats else "unknown",
        invariant=invariant,
        violations=violations,
        declare=line_of(advised.numerics) if advised and advised.numerics else "",
        numerics=advised.numerics if advised else None,
        declared=line_of(declared),
        sharper=advised.sharper if advised else None,
        coarser=advised.coarser if advised else (),
        checked_cases=advised.cases if advised else 0,
        calls=element.calls,
        notes=notes,
    )


def _of_sum(element: Element, notes: Notes) -> tuple[Formats, Order, bool | None]:
    if (packed := element.pack()) is not None:
        notes.saw("random sums alone, and at other places of the batch", "equal" if packed else "not equal: one probe to a call")
    formats = measure_formats(element, notes)
    order = measure_order(element, formats, notes)
    if order.tree is not None and is_compensated(element, order.tree, formats, notes):
        formats = formats.compensated()
        notes.not_understood = [line for line in notes.not_understood if not line.startswith("partial sums round")]
        notes.inferred.append("the sum carries on what its roundings lose, as Kahan's does")
        bias = "last" if order.bias == "separate" else order.bias  # it begins anew with a sum that was rounded
        return formats, replace(order, bias=bias), None
    is_confirmed = order.tree is None or confirm(element, order.tree, formats, notes)
    if is_confirmed is False:
        order = Order(Name(words="a tree that does not predict other sums: see what was not understood"), None, None, "")
    if not is_confirmed or order.tree is None:
        formats = formats.with_known_names(notes)
    fma = measure_fma(element, formats, order.tree, notes)
    formats = formats.placed(element, order.tree, notes)
    if not formats.inputs_are_whole or single_products_are_rounded(element, formats, notes) is False:
        formats, fma = replace(formats, inputs="unknown", output_rounding="unknown"), None
        order = Order(Name(words="a sum of something else than rounded products: see what was not understood"), None, None, "")
    return formats, order, fma


def _of_transform() -> Order:
    return Order(Name("transform", words="Winograd, Fourier or the like: a result is no sum of its products"), None, None, "")
