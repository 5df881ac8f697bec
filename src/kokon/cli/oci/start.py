"""``start``: the program of a created container runs."""

from __future__ import annotations

from kokon.runtime.oci.record import Record
from kokon.runtime.oci.start import hear, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.cli.oci.arguments import Arguments
    from kokon.cli.oci.main import Globals


def main(asked: Globals, own: Arguments) -> int:
    """Performs it."""
    with Record.open(asked.root, own.words[0]) as record:
        start(record)
    return 0


def go_on(asked: Globals, own: Arguments, started: int) -> int:
    """Goes on where the launcher has started it."""
    with Record.open(asked.root, own.words[0]) as record:
        hear(record, started)
    return 0
