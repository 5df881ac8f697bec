"""``state``: what a container is and does, as JSON (runtime.md, State)."""

from __future__ import annotations

from kokon.cli.message import show
from kokon.runtime.oci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.cli.oci.arguments import Arguments
    from kokon.cli.oci.main import Globals


def main(asked: Globals, own: Arguments) -> int:
    """Prints it; beside the specification's members those that runC has."""
    from kokon.spec.oci.json_text import text

    with Record.open(asked.root, own.words[0]) as record:
        shown = record.state()
        shown.setdefault("pid", 0)
        shown["rootfs"] = record.values["rootfs"]
        shown["created"] = record.values["created"]
        shown["owner"] = ""
    show(text(shown, "  ") + "\n")
    return 0
