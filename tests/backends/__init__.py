"""Tests of everything that computes a case: adapters, users' kernels, variants and the registry."""
