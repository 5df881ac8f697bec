"""A program that has ended: subprocess's attributes and kokon's own."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from kokon.cgroup import usage as counted
    from kokon.engine.prepared import Prepared
    from kokon.engine.run import Outcome
    from kokon.security.ladder import Guarantees


class Usage:
    """What a run used.

    :ivar user_time: seconds of processor time in the program, :ivar system_time: in the kernel.
    :ivar peak_memory: bytes, None without a memory limit or where the kernel does not keep it.
    :ivar oom_kills: processes that the kernel ended for want of memory, None without a limit.
    :ivar pids_peak: processes and threads at most, None where it is not kept.
    """

    __slots__ = ("oom_kills", "peak_memory", "pids_peak", "system_time", "user_time")

    def __init__(
        self, user_time: float, system_time: float, counts: counted.Usage | None = None
    ) -> None:
        self.user_time = max(user_time, getattr(counts, "cpu_user", None) or 0.0)
        self.system_time = max(system_time, getattr(counts, "cpu_system", None) or 0.0)
        self.peak_memory: int | None = getattr(counts, "peak_memory", None)
        self.oom_kills: int | None = getattr(counts, "oom_kills", None)
        self.pids_peak: int | None = getattr(counts, "pids_peak", None)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"Usage({fields})"


class Held:
    """What is left of a run that another process has made."""

    __slots__ = ("guarantees",)

    def __init__(self, guarantees: Guarantees) -> None:
        self.guarantees = guarantees


class CompletedProcess:
    """A program that has ended.

    :ivar args: the program and its arguments.
    :ivar returncode: the exit status, or the negative number of the signal that ended it.
    :ivar stdout: what was captured: bytes, or str in text mode; else None.  :ivar stderr: too.
    :ivar usage: what it used.
    :ivar cause: what ended it: ``exited``, ``signal``, ``timeout``, ``memory``, ``output`` or
        ``caller`` (``Popen.kill``).
    :ivar limits_hit: the limits that it met on the way: ``memory`` (a process was ended for it),
        ``processes`` (a fork was refused), ``cpus`` (it was held back), ``output``, ``timeout``.
    :ivar notes: sentences on what was done otherwise than asked, as with ``limits="best-effort"``.
    """

    __slots__ = (
        "_prepared", "args", "cause", "limits_hit", "notes", "returncode", "stderr", "stdout",
        "usage",
    )  # fmt: skip

    def __init__(
        self, args: Sequence[str], stdout: Any, stderr: Any, outcome: Outcome, prepared: Prepared
    ) -> None:
        self.args = args
        self.returncode = outcome.ended.returncode
        self.stdout = stdout
        self.stderr = stderr
        self.usage = Usage(outcome.ended.user_time, outcome.ended.system_time, outcome.usage)
        self.cause = outcome.cause
        self.limits_hit = outcome.limits_hit
        self.notes = prepared.notes
        self._prepared = prepared

    @property
    def guarantees(self) -> Guarantees:
        """What really held of files, processes, network, limits and system calls, and by what."""
        return self._prepared.guarantees

    def __repr__(self) -> str:
        return (
            f"CompletedProcess(args={self.args!r}, returncode={self.returncode}, "
            f"cause={self.cause!r})"
        )

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        """For pickle: in another process there is nothing of the run but what it says."""
        state = {name: getattr(self, name) for name in self.__slots__}
        state["_prepared"] = Held(self.guarantees)
        return None, state

    def check_returncode(self) -> None:
        """Raises CalledProcessError unless the program ended with status 0."""
        if self.returncode:
            from kokon.api.ends import CalledProcessError

            raise CalledProcessError(self)
