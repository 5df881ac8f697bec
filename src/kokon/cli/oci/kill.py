"""``kill``: a signal to a container."""

from __future__ import annotations

from kokon.runtime.oci.kill import kill, number_of
from kokon.runtime.oci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.cli.oci.arguments import Arguments
    from kokon.cli.oci.main import Globals


def main(asked: Globals, own: Arguments) -> int:
    """Sends it."""
    signal = number_of(own.words[1] if len(own.words) > 1 else "TERM")
    with Record.open(asked.root, own.words[0]) as record:
        kill(record, signal, everyone=own.flag("all"))
    return 0
