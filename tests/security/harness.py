"""Hostile roots, links that keep changing, and what a run may not leave behind.

``H`` of the tests is :func:`crafted_tar.canary`: a directory of the host that must stay as it is.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import kokon
from kokon import paths
from kokon.config.options import Options
from kokon.engine.run import finish, prepare

SECRET = "the secret of the host"
BUSYBOX = Path("/bin/busybox")
APPLETS = (
    "cat", "chmod", "chown", "cut", "echo", "env", "grep", "id", "ln", "ls", "mkdir", "mount", "mv",
    "readlink", "rm", "seq", "sh", "sleep", "stat", "touch", "true", "umount",
)  # fmt: skip
NEEDS_ROOT = "needs root: an ordinary user has neither the host's namespaces nor its rights"

FLIP = """
import ctypes, mmap, os, sys
a, b, counter = map(os.fsencode, sys.argv[1:4])
count = mmap.mmap(os.open(counter, os.O_RDWR), 8)
libc = ctypes.CDLL(None)
n = 0
while True:
    if libc.renameat2(-100, a, -100, b, 2) == 0:
        n += 1
        count[:] = n.to_bytes(8, "little")
"""


def make_root(top: Path) -> Path:
    """A root of busybox alone, with the directories that a distribution has."""
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "var"):
        (top / name).mkdir(parents=True)
    (top / "tmp").chmod(0o1777)
    (top / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")
    (top / "bin/busybox").write_bytes(BUSYBOX.read_bytes())
    (top / "bin/busybox").chmod(0o755)
    for name in APPLETS:
        (top / "bin" / name).symlink_to("busybox")
    return top


def run(root: Path, script: str, **options: Any) -> str:
    """What a shell script prints, errors included."""
    done = attempt(root, ["/bin/sh", "-c", script], **options)
    assert not isinstance(done, kokon.KokonError), done
    return done


def attempt(root: Path, args: list[str], **options: Any) -> str | kokon.KokonError:
    """What a program prints, or why it did not start: no host secret in either."""
    settings: dict[str, Any] = {"stdout": kokon.PIPE, "stderr": kokon.STDOUT,
                                "stdin": kokon.DEVNULL, "text": True, "timeout": 30}  # fmt: skip
    try:
        done = kokon.run(args, root=root, **{**settings, **options})
    except kokon.KokonError as error:
        assert SECRET not in str(error)
        return error
    assert SECRET not in (done.stdout or "")
    return done.stdout or ""


@contextmanager
def flip(a: Path, b: Path, counter: Path) -> Iterator[Callable[[], int]]:
    """A process that exchanges two names without end; yields how often it did so far."""
    counter.write_bytes(bytes(8))
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", FLIP, a, b, counter])
    fd = os.open(counter, os.O_RDONLY)
    seen = mmap.mmap(fd, 8, prot=mmap.PROT_READ)
    os.close(fd)
    try:
        until = time.monotonic() + 10
        while not any(seen[:8]) and time.monotonic() < until:
            time.sleep(0.005)
        yield lambda: int.from_bytes(seen[:8], "little")
    finally:
        process.kill()
        process.wait()
        seen.close()


def while_flipping(a: Path, b: Path, counter: Path, work: Callable[[], object]) -> None:
    """Repeats the work until 2,000 exchanges happened while it ran, and thirty times at least."""
    with flip(a, b, counter) as count:
        during = rounds = 0
        while during < 2000 or rounds < 30:
            before = count()
            work()
            during += count() - before
            rounds += 1
            assert rounds < 500, "nothing is exchanged"


def mounts(of: str = "self") -> list[str]:
    """mountinfo with its optional fields; without the counters of mount ids it is comparable."""
    return Path(f"/proc/{of}/mountinfo").read_text().splitlines()


def mount_points(text: str) -> dict[str, tuple[str, str, str]]:
    """What mountinfo says inside: mount point to (root, options, type); the topmost wins."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"\d+ \d+ \S+ (\S+) (\S+) (\S+) .*?- (\S+) ", line)
        if match:
            found[match[2]] = (match[1], match[3], match[4])
    return found


def left_behind() -> dict[str, object]:
    """What a run could leave: mounts, children, descriptors, writes, control groups."""
    writes = Path(paths.store(), "writes")
    groups = {
        path
        for tree in os.scandir("/sys/fs/cgroup")
        if tree.is_dir(follow_symlinks=False)
        for path in Path(tree.path).glob("kokon-*")
    }
    return {
        "mounts": mounts(),
        "children": Path(f"/proc/self/task/{os.getpid()}/children").read_text().split(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "writes": sorted(os.listdir(writes)) if writes.exists() else [],
        "groups": {path for path in groups if own(path.name)},
    }


def own(name: str) -> bool:
    """Whether a name has this process's token in it; others may run containers meanwhile."""
    from kokon.engine import owner

    return owner._current is not None and owner._current.token in name


def forked(work: Callable[[], object], *, own_mounts: bool = False) -> None:
    """Does the work in a child of ours, for what cannot be taken back: descriptors, mounts, hooks.

    :param own_mounts: in a mount namespace of its own, so that the host's mounts may be arranged.
    """
    # Shared memory: a descriptor could be one that the work closes.
    words = mmap.mmap(-1, 1 << 16)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if own_mounts:
                mount_call("unshare", 0x20000)
                mount("none", "/", "", MS_REC | MS_PRIVATE)
            work()
            status = 0
        except BaseException:
            words.write(traceback.format_exc().encode()[: 1 << 16])
        finally:
            from kokon.engine import owner

            owner.current().release()
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    text = words[:].rstrip(b"\0").decode("utf-8", "replace")
    words.close()
    assert status == 0, text or f"status {status}"


def forked_in_pid_namespace(work: Callable[[], object]) -> None:
    """As :func:`forked`, as process 1 of a pid namespace with a /proc of its own."""

    def namespaces() -> None:
        mount_call("unshare", 0x20000000)  # CLONE_NEWPID: for the next child

        def first() -> None:
            mount_call("mount", b"proc", b"/proc", b"proc", 0, None)
            work()

        forked(first)

    forked(namespaces, own_mounts=True)


MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED = (
    0x1, 0x20, 0x1000, 0x4000, 1 << 18, 1 << 20,
)  # fmt: skip


def mount_call(name: str, *arguments: object) -> None:
    """A call of the C library, with its error as OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), name)


def mount(source: str, target: str | Path, kind: str, flags: int = 0) -> None:
    mount_call("mount", source.encode(), os.fsencode(target), kind.encode(), flags, None)


def with_terminal(root: Path, script: str, **options: Any) -> str:
    """What a script prints on a terminal of its own, read from the other end."""
    asked = Options(os.fspath(root), ("/bin/sh", "-c", script), {"init": True, **options})
    prepared = prepare(asked, terminal=True, terminal_size=(24, 80))
    null = os.open(os.devnull, os.O_RDWR)
    output = b""
    try:
        process = prepared.start((null, null, null))
        try:
            if process.spawned.await_terminal():
                with suppress(OSError):  # EIO: nobody has the other end any more
                    while part := os.read(process.spawned.terminal, 4096):
                        output += part
                os.close(process.spawned.terminal)
            finish(prepared, process)
        finally:
            process.close()
    finally:
        os.close(null)
        prepared.close()
    return output.decode().replace("\r\n", "\n")
