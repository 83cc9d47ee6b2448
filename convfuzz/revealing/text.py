"""A data sheet in words: the rows that the terminal and the documentation show."""

from __future__ import annotations

from convfuzz.revealing.sheet import Sheet

_LONGEST_TREE = 400


def rows(sheet: Sheet) -> list[tuple[str, str]]:
    """Return what a sheet says, as pairs of a short name and a phrase."""
    found = [
        ("order", f"{sheet.order}: {sheet.order_in_words}" + (f" (also {sheet.also})" if sheet.also else "")),
        ("innermost axis", sheet.innermost or "not known"),
        ("tree", _short(sheet.tree) or "none"),
        ("bias", _BIAS.get(sheet.bias or "", "not known") if sheet.case_has_bias else "the case has none"),
        ("products", {True: "fused multiply-add", False: "rounded before they are added", None: "exact, or not known"}[sheet.fma]),
        ("accumulator", f"{sheet.accumulator}, {_rounding(sheet.accumulator_rounding)}"),
        ("inputs", "as they are" if sheet.inputs == "exact" else f"rounded: {sheet.inputs}" if sheet.inputs != "unknown" else "not known"),
        ("output", f"{_rounding(sheet.output_rounding)}" + (f", to {sheet.outputs}" if sheet.outputs not in ("exact", "unknown") else "")),
        ("subnormals", _subnormals(sheet.flushes)),
        ("overflow", sheet.overflow),
        ("a sum of −0", {"kept": "−0", "lost": "+0"}.get(sheet.negative_zero, "not known")),
    ]
    if sheet.between_blocks not in ("none seen", "unknown"):
        found.insert(6, ("between blocks", f"sums rounded to {sheet.between_blocks}"))
    return [*found, *_declaration(sheet)]


def line(sheet: Sheet) -> str:
    """Return the most important of it in one line."""
    said = [sheet.order_in_words if sheet.order != "unknown" else f"order unknown ({sheet.order_in_words})"]
    if sheet.accumulator != "unknown":
        between = f", rounded to {sheet.between_blocks} between blocks" if sheet.between_blocks not in ("none seen", "unknown") else ""
        said.append(f"in {sheet.accumulator}{between}")
    if sheet.fma:
        said.append("fused")
    if sheet.inputs not in ("exact", "unknown"):
        said.append(f"inputs rounded to {sheet.inputs}")
    if sheet.bias:
        said.append(f"bias {sheet.bias}")
    if sheet.flushes:
        said.append("subnormals flushed")
    changed = [kind for kind, same in sheet.invariant.items() if same is False]
    return "; ".join(said) + (f"; changes with {', '.join(changed)}" if changed else "")


_BIAS = {
    "first": "first: sums begin with it",
    "last": "last",
    "separate": "last, after the sum was rounded to the output's format",
    "between": "between partial sums, see the tree",
}


def _declaration(sheet: Sheet) -> list[tuple[str, str]]:
    if not sheet.declare:
        return [("declare", "no advice"), ("declared today", sheet.declared)]
    times = "" if sheet.sharper is None or abs(sheet.sharper - 1.0) < 0.01 else f"{sheet.sharper:.3g} times "
    sharper = "" if sheet.sharper is None else f", {times}as sharp as what is declared today"
    said = [("declare", f"{sheet.declare}   ({sheet.checked_cases} cases agree{sharper})"), ("declared today", sheet.declared)]
    if sheet.coarser:
        said.append(
            ("coarser", f"{', '.join(sheet.coarser)}: more than is declared today. If that is not meant, mend it; do not declare it")
        )
    return said


def _short(tree: str) -> str:
    return tree if len(tree) <= _LONGEST_TREE else f"{tree[:_LONGEST_TREE]}…  (--json has all of it)"


def _rounding(name: str) -> str:
    return {
        "nearest-even": "to nearest, ties to even",
        "half-away": "to nearest, ties away from zero",
        "truncation": "truncated",
        "stochastic": "stochastic",
        "up": "rounded up",
        "down": "rounded down",
        "odd": "to the odd neighbour",
        "compensated": "compensated: what is lost is carried on",
    }.get(name, "rounding not known")


def _subnormals(flushes: tuple[str, ...] | None) -> str:
    if flushes is None:
        return "not known"
    return f"flushed: {', '.join(flushes)}" if flushes else "kept"
