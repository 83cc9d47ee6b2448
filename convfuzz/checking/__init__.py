"""One case on several backends beside the reference."""
