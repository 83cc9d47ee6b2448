"""The high-precision reference: every convolution pass in float64 or double-double, with the sums that bound rounding."""

from convfuzz.reference.expectation import Expectation
from convfuzz.reference.passes import gradients, reference

__all__ = ["Expectation", "gradients", "reference"]
