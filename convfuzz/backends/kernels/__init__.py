"""Users' kernels: what their authors declare, how they are found, and the backend around one.

Imports the protocol and shared modules of ``backends``, no other backend.
"""
