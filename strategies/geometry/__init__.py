"""Sizes that fit together: windows, padding, channels, within a budget of work."""
