"""``resume``: the processes of a paused container go on."""

from __future__ import annotations

from kokon.errors import RequestError
from kokon.runtime.oci.kill import manager_of
from kokon.runtime.oci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.cli.oci.arguments import Arguments
    from kokon.cli.oci.main import Globals


def main(asked: Globals, own: Arguments) -> int:
    """Performs it."""
    with Record.open(asked.root, own.words[0]) as record:
        status = record.status
        if status != "paused":
            raise RequestError(f"cannot resume a container that is {status}", where=record.identity)
        manager_of(record).thaw()
    return 0
