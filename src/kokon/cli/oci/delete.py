"""``delete``: what a container has left is removed."""

from __future__ import annotations

from kokon.cli.message import say
from kokon.runtime.oci.delete import delete
from kokon.runtime.oci.record import Record, UnknownContainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.cli.oci.arguments import Arguments
    from kokon.cli.oci.main import Globals


def main(asked: Globals, own: Arguments) -> int:
    """Removes it; with ``--force`` one that is gone is no error."""
    force = own.flag("force")
    try:
        record = Record.open(asked.root, own.words[0], unfinished=force)
    except UnknownContainer:
        if force:
            return 0
        raise
    with record:
        for sentence in delete(record, force=force):
            say(sentence)
    return 0
