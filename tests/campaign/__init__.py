"""Tests of campaigns: workers, verdicts on hostile kernels, run directories, and reproduction scripts."""
