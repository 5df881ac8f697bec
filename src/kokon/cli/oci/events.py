"""``events``: a container's usage, once or again and again, and when it runs out of memory."""

from __future__ import annotations

from time import monotonic, sleep

from kokon.cli.message import show
from kokon.errors import OptionError, RequestError
from kokon.runtime.oci.kill import manager_of
from kokon.runtime.oci.record import Record, UnknownContainer
from kokon.runtime.oci.statistics import oom_kills, statistics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kokon.cli.oci.arguments import Arguments
    from kokon.cli.oci.main import Globals

LOOK = 0.1
"""Seconds between two looks for the end and for want of memory."""


def main(asked: Globals, own: Arguments) -> int:
    """Prints a line of JSON each; without ``--stats`` until the container has stopped."""
    from kokon.config.sizes import duration

    identity = own.words[0]
    interval = duration(own.text("interval") or "5s", "--interval")
    if interval <= 0:
        raise OptionError("it is not above zero", where="--interval")
    with Record.open(asked.root, identity) as record:
        if record.status == "stopped":
            raise RequestError("container not running", where=identity)
        manager = manager_of(record)
    if own.flag("stats"):
        _print("stats", identity, statistics(manager))
        return 0
    kills, next_print = oom_kills(manager), monotonic() + interval
    runs = True
    while runs:
        sleep(min(LOOK, max(0, next_print - monotonic())))
        # Before the group is read: what ended the container is told, too.
        runs = _runs(asked.root, identity)
        if (now := oom_kills(manager)) > kills:
            kills = now
            _print("oom", identity, None)
        if runs and monotonic() >= next_print:
            next_print += interval
            _print("stats", identity, statistics(manager))
    return 0


def _runs(root: str, identity: str) -> bool:
    try:
        with Record.open(root, identity) as record:
            return record.status != "stopped"
    except UnknownContainer:
        return False


def _print(kind: str, identity: str, data: dict[str, Any] | None) -> None:
    from kokon.spec.oci.json_text import text

    event: dict[str, Any] = {"type": kind, "id": identity}
    if data is not None:
        event["data"] = data
    show(text(event) + "\n")
