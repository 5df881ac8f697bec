"""A container's first process: waited for by its pidfd, ended by it."""

from __future__ import annotations

import os
from _signal import (  # type: ignore[import-not-found]  # signal imports enum, for every start
    SIGKILL,
    pidfd_send_signal,
)
from _thread import RLock
from time import monotonic

from kokon.errors import OutcomeUnknown
from kokon.runtime.spawn import Spawned


class Ended:
    """How it ended.

    :ivar status: the wait status of the program (wait(2)).
    :ivar user_time: seconds of processor time in the program, :ivar system_time: in the kernel.
    """

    __slots__ = ("status", "system_time", "user_time")

    def __init__(self, status: int, user_time: float, system_time: float) -> None:
        self.status = status
        self.user_time = user_time
        self.system_time = system_time

    @property
    def returncode(self) -> int:
        """As subprocess has it: the exit status, or the negative number of a signal."""
        return os.waitstatus_to_exitcode(self.status)


def lost() -> OutcomeUnknown:
    """Somebody else of the caller's process has reaped the program."""
    return OutcomeUnknown(
        "the program's end was taken by another wait of the caller's process",
        remedy="wait for your own children by their pids, and do not ignore SIGCHLD",
    )


class FirstProcess:
    """The process of a spawned plan.  ``close`` lets its descriptors go."""

    __slots__ = ("_lock", "_times", "pid", "pidfd", "spawned")

    def __init__(self, spawned: Spawned) -> None:
        self.spawned = spawned
        self._lock = RLock()
        self._times = (0.0, 0.0)
        self.pid = spawned.pid
        try:
            self.pidfd = os.pidfd_open(spawned.pid)
        except ProcessLookupError as error:
            spawned.close()
            raise lost() from error

    def kill(self, signal: int = SIGKILL) -> None:
        """Sends a signal; the kernel ends every process of its pid namespace with it."""
        if signal == SIGKILL:
            # The kernel drops what a process 1 that it kills has not waited for.
            from kokon.kernel.processes import times

            self._times = times(self.pid)
        with self._lock:
            try:
                if self.pidfd >= 0:
                    pidfd_send_signal(self.pidfd, signal)
            except ProcessLookupError:
                pass

    def end(self, seconds: float) -> None:
        """Kills it, and waits so long for its end, which is left for others to take."""
        with self._lock:
            if self.pidfd >= 0:
                self.kill()
                self.ends_within(seconds)

    def abandon(self) -> None:
        """Ends and reaps it, and lets it go: nobody wants to know how it was."""
        try:
            self.kill()
            if self.pidfd >= 0:
                # By the pidfd: it may have been waited for, and another child have its number.
                os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        except Exception:
            pass
        finally:
            self.close()

    def ends_within(self, seconds: float | None) -> bool:
        """Whether it has ended, or does within so many seconds."""
        import select

        from kokon.runtime.streams import wait_until

        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        end = None if seconds is None else monotonic() + seconds
        while not poller.poll(wait_until(end)):
            if end is not None and monotonic() >= end:
                return False
        return True

    def wait(self) -> Ended:
        """Waits for its end.

        :raises OutcomeUnknown: somebody else has reaped it.
        """
        try:
            _, status, usage = os.wait4(self.pid, 0)
        except ChildProcessError as error:
            raise lost() from error
        self.spawned.pid = 0  # its number is another's from now on
        self.spawned.drain()
        # Process 1 of the container may be kokon's reaper: the program's own status came by report.
        if self.spawned.status is not None:
            status = self.spawned.status
        user, system = self._times
        return Ended(status, max(usage.ru_utime, user), max(usage.ru_stime, system))

    def close(self) -> None:
        """Closes the pidfd and the report.  May be called twice."""
        with self._lock:
            pidfd, self.pidfd = self.pidfd, -1
            if pidfd >= 0:
                os.close(pidfd)
        self.spawned.close()
