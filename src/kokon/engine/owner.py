"""Who owns what a run makes: this process, by a lock that the kernel lets go when it dies.

Everything that a run leaves on the machine while it lives (writes of an overlay, a cgroup, a range
of ids) has the owner's token in its name.  The next command tries the lock of each token; one
that it gets belongs to nobody any more, and what has its name is removed.
"""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_NB, flock

from kokon import paths
from kokon.engine import undo
from kokon.errors import KokonError
from kokon.kernel.kept import Kept
from kokon.kernel.private import private_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Owner:
    """This process's token and its lock.

    :ivar token: eight letters, unique on this machine.
    :ivar files: other files that stand for something of ours; they go when we go.
    :ivar lock: the token's file, locked.
    :ivar names: names that are free again, see :meth:`name`.
    :ivar leaves: something could not be taken back: the token stays, for a sweep to find it.
    """

    __slots__ = ("_counter", "_places", "files", "leaves", "lock", "names", "path", "pid", "token")

    def __init__(self, token: str = "", fd: int = -1) -> None:
        directory = private_directory(private_directory(paths.state()) + "/owners")
        self.token = token
        self.path = f"{directory}/{token}"
        while fd < 0:
            self.token = os.urandom(4).hex()
            self.path = f"{directory}/{self.token}"
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
                fd = os.open(self.path, flags, 0o600)
            except FileExistsError:
                continue
            try:
                flock(fd, LOCK_EX | LOCK_NB)
                # Between our open and our lock a sweep may have taken it for a dead owner's.
                if os.fstat(fd).st_nlink:
                    break
            except BlockingIOError:
                pass
            os.close(fd)
            fd = -1
        self.lock = Kept(fd)
        self.pid = os.getpid()
        self.files: list[str] = []
        self.names: list[str] = []
        self.leaves = False
        self._counter = 0
        self._places: set[str] = set()

    def name(self) -> str:
        """A name with the token in it that nothing has now.

        Who has removed what had it may add it to ``names``: with the same name a plan is the same.
        """
        try:
            return self.names.pop()
        except IndexError:
            pass
        self._counter += 1
        return f"{self.token}-{self._counter}"

    def note(self, directory: str) -> None:
        """Writes down where a thing with our token will be made: the store and the control group
        of whoever sweeps may be others."""
        if directory not in self._places:
            os.write(self.lock.fd, os.fsencode(directory) + b"\0")
            self._places.add(directory)

    def is_alive(self) -> bool:
        """Whether this is still the process that has the lock."""
        return self.pid == os.getpid() and self.lock.is_there()

    def release(self) -> None:
        """Removes the token, unless something with its name is left."""
        if not self.is_alive():
            return
        for path in () if self.leaves else (*self.files, self.path):
            try:
                os.unlink(path)
            except OSError:
                pass
        self.files.clear()
        self.lock.close()


_current: Owner | None = None
_made: dict[int, Owner] = {}


def current() -> Owner:
    """The owner of this process, made at the first run (and again in a forked child)."""
    global _current
    before = _current
    if before is None or not before.is_alive():
        import atexit

        made = Owner()
        if before is not None and _made.get(made.pid) is before:
            # Its lock was closed under it: a sweep may have taken it for dead.
            _made.pop(made.pid, None)
        # One step for threads that come here at once: the first one's stays.
        _current = _made.setdefault(made.pid, made)
        if _current is not made:
            made.release()
            return _made[made.pid]
        atexit.register(made.release)
        atexit.register(undo.run_all)
        return made
    return before


def adopt(token: str, fd: int) -> Owner:
    """The owner that this process was before it became Python.

    :param fd: the token's file, locked.
    """
    global _current
    import atexit

    made = _current = _made[os.getpid()] = Owner(token, fd)
    atexit.register(made.release)
    return made


def bury(directory: str, remove: Callable[[str, list[str]], object]) -> None:
    """Calls ``remove`` with each token whose process is gone, and the directories it noted.

    The token goes when that is done; where it fails the next sweep finds the token again.
    """
    try:
        tokens = os.listdir(directory)
    except FileNotFoundError:
        return
    for token in tokens:
        path = f"{directory}/{token}"
        if _current is not None and path == _current.path:
            continue
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            flock(fd, LOCK_EX | LOCK_NB)
            remove(token, os.fsdecode(os.read(fd, 1 << 20)).split("\0")[:-1])
            os.unlink(path)
        except (OSError, KokonError):
            pass
        finally:
            os.close(fd)
