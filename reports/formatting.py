"""Numbers as a reader wants them: three significant digits, no noise, and words where a number would mislead."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from convfuzz.system.code_spans import spans
from convfuzz.system.safe_text import lines, one_line

NOT_FINITE = "∞/NaN"
NONE = "–"
LEAST_PLAIN = 1e-3
MOST_PLAIN = 1e4
MOST_WHOLE = 1e5
MOST_EXACT = 2.0**53
MOST_SORTABLE = 1e308


def number(value: float | None) -> str:
    """Return three significant digits; whole numbers below 100,000 stay whole, ``None`` is a dash."""
    if value is None:
        return NONE
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value.is_integer() and abs(value) < MOST_WHOLE:
        return str(int(value))
    if LEAST_PLAIN <= abs(value) < MOST_PLAIN:
        digits = max(0, 2 - math.floor(math.log10(abs(value))))
        text = f"{value:.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def whole(value: float) -> str:
    """Return a whole number with all its digits, or as about that many where a float64 no longer holds them."""
    return str(int(value)) if abs(value) < MOST_EXACT else f"≈{number(value)}"


def max_abs(value: float | None, *, integer: bool = False) -> str:
    """Return a discrepancy: a number, ``0``, or ``∞/NaN`` where one side was finite and the other was not.

    ``integer`` says that the numbers are of an integer dtype, in which every digit counts.
    """
    if value is not None and not math.isfinite(value):
        return NOT_FINITE
    return whole(value) if integer and value is not None else number(value)


def ratio(value: float | None) -> str:
    """Return an error over its tolerance; no error at all is ``exact``."""
    return "exact" if value == 0 else number(value)


def apart(one: float, other: float, *, integer: bool = False) -> tuple[str, str]:
    """Return two values with as many digits as it takes to tell them apart; nine do for float32, integers have all theirs."""
    if integer and math.isfinite(one) and math.isfinite(other):
        return whole(one), whole(other)
    digits = 9 if f"{one:.9g}" != f"{other:.9g}" else 17

    def write(value: float) -> str:
        return f"{value:.{digits}g}" if math.isfinite(value) else number(value)

    return write(one), write(other)


def sortable(value: float | None) -> float:
    """Return a number that a script can order by: NaN and ∞ above all others, nothing below."""
    if value is None:
        return -1.0
    return value if math.isfinite(value) else MOST_SORTABLE


def count(value: int) -> str:
    """Return a whole number with thousands separators."""
    return f"{value:,}"


def plural(value: int, noun: str) -> str:
    """Return ``1 case``, ``12,345 cases``."""
    return f"{count(value)} {noun}{'' if value == 1 else 's'}"


def listed(words: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def share(part: float, whole: float) -> str:
    """Return a part of a whole in percent; a small part is never shown as ``0 %``."""
    if not part or not whole:
        return "0 %"
    percent = 100 * part / whole
    if percent < 0.1:
        return "< 0.1 %"
    return f"{percent:.1f} %" if percent < 10 else f"{percent:.0f} %"


def seconds(value: float) -> str:
    """Return a duration in the unit that suits its size."""
    if value <= 0:
        return "0 s"
    if value < 0.001:
        return f"{number(value * 1e6)} µs"
    if value < 1:
        return f"{number(value * 1e3)} ms"
    if value < 120:
        return f"{number(round(value, 1))} s"
    whole = round(value)
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def shown(value: object) -> object:
    """Return what a template prints: text from outside with its control characters visible."""
    return lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def case_line(text: str) -> Markup:
    """Return a case's line, escaped, that wraps between its tokens."""
    return Markup(str(escape(one_line(text))).replace("_", "_<wbr>").replace("@", "<wbr>@"))  # noqa: S704 - escaped here


def code_spans(text: str) -> Markup:
    """Return a sentence, escaped, with what stands between backticks as code."""
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if is_code else escape(piece) for piece, is_code in spans(one_line(text))
    )


def name(text: str) -> Markup:
    """Return a name or a path, escaped, that wraps between its parts."""
    return Markup(str(escape(one_line(text))).replace("::", "::<wbr>").replace("/", "/<wbr>").replace(",", ",<wbr>"))  # noqa: S704 - escaped here


def command(text: str) -> Markup:
    """Return a command line, escaped, that wraps between its options rather than inside them."""
    first, *options = text.split(" --")
    return Markup(" ").join([escape(one_line(first)), *(Markup("<span>--{}</span>").format(name(option)) for option in options)])
