"""Hooks (config.md): those outside of the container, and what those inside are told."""

from __future__ import annotations

import os
from time import monotonic

from kokon.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from kokon.runtime.oci.record import Record
    from kokon.spec.oci.values import Hook
    from kokon.spec.runtime import Spec

MOST_WORDS = 2000
"""Characters of what a failed hook said that are told on."""


def run(kind: str, hooks: Iterable[Hook], state: Mapping[str, Any]) -> None:
    """Calls each hook in order, with the state on its standard input.

    :param kind: as the specification names it; for errors.
    :raises HostError: one failed, was not there, or took too long; those after it are not called.
    """
    for at, hook in enumerate(hooks):
        _call(hook, state, f"/hooks/{kind}/{at}")


def states(spec: Spec, closing: list[Callable[[], object]]) -> dict[str, int]:
    """Empty files for the states that hooks inside are told, by what the plan calls them."""
    from kokon.compile.lifecycle import STATUS, hooks_inside

    made = {}
    for kind in hooks_inside(spec.hooks):
        fd = made[f"state:{STATUS[kind]}"] = os.memfd_create("kokon-state", os.MFD_CLOEXEC)
        closing.append(lambda fd=fd: os.close(fd))  # type: ignore[misc]
    return made


def tell(states: Mapping[str, int], record: Record) -> None:
    """Writes those states, when the process is known."""
    from kokon.spec.oci.json_text import text

    for name, fd in states.items():
        state = record.state(name.partition(":")[2])
        os.write(fd, text(state).encode("utf-8", "surrogateescape"))


def _call(hook: Hook, state: Mapping[str, Any], where: str) -> None:
    from kokon.spec.oci.json_text import text

    given = os.memfd_create("kokon-state", os.MFD_CLOEXEC)
    said = os.memfd_create("kokon-hook", os.MFD_CLOEXEC)
    try:
        os.write(given, text(dict(state)).encode("utf-8", "surrogateescape"))
        os.lseek(given, 0, os.SEEK_SET)
        actions = [
            (os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, said, 1),
            (os.POSIX_SPAWN_DUP2, said, 2),
            # Those that our caller left open, or hands on to the program (row E12).
            *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable()),
        ]  # fmt: skip
        environment = dict(entry.partition("=")[::2] for entry in hook.env or ())
        try:
            pid = os.posix_spawn(
                hook.path, hook.args or (hook.path,), environment, file_actions=actions, setsid=True
            )
        except OSError as error:
            raise HostError(
                f"the hook {hook.path} cannot be run", where=where, errno=error.errno or 0,
                remedy="correct its path, or leave it out",
            ) from error  # fmt: skip
        status = _status(pid, hook, where)
        if status:
            words = os.pread(said, MOST_WORDS, 0).decode("utf-8", "replace").strip()
            raise HostError(
                f"the hook {hook.path} failed with status {status}"
                + (f": {words}" if words else ""),
                where=where,
            )
    finally:
        os.close(given)
        os.close(said)


def _inheritable() -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.append(int(name))
        except OSError:
            continue  # what the directory was read by
    return found


def _status(pid: int, hook: Hook, where: str) -> int:
    """Waits for its end; one that takes too long is ended with all of its session's group."""
    if hook.timeout is not None:
        import select

        end = monotonic() + hook.timeout
        poller = select.poll()
        pidfd = os.pidfd_open(pid)
        try:
            poller.register(pidfd, select.POLLIN)
            if not poller.poll(max(0, (end - monotonic()) * 1000)):
                os.killpg(pid, 9)
                os.waitpid(pid, 0)
                raise HostError(
                    f"the hook {hook.path} did not end within {hook.timeout} seconds", where=where
                )
        finally:
            os.close(pidfd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
