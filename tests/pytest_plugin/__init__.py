"""Tests of the pytest plugin, in pytest sessions of their own."""
