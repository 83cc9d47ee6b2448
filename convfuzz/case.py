"""A case: one convolution, how its tensors are filled, and which passes run."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, Self

from convfuzz.config import ConvConfig
from convfuzz.errors import CaseSyntaxError, InvalidConfig
from convfuzz.text import format_fields, parse_fields

Pass = Literal["forward", "grad_input", "grad_weight", "grad_bias"]
PASSES: tuple[Pass, ...] = ("forward", "grad_input", "grad_weight", "grad_bias")

REGIMES = {
    "integers": "small integers, chosen so that every product and partial sum is exactly representable",
    "normal": "approximately normal, mean 0, variance 1",
    "positive": "uniform on (0, 1]",
    "cancellation": "products that nearly cancel: |y| is far below the sum of magnitudes",
    "tiny": "normal, scaled down; products stay normal numbers",
    "huge": "normal, scaled up so that float16 sums come near overflow",
    "sparse": "normal, four of five inputs zero",
    "one-hot": "a single non-zero input, so that the output shows the kernel itself",
    "subnormal": "subnormal inputs",
    "special": "normal, with a few NaN and ±Inf",
}
_WHOLE_REGIMES = ("integers", "normal", "positive", "huge", "sparse", "one-hot")
_RECIPE = re.compile(r"([a-z-]+)\.(\d{1,19})", re.ASCII)


def regimes_of(dtype: str) -> tuple[str, ...]:
    """Return the regimes that have values of ``dtype``, in the order of :data:`REGIMES`.

    Integers are never tiny nor special, and do not cancel by rounding. Where a complex product of Inf is NaN is left to the
    implementation.
    """
    if dtype.startswith("int"):
        return tuple(regime for regime in REGIMES if regime in _WHOLE_REGIMES)
    return tuple(regime for regime in REGIMES if regime != "special" or not dtype.startswith("complex"))


@dataclass(frozen=True)
class DataRecipe:
    """How a case's tensors are filled: a named regime and a seed; the same bytes on every machine.

    Raises:
        InvalidConfig: the regime is unknown or the seed is not in 0 … 2^63 − 1.
    """

    regime: str = "normal"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.regime not in REGIMES:
            raise InvalidConfig(f"regime={self.regime!r} is not one of {', '.join(REGIMES)}")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or not 0 <= self.seed < 2**63:
            raise InvalidConfig(f"seed={self.seed!r} is not a whole number in 0 … 2^63 - 1")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``regime.seed``.

        Raises:
            CaseSyntaxError: the text has another form.
        """
        match = _RECIPE.fullmatch(text)
        if match is None:
            raise CaseSyntaxError(f"data recipe {text!r}: expected regime.seed, such as normal.42")
        if match[1] not in REGIMES:
            raise CaseSyntaxError(f"data recipe {text!r}: regime {match[1]!r} is not one of {', '.join(REGIMES)}")
        if int(match[2]) >= 2**63:
            raise CaseSyntaxError(f"data recipe {text!r}: seed {match[2]} is not in 0 … 2^63 - 1")
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        return f"{self.regime}.{self.seed}"


@dataclass(frozen=True)
class Case:
    """A configuration, the data it runs on, and whether the backward passes run too."""

    config: ConvConfig
    recipe: DataRecipe = field(default_factory=DataRecipe)
    grad: bool = False

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a case from its one-line form, such as ``conv2d_n2_c8_o16_g2_i17x19_k3_s2x1_p1_b_f32@normal.42``.

        Raises:
            CaseSyntaxError: the line does not parse; the message names the token and what was expected.
        """
        text, at, recipe = line.strip().partition("@")
        values, grad = parse_fields(text)
        try:
            config = ConvConfig(**values)
        except InvalidConfig as error:
            raise CaseSyntaxError(f"case {line!r}: {error}") from None
        return cls(config, DataRecipe.parse(recipe) if at else DataRecipe(), grad)

    def __str__(self) -> str:
        line = format_fields(self.config.as_fields(), grad=self.grad)
        return line if self.recipe == DataRecipe() else f"{line}@{self.recipe}"

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The passes that run, forward first."""
        if not self.grad:
            return ("forward",)
        gradients: tuple[Pass, ...] = ("forward", "grad_input", "grad_weight")
        return (*gradients, "grad_bias") if self.config.bias else gradients

    def shape_of(self, in_pass: str) -> tuple[int, ...]:
        """Return the shape of the result of one of :data:`PASSES`."""
        c = self.config
        shapes = {"forward": c.output_shape, "grad_input": c.input_shape, "grad_weight": c.weight_shape, "grad_bias": (c.out_channels,)}
        return shapes[in_pass]
