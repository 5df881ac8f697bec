"""What ``start`` and ``delete`` of a container will do, saved at its create for the launcher.

It performs a saved call without Python where all is as it was (launcher/calls.c): the container is
as ``create`` has left it, and its first process waits, or has ended.  Whatever is otherwise, and
what has to be said, is done by start.py and delete.py.
"""

from __future__ import annotations

import os

from kokon.plan import saved
from kokon.plan.saved import Record, Unsaved
from kokon.runtime import sameness
from kokon.runtime.oci.record import STATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kokon.kernel.facts import HostFacts
    from kokon.runtime.oci import record
    from kokon.spec.oci.values import Hooks


def keep(
    container: record.Record,
    host: HostFacts,
    hooks: Hooks | None,
    beginnings: Sequence[tuple[str, ...]],
) -> None:
    """Saves the calls in the container's directory; it is not changed any more by its create.

    :param beginnings: what may stand before the verb when they are called.
    """
    path = os.readlink(f"/proc/self/fd/{container.directory}")
    pid, begun = container.values["pid"], container.values["pid_start"]
    calls: dict[tuple[str, ...], list[Record]] = {}
    if not (hooks and hooks.poststart):
        # One that was paused meanwhile would not answer.
        thawed = [sameness.text(file) for file, _ in container.freezers()]
        calls["start",] = [*thawed, Record(saved.START)]
    # A scope goes when systemd is told; a class of service of its own goes with it.
    python = "scope" in container.values or container.values.get("resctrl", {}).get("made")
    if not (hooks and hooks.poststop) and not python:
        groups = dict.fromkeys(container.values["groups"].values())
        calls["delete",] = calls["delete", "--force"] = [
            Record(saved.ENDED, b"/proc/%d/stat" % pid, b"%d" % begun),
            *(Record(saved.GROUP, os.fsencode(group)) for group in groups),
            Record(saved.FORGET, os.fsencode(path)),
        ]
    common = [
        *sameness.identity(host),
        sameness.text("/proc/sys/kernel/random/boot_id"),
        sameness.status(f"{path}/{STATE}", fields=8),
    ]
    for beginning in beginnings:
        conditions = list(common)
        if not any(word.startswith("--root") for word in beginning):
            conditions.append(sameness.variable("XDG_RUNTIME_DIR"))  # where containers are, then
        for verb, steps in calls.items():
            words = (*beginning, *verb, container.identity)
            try:
                data = saved.encode(saved.key(words), [*conditions, *steps])
            except Unsaved:
                continue
            container.keep(saved.file_name(words), data)
