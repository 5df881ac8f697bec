"""The standard streams of a program: a terminal that somebody else gets, or those of the caller."""

from __future__ import annotations

import os
import stat
from struct import pack

from kokon.errors import OptionError
from kokon.security import idmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.spec.runtime import Spec

PATIENCE = 5.0
"""Seconds that a console socket has to take the terminal."""


def give(spec: Spec) -> None:
    """Gives the pipes of an engine, which are the engine's user's, to the program's, who may open
    them anew then (/dev/stdout).

    A device stays whose it is: /dev/null is everybody's.  So does a file of the caller's.
    """
    linux = spec.linux
    if spec.process.terminal or any(n.type == "user" and n.path for n in linux.namespaces):
        return  # another's user namespace has ids that no document says
    user = spec.process.user.uid
    outside = idmap.to_host(linux.uid_mappings, user) if linux.uid_mappings else user
    for fd in range(3) if outside is not None else ():
        found = os.fstat(fd)
        if stat.S_ISFIFO(found.st_mode) and found.st_uid != outside:
            try:
                os.fchown(fd, outside, -1)  # type: ignore[arg-type]
            except PermissionError:
                pass  # only root may: for others the program's user is themselves, mostly


def send_terminal(master: int, path: str) -> None:
    """Hands the terminal's master to whoever listens (runC's ``--console-socket``).

    :raises OptionError: nobody does.
    """
    import _socket

    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        # One whose queue is full would let us wait for ever.
        patience = pack("ll", *divmod(int(PATIENCE * 1e6), 1_000_000))
        channel.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, patience)
        channel.connect(path)
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, master.to_bytes(4, "little"))
        channel.sendmsg([b"/dev/ptmx"], [rights])
    except OSError as error:
        raise OptionError(
            f"nobody takes the terminal at {path}", where="--console-socket",
            errno=error.errno or 0,
        ) from error  # fmt: skip
    finally:
        channel.close()
        os.close(master)


def terminal_size(spec: Spec) -> tuple[int, int]:
    """Rows and columns, where the document says."""
    size = spec.process.console_size
    return (size.height, size.width) if size else (0, 0)
