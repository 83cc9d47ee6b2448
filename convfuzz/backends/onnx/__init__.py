"""ONNX: the model of a case, and the runtimes that execute it.

Imports the protocol and shared modules of ``backends``, no other backend.
"""
