"""PyTorch: its functions, its modules and its compiler, in every mode.

Imports the protocol and shared modules of ``backends``, no other backend.
"""
