"""The high-precision reference: every convolution pass in float64, double-double or modulo 2^bits, with the sums that bound rounding."""

from convfuzz.oracle.expectation import Expectation
from convfuzz.oracle.passes import gradients, reference

__all__ = ["Expectation", "gradients", "reference"]
