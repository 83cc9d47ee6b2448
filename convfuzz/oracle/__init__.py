"""The high-precision reference: every convolution pass in float64, double-double or modulo 2^bits. It shares no code with backends."""

from convfuzz.oracle.expectation import Expectation
from convfuzz.oracle.passes import gradients, reference

__all__ = ["Expectation", "gradients", "reference"]
