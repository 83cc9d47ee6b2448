"""Tests of campaigns: workers, verdicts on hostile kernels, and run directories."""
