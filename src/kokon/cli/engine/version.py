"""``kokon version``."""

from __future__ import annotations

import os
import sys

import kokon
from kokon.cli.message import show


def main(words: list[str]) -> int:
    """Prints the version, and what a report of a mistake should name."""
    system = os.uname()
    python = ".".join(map(str, sys.version_info[:3]))
    show(
        f"kokon {kokon.__version__}\n"
        f"Python {python}, {system.sysname} {system.release} {system.machine}\n"
    )
    return 0
