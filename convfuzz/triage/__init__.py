"""From failures to findings: which failures are one, what they need to show, and their simplest case."""
