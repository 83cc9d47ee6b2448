"""A case: one convolution, how its tensors are filled, and which passes run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self

from convfuzz.case.config import ConvConfig
from convfuzz.case.explicit_data import check_entries, refit
from convfuzz.case.line import format_fields, parse_fields, shown
from convfuzz.case.recipe import DataRecipe
from convfuzz.errors import CaseSyntaxError, InvalidConfig

if TYPE_CHECKING:
    import convfuzz

Pass = Literal["forward", "grad_input", "grad_weight", "grad_bias"]
PASSES: tuple[Pass, ...] = ("forward", "grad_input", "grad_weight", "grad_bias")


@dataclass(frozen=True, repr=False)
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
        text, at, data = line.strip().partition("@")
        recipe = DataRecipe.parse(data) if at else DataRecipe()
        config, grad = _parsed(text)
        if recipe.entries:
            try:
                check_entries(recipe.entries, config, grad=grad)
            except InvalidConfig as error:
                raise CaseSyntaxError(f"case {shown(text)}: {error}") from None
        return cls(config, recipe, grad)

    def __str__(self) -> str:
        return self._line

    @cached_property
    def _line(self) -> str:
        line = format_fields(self.config.as_fields(), grad=self.grad)
        return line if self.recipe == DataRecipe() else f"{line}@{self.recipe}"

    def changed(self, *, config: ConvConfig | None = None, grad: bool | None = None) -> Self:
        """Return a copy with another configuration or other passes; explicit data keep their coordinates where these still exist."""
        other = replace(self, config=config or self.config, grad=self.grad if grad is None else grad)
        if not self.recipe.entries:
            return other
        return replace(other, recipe=DataRecipe.explicit(refit(self.recipe.entries, self.config, other.config, grad=other.grad)))

    def __repr__(self) -> str:
        return f"Case.parse({str(self)!r})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - the protocol of IPython and Hypothesis
        del cycle
        printer.text(repr(self))

    def check(self, *backends: Any) -> convfuzz.CheckResult:
        """Run this case on ``backends`` beside the reference, and raise where one of them fails.

        The everyday line of a test: see :func:`convfuzz.assert_agrees`, which this is.

        Raises:
            Disagreement: a backend fails; the message is the table of discrepancies, the case and how to reproduce it.
        """
        __tracebackhide__ = True
        import convfuzz  # noqa: PLC0415 - the package's front door looks the upper layers up by name, on the first call

        return convfuzz.assert_agrees(self, *backends)

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


@lru_cache(maxsize=256)
def _parsed(text: str) -> tuple[ConvConfig, bool]:
    """Read a configuration and whether the backward passes run; several cases of one configuration follow one another.

    Raises:
        CaseSyntaxError: the text does not parse, or is of no configuration.
    """
    values, grad = parse_fields(text)
    try:
        return ConvConfig(**values), grad
    except InvalidConfig as error:
        raise CaseSyntaxError(f"case {shown(text)}: {error}") from None
