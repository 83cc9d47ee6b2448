"""The program ``convfuzz``, also as ``python -m convfuzz``."""

from __future__ import annotations

from typing import NoReturn

from convfuzz.system.interrupts import end_at_once, end_with


def main() -> NoReturn:
    """Run the command line; while it loads there is nothing to put in order, so that Ctrl-C ends it at once."""
    end_at_once()
    from convfuzz.cli import main as run  # noqa: PLC0415 - it takes time

    try:
        run()
    except SystemExit as done:
        end_with(done.code if isinstance(done.code, int) else 0)
        raise


if __name__ == "__main__":
    main()
