"""``python -m convfuzz`` is the command ``convfuzz``."""

from convfuzz.cli import main

main()
