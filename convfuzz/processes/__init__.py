"""Child processes that backends may kill: how they start, what they may use, how they ended. Nothing of campaigns is imported."""
