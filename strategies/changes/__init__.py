"""Changes to a drawn configuration: flaws, extreme numbers, degenerate shapes, neighbours of a known bug. It imports the case only."""
