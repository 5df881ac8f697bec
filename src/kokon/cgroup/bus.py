"""systemd's manager over D-Bus (org.freedesktop.systemd1(5)); jeepney is imported for it alone."""

from __future__ import annotations

import os
from time import monotonic

from kokon.cgroup.group import DELEGATION, PATIENCE
from kokon.cgroup.unit import WHERE
from kokon.errors import HostError, OutcomeUnknown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SYSTEMD = "org.freedesktop.systemd1"
NO_SUCH_UNIT, UNIT_EXISTS = f"{SYSTEMD}.NoSuchUnit", f"{SYSTEMD}.UnitExists"


def bus_path(uid: int) -> str | None:
    """The socket of the manager that can make scopes for a user: root's is the system's."""
    path = "/run/dbus/system_bus_socket" if uid == 0 else f"/run/user/{uid}/bus"
    if not os.access("/run/systemd/system" if uid == 0 else f"/run/user/{uid}/systemd", os.X_OK):
        return None
    return path if os.access(path, os.W_OK) else None


class Bus:
    """systemd's manager at the other end of a connection."""

    def __init__(self, connection: Any) -> None:
        from jeepney import DBusAddress  # type: ignore[import-untyped]

        self._connection = connection
        self._manager = DBusAddress(
            "/org/freedesktop/systemd1", bus_name=SYSTEMD, interface=f"{SYSTEMD}.Manager"
        )

    def call(self, method: str, signature: str, body: tuple[Any, ...]) -> tuple[Any, ...]:
        """What a method of the manager returns."""
        from jeepney import new_method_call

        return self._answer(new_method_call(self._manager, method, signature, body))

    def property(self, name: str) -> Any:
        """A property of the manager."""
        from jeepney import Properties

        ((_, value),) = self._answer(Properties(self._manager).get(name))
        return value

    def our_pid(self) -> int:
        """Which process the bus, and so systemd, takes us for."""
        from jeepney import message_bus

        name = self._connection.unique_name
        (pid,) = self._answer(message_bus.GetConnectionUnixProcessID(name))
        return int(pid)

    def start(self, unit: str, properties: list[tuple[str, Any]]) -> None:
        """Makes a transient unit, and waits until it is there.

        :raises HostError: the job ended otherwise.
        """
        from jeepney import DBusErrorResponse

        body: tuple[Any, ...] = (unit, "fail", properties, [])
        for again in (True, False):
            try:
                result = self.job("StartTransientUnit", "ssa(sv)a(sa(sv))", body)
                break
            except DBusErrorResponse as error:
                if error.name != UNIT_EXISTS:
                    raise
                if not again:
                    raise HostError(
                        f"systemd has a unit {unit} already", where=WHERE,
                        remedy="choose another name, or delete the container that has it",
                    ) from error  # fmt: skip
            # One that failed stays until somebody has looked at it; one that runs is not changed.
            self.forget(unit)
        if result != "done":
            raise HostError(f"systemd could not make {unit}: {result}", remedy=_journal(unit))

    def stop(self, unit: str) -> None:
        """Stops a unit, waits until that is done, and forgets that it failed; gone is fine."""
        self._unless_gone(lambda: self.job("StopUnit", "ss", (unit, "replace")))
        self.forget(unit)

    def group_of(self, scope: str) -> str:
        """The group of a scope; "" for one that has none any more."""
        from jeepney import DBusAddress, DBusErrorResponse, Properties

        try:
            (path,) = self.call("GetUnit", "s", (scope,))
            at = DBusAddress(path, bus_name=SYSTEMD, interface=f"{SYSTEMD}.Scope")
            ((_, group),) = self._answer(Properties(at).get("ControlGroup"))
        except DBusErrorResponse as error:
            if error.name != NO_SUCH_UNIT:
                raise
            return ""
        return str(group)

    def forget(self, unit: str) -> None:
        """Lets a failed unit go."""
        self._unless_gone(lambda: self.call("ResetFailedUnit", "s", (unit,)))

    def job(self, method: str, signature: str, body: tuple[Any, ...]) -> str:
        """The result of the job that a method has made."""
        from jeepney import MatchRule, message_bus
        from jeepney.io.blocking import Proxy  # type: ignore[import-untyped]

        ended = MatchRule(
            type="signal", interface=self._manager.interface, member="JobRemoved",
            path=self._manager.object_path,
        )  # fmt: skip
        with self._connection.filter(ended, bufsize=64) as signals:
            Proxy(message_bus, self._connection).AddMatch(ended)
            (job,) = self.call(method, signature, body)
            deadline = monotonic() + PATIENCE
            while True:
                signal = self._connection.recv_until_filtered(
                    signals, timeout=max(deadline - monotonic(), 0)
                )
                _, path, _, result = signal.body
                if path == job:
                    return str(result)

    def _answer(self, call: Any) -> tuple[Any, ...]:
        from jeepney.wrappers import unwrap_msg  # type: ignore[import-untyped]

        answer: tuple[Any, ...] = unwrap_msg(
            self._connection.send_and_get_reply(call, timeout=PATIENCE)
        )
        return answer

    def _unless_gone(self, work: Callable[[], object]) -> None:
        from jeepney import DBusErrorResponse

        try:
            work()
        except DBusErrorResponse as error:
            if error.name != NO_SUCH_UNIT:
                raise


def speak(uid: int, unit: str, work: Callable[[Bus], Any], remedy: str = DELEGATION) -> Any:
    """What ``work`` returns of a manager, with what goes wrong in words about a unit.

    :param uid: whose manager, as the machine numbers users: 0 asks the system's.
    :param remedy: what to do where none can be spoken to.
    :raises HostError: no systemd, no jeepney, or it refused.
    :raises OutcomeUnknown: systemd did not answer in time.
    """
    path = bus_path(uid)
    if path is None:
        raise HostError("no systemd manager can be reached", remedy=remedy)
    try:
        from jeepney import DBusErrorResponse
    except ImportError as error:
        raise HostError(
            "speaking with systemd needs the package jeepney", remedy="pip install jeepney"
        ) from error
    try:
        with _connect(path, uid) as connection:
            return work(Bus(connection))
    except DBusErrorResponse as error:
        word = error.data[0] if error.data else error.name
        raise HostError(f"systemd refused {unit}: {word}", remedy=_journal(unit)) from error
    except TimeoutError as error:
        raise OutcomeUnknown(f"systemd did not answer for {unit}") from error
    except OSError as error:
        raise HostError(
            "systemd cannot be spoken to", errno=error.errno or 0, remedy=remedy
        ) from error


def _connect(path: str, uid: int) -> Any:
    """A connection on which we are who we are on the machine.

    In a user namespace (rootless Podman's) we are 0 to ourselves, and jeepney would say so; the bus
    sees the other number, and lets nobody in who says a wrong one.
    """
    import socket

    from jeepney.io.blocking import DBusConnection

    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        channel.settimeout(PATIENCE)
        channel.connect(path)
        channel.sendall(b"\0AUTH EXTERNAL " + str(uid).encode().hex().encode() + b"\r\n")
        answer = b""
        while not answer.endswith(b"\r\n") and (some := channel.recv(512)):
            answer += some
        if not answer.startswith(b"OK "):
            raise HostError(
                f"{path} does not let user {uid} in: {answer.decode('ascii', 'replace').strip()}",
                remedy="run it as the user whose systemd it is",
            )
        channel.sendall(b"BEGIN\r\n")
        channel.settimeout(None)
        return DBusConnection(channel)
    except BaseException:
        channel.close()
        raise


def _journal(unit: str) -> str:
    return f"look for {unit} in the journal (`journalctl --user`, or without as root)"
