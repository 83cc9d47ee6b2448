"""Whole models, operation by operation: what is right in float64, and how far a correct implementation may stray from it.

A traced model is a list of operations. Each is computed by a rule of its own, which carries a value and an error bound from
its operands to its result; convolutions and linear layers go to the reference. ``docs/numerics.md`` derives the rules.
"""
