"""The commands `kokon` and `kokon-runtime`."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> None:
    """Print the version, whatever `argv` (by default sys.argv[1:]) asks."""
    sys.stdout.write("kokon 0.1.0\n")
