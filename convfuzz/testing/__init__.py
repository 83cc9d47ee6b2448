"""Tests of one's own kernels: checks that raise, and tests that draw their cases.

Each works under any test runner; ``convfuzz.pytest_plugin`` adds options, a report and regression files.
"""
