"""Tests of the high-precision reference."""
