"""Child processes that backends may kill: how they start, what they may use, and how their end is told."""
