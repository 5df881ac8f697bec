"""A delegated scope from systemd, where nothing that we may write is at hand.

In a login session (``session-N.scope``) the groups above belong to root, and no process can be
moved or cloned from there into the user's own tree: their common ancestor is not the user's.
systemd may do it: a transient scope takes over one process of ours, and from that process's new
place clone3 may enter every group below the scope.  So that process comes first (stage 1 of a
start), moves into ``stage`` below the scope, and the container's group lies beside it.

systemd removes a scope when its last process is gone: the one that was given must live until the
usage has been read.
"""

from __future__ import annotations

from time import monotonic, sleep

from kokon.cgroup.bus import speak
from kokon.cgroup.group import PATIENCE, make, read_file, refused, write_file
from kokon.cgroup.unit import typed
from kokon.errors import OutcomeUnknown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STAGE = "stage"
"""The group below the scope for the process that opened it: a parent may hold none."""


def open_scope(name: str, pid: int, mount_point: str, uid: int, slice_name: str = "") -> str:
    """Move ``pid`` into ``stage`` of a new delegated scope ``NAME.scope``; the scope's directory.

    :param mount_point: of the version 2 tree.
    :param uid: whose manager: 0 asks the system's.
    :param slice_name: the slice for the scope, else the manager's choice.
    :raises HostError: no systemd, no jeepney, or it refused.
    :raises OutcomeUnknown: systemd did not answer in time.
    """
    unit = f"{name}.scope"
    properties = scope_properties(name, pid, slice_name)
    speak(uid, unit, lambda bus: bus.start(unit, properties))
    directory = mount_point + group_of(pid, unit)
    if not directory.endswith("/" + unit):
        raise OutcomeUnknown(f"systemd made {unit}, but process {pid} is in {directory}")
    stage = f"{directory}/{STAGE}"
    make(stage)
    try:
        write_file(stage + "/cgroup.procs", str(pid))
    except OSError as error:
        raise refused(stage, "cgroup.procs", str(pid), "", error) from error
    return directory


def scope_properties(name: str, pid: int, slice_name: str = "") -> list[tuple[str, Any]]:
    """The properties of a scope as D-Bus takes them: ``(name, (type, value))``."""
    values: dict[str, Any] = {
        "Description": f"kokon container {name}",
        "PIDs": [pid],
        "Delegate": True,
        "CollectMode": "inactive-or-failed",
    }
    if slice_name:
        values["Slice"] = slice_name
    return typed(values)


def attach(scope: str, pid: int, uid: int, below: str = STAGE) -> None:
    """Move ``pid`` into ``stage`` of a scope that is open: from there it may clone into the others.

    :param scope: its directory, as :func:`open_scope` returned it.
    :param below: the group below the scope, "" for the scope itself.
    :raises HostError: as :func:`open_scope`.
    """
    unit = scope.rpartition("/")[2]
    speak(uid, unit, lambda bus: bus.call(
        "AttachProcessesToUnit", "ssau", (unit, f"/{below}", [pid]),
    ))  # fmt: skip
    directory = group_of(pid, unit)
    if not directory.endswith(f"/{unit}/{below}".rstrip("/")):
        raise OutcomeUnknown(f"process {pid} was moved into {unit}, but is in {directory}")


def group_of(pid: int, unit: str) -> str:
    """The version 2 group of a process, once systemd has moved it."""
    deadline = monotonic() + PATIENCE
    while True:
        for line in read_file(f"/proc/{pid}/cgroup").splitlines():
            if line.startswith("0::"):
                group = line[3:]
        if f"/{unit}" in group or monotonic() > deadline:
            return group
        sleep(0.001)
