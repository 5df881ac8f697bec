"""What a run may leave on the machine: a root to run in, a place of its own, and the counting."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import kokon
from kokon import paths
from kokon.engine import mappings, owner, sweep
from kokon.kernel import cgroups, filesystems
from kokon.runtime import program

# Whoever runs the tests in the background may ignore some signals, and children inherit that: kokon
# would leave what its caller ignores ignored.
for _number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

BUSYBOX = Path("/bin/busybox")
APPLETS = (
    "cat", "chmod", "echo", "env", "false", "head", "hostname", "id", "ls", "mkdir", "mount", "ps",
    "pwd", "seq", "sh", "sleep", "stat", "test", "touch", "true", "umount", "uname", "yes",
)  # fmt: skip


def busybox_root(path: Path) -> str:
    """A root file system of one program, for tests that have to know every file of it."""
    if not BUSYBOX.exists():
        pytest.skip("needs /bin/busybox (Debian: busybox-static)")
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "home"):
        (path / name).mkdir(parents=True, mode=0o755)
    path.chmod(0o755)
    shutil.copy(BUSYBOX, path / "bin/busybox")
    for name in APPLETS:
        (path / "bin" / name).symlink_to("busybox")
    (path / "etc/passwd").write_text("root:x:0:0::/home:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n")
    (path / "etc/group").write_text("root:x:0:\nuser:x:1000:\n")
    return str(path)


def skip_without_namespaces() -> None:
    """Skips with kokon's own sentence where this machine gives no user namespaces."""
    try:
        kokon.run(["/bin/true"], root="@host")
    except kokon.HostError as error:
        if "namespace" in str(error):
            pytest.skip(str(error))
        raise


def limits_hold() -> bool:
    """Whether a control group limits memory, processes and processors here."""
    try:
        return kokon.run(["true"], memory="64M", pids=16, cpus=1).guarantees.limits.holds
    except kokon.HostError:
        return False


def own_place(patch: pytest.MonkeyPatch, path: Path) -> Iterator[Path]:
    """State and store of this test alone; a fresh owner, given back at the end."""
    state, store = path / "state", path / "store"
    state.mkdir(mode=0o700)
    patch.setattr(paths, "state", lambda: str(state))
    patch.setenv("KOKON_STORE", str(store))
    patch.setattr(owner, "_current", None)
    patch.setattr(owner, "_made", {})
    patch.setattr(mappings, "_free", [])
    patch.setattr(sweep, "_swept", os.getpid())
    yield path
    if owner._current is not None:
        owner._current.release()


def groups_of(*tokens: str) -> list[str]:
    """The control groups that carry one of these owners' tokens."""
    found = []
    for tree in cgroups.read().hierarchies:
        for path, directories, _ in os.walk(tree.mount_point):
            found += [f"{path}/{name}" for name in directories if any(t in name for t in tokens)]
    return found


def files_below(path: Path) -> list[str]:
    """Every path below, whatever it is."""
    return sorted(
        os.path.join(where, name)
        for where, directories, files in os.walk(path)
        for name in (*directories, *files)
    )


def descriptors() -> set[int]:
    """Our open descriptors."""
    with os.scandir("/proc/self/fd") as entries:
        found = {int(entry.name) for entry in entries}
    return {fd for fd in found if _is_open(fd)}


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def children() -> list[int]:
    """Our children, dead ones that nobody waited for too."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


class Before:
    """The machine as it was; :meth:`same` says what a run has left."""

    def __init__(self, place: Path) -> None:
        # What lives as long as the process, made by the first run.
        program.descriptor()
        filesystems.mount_table()
        owner.current()
        self.place = place
        self.mounts = Path("/proc/self/mountinfo").read_text()
        self.descriptors = descriptors()
        self.children = children()
        self.owners = files_below(place / "state/owners")

    def left(self) -> list[str]:
        """What is there that was not: in words, nothing for a clean machine."""
        left = [f"child {pid}" for pid in children() if pid not in self.children]
        left += [f"descriptor {fd}" for fd in descriptors() - self.descriptors]
        left += groups_of(owner.current().token)
        if Path("/proc/self/mountinfo").read_text() != self.mounts:
            left.append("a mount")
        writes = self.place / "store/writes"
        left += files_below(writes)
        # Our own ranges of ids stay claimed for the next runs of the process.
        claims = files_below(self.place / "state/ids")
        left += [name for name in claims if os.readlink(name) != owner.current().token]
        left += set(files_below(self.place / "state/owners")) - set(self.owners)
        return left
