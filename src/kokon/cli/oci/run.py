"""``run``: create, start, wait for the end, delete."""

from __future__ import annotations

from kokon.cli.message import say
from kokon.cli.oci.create import creation
from kokon.cli.oci.foreground import attend
from kokon.errors import KokonError
from kokon.runtime.oci.create import create
from kokon.runtime.oci.delete import delete
from kokon.runtime.oci.record import Record, UnknownContainer
from kokon.runtime.oci.start import start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.cli.oci.arguments import Arguments
    from kokon.cli.oci.main import Globals


def main(asked: Globals, own: Arguments) -> int:
    """Performs it; the exit status of the program, or 0 where it is detached."""
    root, identity = asked.root, own.words[0]
    options = creation(asked, own)
    detached = own.flag("detach")
    options.relays = not detached
    create(root, identity, own.text("bundle") or ".", options).close()
    asked.warn(options.notes)

    def begin() -> None:
        with Record.open(root, identity) as record:
            start(record)

    spawned = options.spawned
    assert spawned is not None
    try:
        if detached:
            begin()
            return 0
        status = attend(spawned, begin)
    except BaseException:
        _delete(root, identity)
        raise
    if not own.flag("keep"):
        _delete(root, identity)
    return status


def _delete(root: str, identity: str) -> None:
    """What it has left; somebody else may have been quicker."""
    try:
        with Record.open(root, identity) as record:
            for sentence in delete(record, force=True):
                say(sentence)
    except UnknownContainer:
        pass
    except KokonError as error:
        say(str(error))
