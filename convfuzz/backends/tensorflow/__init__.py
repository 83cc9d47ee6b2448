"""TensorFlow: its functions in every mode.

Imports the protocol and shared modules of ``backends``, no other backend.
"""
