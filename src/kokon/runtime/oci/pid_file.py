"""The file of a pid that engines ask for."""

from __future__ import annotations

import os


def write_pid(path: str, pid: int) -> None:
    """Writes a pid file in one step; its directory is the caller's business."""
    new = f"{path}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(new, flags, 0o644)
    try:
        os.write(fd, str(pid).encode())
        os.rename(new, path)
    except BaseException:
        os.unlink(new)
        raise
    finally:
        os.close(fd)
