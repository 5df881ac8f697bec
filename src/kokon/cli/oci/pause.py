"""``pause``: every process of a container stops."""

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
        if status not in ("running", "created"):
            raise RequestError(f"cannot pause a container that is {status}", where=record.identity)
        manager_of(record).freeze()
    return 0
