"""Tests of what a finding is shown by to people without convfuzz: scripts and bug reports, against planted bugs."""
