"""What is kept of a container: one directory below the runtime's root, with a lock of its own.

ROOT/ID/state.json     written anew and renamed
ROOT/ID/lock           held by whoever changes the container
ROOT/ID/start          the socket on which init waits; gone when the container was started
ROOT/ID/config.json    the configuration of which it was made
ROOT/ID/groups         where its control groups are or were about to be made
"""

from __future__ import annotations

import os
from errno import EEXIST, ENOENT, ENOTEMPTY
from fcntl import LOCK_EX, flock

from kokon.errors import HostError, OptionError, RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = "1.3.0"
"""Of the runtime specification (its state's ``ociVersion``)."""

MOST_ID = 128
STATE, LOCK, SOCKET, NOTED = "state.json", "lock", "start", "groups"


class UnknownContainer(RequestError):
    """There is no container of that id, in the words that engines look for."""

    def __init__(self, identity: str) -> None:
        super().__init__("container does not exist", where=identity)


def check_id(identity: str) -> str:
    """An id is a name and never a path (row S2).

    :raises OptionError: it is not.
    """
    plain = identity.replace("_", "").replace(".", "").replace("-", "").replace("+", "")
    good = plain.isascii() and plain.isalnum() and identity[0] not in "._-+"
    if not good or len(identity) > MOST_ID:
        raise OptionError(
            f"{identity[:80]!r} is no id of a container",
            where="ID",
            remedy="use letters, digits and _ . - +, beginning with a letter or digit, 128 at most",
        )
    return identity


def default_root() -> str:
    """/run/kokon-runtime, or below $XDG_RUNTIME_DIR for an ordinary user, who may be root of a
    user namespace, as under Podman."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    ordinary = os.geteuid() or (runtime and not _maps_all_ids())
    if ordinary and runtime.startswith("/"):
        return f"{runtime}/kokon-runtime"
    return "/run/kokon-runtime" if not os.geteuid() else f"/tmp/kokon-runtime-{os.geteuid()}"


def _maps_all_ids() -> bool:
    with open("/proc/self/uid_map") as file:
        return file.read().split() == ["0", "0", "4294967295"]


def open_root(path: str, *, make: bool = False) -> int:
    """A descriptor of the directory of all containers.

    :param make: make it where it is missing.
    :raises HostError: it cannot be had, or is open to others.
    """
    try:
        if make:
            os.makedirs(path, 0o700, exist_ok=True)
        above = os.stat(os.path.dirname(os.path.abspath(path)))
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        if above.st_mode & 0o022 or above.st_uid not in (0, os.geteuid()):
            flags |= os.O_NOFOLLOW  # others may have put a link there (row S3)
        fd = os.open(path, flags)
    except OSError as error:
        raise HostError(
            f"{path} cannot be used", where="--root", errno=error.errno or 0,
            remedy="name a directory of your own",
        ) from error  # fmt: skip
    found = os.fstat(fd)
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        os.close(fd)
        raise HostError(
            f"{path} may be changed by others", where="--root",
            remedy="name a directory of your own, with mode 0700",
        )  # fmt: skip
    return fd


class Record:
    """One container, locked.

    :ivar values: what ``state.json`` has: id, bundle, pid, pid_start, created, annotations,
        groups (see ``cgroup.Placement.paths``), hooks, namespaces, process, and so on.
    """

    def __init__(self, identity: str, directory: int, lock: int, values: dict[str, Any]) -> None:
        self.identity = identity
        self.directory = directory
        self.values = values
        self._lock = lock

    @classmethod
    def make(cls, root: str, identity: str, values: dict[str, Any]) -> Record:
        """A new one: of two callers exactly one wins.

        :raises RequestError: the id is taken.
        """
        parent = open_root(root, make=True)
        try:
            try:
                os.mkdir(check_id(identity), 0o700, dir_fd=parent)
            except OSError as error:
                if error.errno != EEXIST:
                    raise
                raise RequestError(
                    "container with given ID already exists", where=identity,
                    remedy="delete it first, or use another id",
                ) from None  # fmt: skip
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
            directory = os.open(identity, flags, dir_fd=parent)
        finally:
            os.close(parent)
        record = cls(identity, directory, _locked(directory), values)
        record.save()
        return record

    @classmethod
    def open(cls, root: str, identity: str, *, unfinished: bool = False) -> Record:
        """One that is there; waits for whoever changes it.

        :param unfinished: also one whose maker was ended before it had written anything.
        :raises UnknownContainer: there is none.
        """
        check_id(identity)
        try:
            parent = open_root(root)
        except HostError as error:
            if error.errno == ENOENT:
                raise UnknownContainer(identity) from None
            raise
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            directory = os.open(identity, flags, dir_fd=parent)
        except FileNotFoundError:
            raise UnknownContainer(identity) from None
        finally:
            os.close(parent)
        try:
            lock = _locked(directory)
            try:
                values = _load(directory)
            except BaseException as error:
                if unfinished and isinstance(error, FileNotFoundError):
                    return cls(identity, directory, lock, {})
                os.close(lock)
                raise
        except FileNotFoundError:
            os.close(directory)
            raise UnknownContainer(identity) from None
        except BaseException:
            os.close(directory)
            raise
        return cls(identity, directory, lock, values)

    def save(self) -> None:
        """Writes what is kept, in one step for whoever reads."""
        from kokon.spec.oci.json_text import text

        self.keep(STATE, text(self.values).encode("utf-8", "surrogateescape"))

    def keep(self, name: str, data: bytes) -> None:
        """Writes a file of the container's directory, in one step for whoever reads."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        new = f"{name}.{os.getpid()}"
        fd = os.open(new, flags, 0o600, dir_fd=self.directory)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)
        os.rename(new, name, src_dir_fd=self.directory, dst_dir_fd=self.directory)

    def kept(self, name: str) -> bytes:
        """What :meth:`keep` was given.

        :raises FileNotFoundError: it was never called for that.
        """
        return _read(self.directory, name)

    @property
    def pid(self) -> int:
        """The first process as long as it lives and is the one that was started; else 0."""
        pid = self.values.get("pid", 0)
        return pid if pid and start_of(pid) == self.values.get("pid_start") else 0

    @property
    def waits(self) -> bool:
        """Whether it has not been started."""
        try:
            os.stat(SOCKET, dir_fd=self.directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    @property
    def status(self) -> str:
        """creating, created, running, paused or stopped (runtime.md, State)."""
        if not self.values.get("pid"):
            return "creating"
        if not self.pid:
            return "stopped"
        if self.is_frozen():
            return "paused"
        return "created" if self.waits else "running"

    def is_frozen(self) -> bool:
        """Whether its control group is frozen."""
        for path, frozen in self.freezers():
            try:
                with open(path) as file:
                    if any(line.startswith(frozen) for line in file):
                        return True
            except OSError:
                continue
        return False

    def freezers(self) -> list[tuple[str, str]]:
        """Files that say whether it is frozen, and how a line begins that says so."""
        found = []
        for key, path in self.values.get("groups", {}).items():
            if key == "unified":
                found.append((f"{path}/cgroup.events", "frozen 1"))
            elif key == "freezer":
                found.append((f"{path}/freezer.state", "FR"))
        return found

    def state(self, status: str = "") -> dict[str, Any]:
        """The state of the specification, for hooks and people."""
        status = status or self.status
        shown: dict[str, Any] = {"ociVersion": VERSION, "id": self.identity, "status": status}
        if status != "stopped":
            shown["pid"] = self.values.get("pid", 0)
        shown["bundle"] = self.values["bundle"]
        shown["annotations"] = self.values.get("annotations") or {}
        return shown

    def remove(self) -> None:
        """Removes the directory."""
        for name in os.listdir(self.directory):
            os.unlink(name, dir_fd=self.directory)
        path = os.readlink(f"/proc/self/fd/{self.directory}")
        try:
            os.rmdir(path)
        except OSError as error:
            if error.errno not in (ENOENT, ENOTEMPTY):
                raise

    def close(self) -> None:
        """Lets the lock go."""
        os.close(self._lock)
        os.close(self.directory)

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def every(root: str) -> list[str]:
    """The ids of all containers, sorted."""
    try:
        fd = open_root(root)
    except HostError as error:
        if error.errno == ENOENT:
            return []
        raise
    try:
        return sorted(os.listdir(fd))
    finally:
        os.close(fd)


def start_of(pid: int, directory: int | None = None) -> int | None:
    """When a process was started, in ticks since boot; None for one that is gone or a zombie.

    A pid and this together name one process (row S4).

    :param directory: /proc/PID as a descriptor, which stays of one process.
    """
    path = f"/proc/{pid}/stat" if directory is None else "stat"
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory), "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _locked(directory: int) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    lock = os.open(LOCK, flags, 0o600, dir_fd=directory)
    flock(lock, LOCK_EX)
    return lock


def _load(directory: int) -> dict[str, Any]:
    from kokon.spec.oci.json_text import load

    values: dict[str, Any] = load(_read(directory, STATE))
    return values


def _read(directory: int, name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
    with open(fd, "rb") as file:
        return file.read()
