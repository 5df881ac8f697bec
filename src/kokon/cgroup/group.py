"""One directory of one hierarchy: what is the same on v1 and v2."""

from __future__ import annotations

import os
from errno import EACCES, EAGAIN, EBUSY, EEXIST, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, EPERM, EROFS
from time import monotonic, sleep

from kokon.errors import HostError, RetryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kokon.cgroup.write import Write

DELEGATION = (
    "run it inside a delegated group (`systemd-run --user --scope -p Delegate=yes …` after"
    " `loginctl enable-linger`), as root, or with --limits best-effort"
)
"""What to do where an ordinary user may not make groups."""

PATIENCE = 5.0
"""Seconds to wait for the kernel: for killed processes to be gone, for a freeze."""


class Group:
    """A control group that we made, or were told of.

    :ivar path: its directory.
    :ivar made: the directories that were made for it, from the top.
    :ivar log: how it was made: a path and what was written to it, or None for a directory that was
        made and whether it may be there already.
    """

    __slots__ = ("log", "made", "path")

    version = 0

    def __init__(self, path: str, made: Iterable[str] = ()) -> None:
        self.path = path
        self.made = list(made)
        self.log: list[tuple[str, str | None, bool]] = []

    def descriptor(self) -> int:
        """What a process needs to get in: see the backends."""
        raise NotImplementedError

    def apply(self, writes: Iterable[Write]) -> None:
        """Perform writes in order.

        :raises HostError: the kernel refused one, in a sentence with the file and the value.
        """
        for write in writes:
            self.apply_one(write)

    def apply_one(self, write: Write) -> None:
        """Perform one write, in the first of its files that this kernel has."""
        for file, value in ((write.file, write.value), *write.alternatives):
            try:
                write_file(f"{self.path}/{file}", value)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise refused(self.path, file, value, write.why, error) from error
            self.log.append((f"{self.path}/{file}", value, False))
            return
        if not write.may_lack:
            missing = FileNotFoundError(ENOENT, "")
            raise refused(self.path, write.file, write.value, write.why, missing)

    def read(self, file: str) -> str | None:
        """The text of a file; None where the kernel has no such file, or the group is gone."""
        try:
            return read_file(f"{self.path}/{file}")
        except OSError:
            return None

    def number(self, file: str) -> int | None:
        """The number in a file; None where there is none (``max`` is none)."""
        text = (self.read(file) or "").strip()
        return int(text) if text.isdigit() else None

    def keyed(self, file: str) -> dict[str, int]:
        """The ``key number`` lines of a file."""
        values = {}
        for line in (self.read(file) or "").splitlines():
            key, _, value = line.partition(" ")
            if value.isdigit():
                values[key] = int(value)
        return values

    def processes(self) -> list[int]:
        """The processes in it and in every group below; 0 is one that our /proc cannot name."""
        found: set[int] = set()
        for directory in tree(self.path):
            text = _read_processes(directory)
            found.update(int(word) for word in text.split())
        return sorted(found)

    def kill(self) -> None:
        """SIGKILL every process; returns when none is left.

        :raises RetryError: some are still there after :data:`PATIENCE`.
        """
        raise NotImplementedError

    def freeze(self) -> None:
        """Stop every process; returns when all have stopped.

        :raises RetryError: some have not after :data:`PATIENCE`; they are thawed again.
        """
        raise NotImplementedError

    def thaw(self) -> None:
        """Let them run again."""
        raise NotImplementedError

    def remove(self) -> None:
        """Remove it with what is below it; left-over processes are killed.  Gone is fine.

        :raises RetryError: the kernel still holds it after :data:`PATIENCE`.
        """
        if not _rmdir(self.path):
            self.kill()
            deadline = monotonic() + PATIENCE
            pause = 0.0002
            while not _rmdir(self.path):
                if monotonic() > deadline:
                    raise RetryError(
                        f"the control group {self.path} is still busy", remedy="try again later"
                    )
                for directory in reversed(tree(self.path)):
                    _rmdir(directory)
                sleep(pause)
                pause = min(pause * 2, 0.02)
        self.undo()

    def undo(self) -> None:
        """Remove the directories that were made and are empty, from below."""
        while self.made:
            try:
                os.rmdir(self.made.pop())
            except FileNotFoundError:
                continue
            except OSError:
                return


def make(
    path: str,
    why: str = "",
    *,
    may_exist: bool = False,
    permission: str = DELEGATION,
    note: Callable[[str], None] | None = None,
) -> bool:
    """Make a group's directory; whether it was made.

    :param permission: what to do where it is not permitted.
    :param note: called before, for whoever removes what a killed kokon left: with the directory
        that the group will be in; with the path and a ``/`` for one that others may use too.
    :raises HostError: refused, with what to do.
    """
    if note is not None:
        if os.path.isdir(path):
            pass  # somebody else's, which nobody removes as ours
        elif may_exist:
            note(path + "/")
        else:
            note(path.rpartition("/")[0])
    try:
        os.mkdir(path, 0o755)
        return True
    except OSError as error:
        if may_exist and error.errno == EEXIST:
            return False
        what = f"the control group {path} cannot be made"
        remedy = {
            EACCES: permission,
            EPERM: permission,
            EROFS: "mount the control groups read-write (in a container: run it privileged)",
            EEXIST: "choose another name, or delete the container that has it",
            EAGAIN: "the group above allows no more groups (cgroup.max.descendants): remove some",
        }.get(error.errno or 0, "")
        raise HostError(what, where=why, errno=error.errno or 0, remedy=remedy) from error


def write_file(path: str, value: str) -> None:
    """Write a control file: one write(2), no creation, because that is one command."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def read_file(path: str) -> str:
    """Read a control file whole."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(fd, 65536)
        if len(text) >= 4096:
            while chunk := os.read(fd, 1 << 20):
                text += chunk
        return text.decode(errors="replace")
    finally:
        os.close(fd)


def tree(path: str) -> list[str]:
    """A group's directory and all below it, each after the one above it."""
    found = [path]
    for directory in found:
        try:
            with os.scandir(directory) as entries:
                found += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
    return found


def refused(directory: str, file: str, value: str, why: str, error: OSError) -> HostError:
    """The sentence for a limit that the kernel did not take."""
    number = error.errno or 0
    if number == ENOENT:
        what = f"this kernel has no {file}, so {value!r} cannot be set in {directory}"
        # The errno would only repeat it.
        return HostError(what, where=why, remedy=_REMEDIES.get((file, ENOENT), "leave it out"))
    remedy = _REMEDIES.get((file, number)) or _REMEDIES.get(("", number), "leave it out")
    if file in ("cpuset.cpus", "cpuset.mems"):
        for above in (f"{directory}/../{file}.effective", f"{directory}/../{file}"):
            try:
                remedy = f"name some of {read_file(above).strip()}"
                break
            except OSError:
                continue
    what = f"{value!r} was not taken by {directory}/{file}"
    return HostError(what, where=why, errno=number, remedy=remedy)


_REMEDIES = {
    ("memory.memsw.limit_in_bytes", ENOENT): "leave the swap limit out, or boot with swapaccount=1",
    ("memory.swap.max", ENOENT): "leave the swap limit out, or boot with swapaccount=1",
    ("memory.limit_in_bytes", EBUSY): "give more: the group uses more than that now",
    ("memory.limit_in_bytes", EINVAL): "raise the limit of memory and swap together as well",
    ("memory.memsw.limit_in_bytes", EINVAL): "give at least the memory limit",
    ("cpu.cfs_quota_us", EINVAL): "ask for no more CPU than the group above has",
    ("cpu.cfs_burst_us", EINVAL): "give a burst that is not above the quota",
    ("cpu.max.burst", EINVAL): "give a burst that is not above the quota",
    ("cpu.rt_runtime_us", EINVAL): "give the group above real-time runtime first",
    ("devices.allow", EPERM): "leave the rule out: the group above does not allow the device",
    ("", EACCES): DELEGATION,
    ("", EPERM): DELEGATION,
    ("", EROFS): "mount the control groups read-write (in a container: run it privileged)",
    ("", EINVAL): "give a value that this kernel takes",
    ("", ENODEV): "name a device that this machine has",
    ("", EOPNOTSUPP): "leave it out: this kernel does not support it",
    ("", EBUSY): "try again when the group is less busy",
}


def _read_processes(directory: str) -> str:
    try:
        return read_file(directory + "/cgroup.procs")
    except OSError as error:
        if error.errno != EOPNOTSUPP:
            return ""
    try:
        # A threaded group of v2 tells threads only.
        return read_file(directory + "/cgroup.threads")
    except OSError:
        return ""


def _rmdir(path: str) -> bool:
    """Whether the directory is gone."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (EBUSY, EAGAIN):
            return False
        raise HostError(
            f"the control group {path} cannot be removed",
            errno=error.errno or 0,
            remedy="remove it as its owner",
        ) from error
    return True
