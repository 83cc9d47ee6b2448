"""A problem's model and somebody's solution of it: trials in a process that knows nothing, and a verdict on what came back.

    judge ──constructs, calls──▶ nursery (PyTorch imported once) ──forks──▶ the solution's process
      ◀───────────── the bytes of its outputs ─────────────

Nothing that is right exists while the solution runs: the judge keeps what it returned, ends its process, and only then computes
what should have come back. ``docs/judging.md`` says what is tried and what is refused.
"""
