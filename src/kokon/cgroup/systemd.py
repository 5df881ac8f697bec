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

import os
from time import monotonic, sleep

from kokon.cgroup.group import DELEGATION, PATIENCE, make, read_file, refused, write_file
from kokon.errors import HostError, OutcomeUnknown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

STAGE = "stage"
"""The group below the scope for the process that opened it: a parent may hold none."""

PROPERTIES = {
    "Description": "s",
    "Slice": "s",
    "PIDs": "au",
    "Delegate": "b",
    "CollectMode": "s",
}
"""Every property that we ever set, with its D-Bus type; values are built here, by code."""


def bus_address(uid: int) -> str | None:
    """The bus of the manager that can make scopes for a user: root's is the system's."""
    path = "/run/dbus/system_bus_socket" if uid == 0 else f"/run/user/{uid}/bus"
    if not os.access("/run/systemd/system" if uid == 0 else f"/run/user/{uid}/systemd", os.X_OK):
        return None
    return f"unix:path={path}" if os.access(path, os.W_OK) else None


def open_scope(name: str, pid: int, mount_point: str, uid: int, slice_name: str = "") -> str:
    """Move ``pid`` into ``stage`` of a new delegated scope ``NAME.scope``; the scope's directory.

    :param mount_point: of the version 2 tree.
    :param uid: whose manager: 0 asks the system's.
    :param slice_name: the slice for the scope, else the manager's choice.
    :raises HostError: no systemd, no jeepney, or it refused.
    :raises OutcomeUnknown: systemd did not answer in time.
    """
    address = bus_address(uid)
    if address is None:
        raise HostError("no systemd manager can be reached", remedy=DELEGATION)
    unit = f"{name}.scope"
    _start(address, unit, scope_properties(name, pid, slice_name))
    directory = mount_point + _group_of(pid, unit)
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
    return [(key, (PROPERTIES[key], value)) for key, value in values.items()]


def attach(scope: str, pid: int, uid: int) -> None:
    """Move ``pid`` into ``stage`` of a scope that is open: from there it may clone into the others.

    :param scope: its directory, as :func:`open_scope` returned it.
    :raises HostError: as :func:`open_scope`.
    """
    address = bus_address(uid)
    if address is None:
        raise HostError("no systemd manager can be reached", remedy=DELEGATION)
    unit = scope.rpartition("/")[2]
    speak(
        address,
        unit,
        lambda bus: bus.call("AttachProcessesToUnit", "ssau", (unit, "/" + STAGE, [pid])),
    )
    directory = _group_of(pid, unit)
    if not directory.endswith(f"/{unit}/{STAGE}"):
        raise OutcomeUnknown(f"process {pid} was moved into {unit}, but is in {directory}")


def _start(address: str, unit: str, properties: list[tuple[str, Any]]) -> None:
    """StartTransientUnit, and wait for the end of its job (org.freedesktop.systemd1(5))."""
    result = speak(address, unit, lambda bus: bus.job(unit, properties))
    if result != "done":
        raise HostError(f"systemd could not make {unit}: {result}", remedy=_journal(unit))


class Bus:
    """systemd's manager at the other end of a connection."""

    def __init__(self, connection: Any) -> None:
        from jeepney import DBusAddress  # type: ignore[import-untyped]

        self._connection = connection
        self._manager = DBusAddress(
            "/org/freedesktop/systemd1",
            bus_name="org.freedesktop.systemd1",
            interface="org.freedesktop.systemd1.Manager",
        )

    def call(self, method: str, signature: str, body: tuple[Any, ...]) -> tuple[Any, ...]:
        """What a method of the manager returns."""
        from jeepney import new_method_call
        from jeepney.wrappers import unwrap_msg  # type: ignore[import-untyped]

        call = new_method_call(self._manager, method, signature, body)
        answer: tuple[Any, ...] = unwrap_msg(
            self._connection.send_and_get_reply(call, timeout=PATIENCE)
        )
        return answer

    def job(self, unit: str, properties: list[tuple[str, Any]]) -> str:
        """The result of starting a transient unit."""
        from jeepney import MatchRule, message_bus
        from jeepney.io.blocking import Proxy  # type: ignore[import-untyped]

        ended = MatchRule(
            type="signal", interface=self._manager.interface, member="JobRemoved",
            path=self._manager.object_path,
        )  # fmt: skip
        with self._connection.filter(ended, bufsize=64) as signals:
            Proxy(message_bus, self._connection).AddMatch(ended)
            body: tuple[Any, ...] = (unit, "fail", properties, [])
            (job,) = self.call("StartTransientUnit", "ssa(sv)a(sa(sv))", body)
            deadline = monotonic() + PATIENCE
            while True:
                signal = self._connection.recv_until_filtered(
                    signals, timeout=max(deadline - monotonic(), 0)
                )
                _, path, _, result = signal.body
                if path == job:
                    return str(result)


def speak(address: str, unit: str, work: Callable[[Bus], Any]) -> Any:
    """What ``work`` returns of a manager, with what goes wrong in words about a unit."""
    try:
        from jeepney import DBusErrorResponse
        from jeepney.io.blocking import open_dbus_connection
    except ImportError as error:
        raise HostError(
            "speaking with systemd needs the package jeepney", remedy="pip install jeepney"
        ) from error
    try:
        with open_dbus_connection(address) as connection:
            return work(Bus(connection))
    except DBusErrorResponse as error:
        word = error.data[0] if error.data else error.name
        raise HostError(f"systemd refused {unit}: {word}", remedy=_journal(unit)) from error
    except TimeoutError as error:
        raise OutcomeUnknown(f"systemd did not answer for {unit}") from error
    except OSError as error:
        raise HostError(
            "systemd cannot be spoken to", errno=error.errno or 0, remedy=DELEGATION
        ) from error


def _journal(unit: str) -> str:
    return f"look for {unit} in the journal (`journalctl --user`, or without as root)"


def _group_of(pid: int, unit: str) -> str:
    """The version 2 group of a process, once systemd has moved it."""
    deadline = monotonic() + PATIENCE
    while True:
        for line in read_file(f"/proc/{pid}/cgroup").splitlines():
            if line.startswith("0::"):
                group = line[3:]
        if f"/{unit}" in group or monotonic() > deadline:
            return group
        sleep(0.001)
