"""Kernels to test convfuzz with: correct ones it must not accuse, and wrong ones it must find."""
