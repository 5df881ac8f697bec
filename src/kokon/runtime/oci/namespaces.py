"""Namespaces that a document gives by their paths (config-linux.md, Namespaces)."""

from __future__ import annotations

import os
from fcntl import ioctl

from kokon.errors import SpecError
from kokon.kernel.constants import NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kokon.spec.runtime import Spec

FILES = {
    "user": "user", "pid": "pid", "time": "time", "network": "net", "ipc": "ipc", "uts": "uts",
    "cgroup": "cgroup", "mount": "mnt",
}  # fmt: skip
"""Names below /proc/PID/ns (namespaces(7))."""

# ioctl_ns(2)
NS_GET_USERNS = 0xB701
NS_GET_NSTYPE = 0xB703


def open_given(spec: Spec, closing: list[Callable[[], object]]) -> dict[str, int]:
    """Opens them, by what the plan calls them.

    :param closing: gets what closes them.
    :raises SpecError: a path is no namespace of its kind.
    """
    opened = {}
    for at, each in enumerate(spec.linux.namespaces):
        if each.path:
            fd = _open(each.path, each.type, f"/linux/namespaces/{at}/path")
            opened[f"namespace:{each.type}"] = fd
            closing.append(lambda fd=fd: os.close(fd))  # type: ignore[misc]
    return opened


def _open(path: str, kind: str, where: str) -> int:
    try:
        # Whatever it is, opening it does not wait.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SpecError(
            f"the namespace {path} cannot be opened", where=where, errno=error.errno or 0
        ) from error
    try:
        if ioctl(fd, NS_GET_NSTYPE) == NAMESPACES[kind]:
            return fd
    except OSError:
        pass  # no namespace at all
    os.close(fd)
    raise SpecError(f"{path} is no {kind} namespace", where=where)


def owned(given: Mapping[str, int]) -> tuple[str, ...]:
    """Kinds of given namespaces that the given user namespace owns."""
    if "namespace:user" not in given:
        return ()
    user = os.fstat(given["namespace:user"]).st_ino
    kinds = []
    for name, fd in given.items():
        if name != "namespace:user":
            try:
                owner = ioctl(fd, NS_GET_USERNS)
            except PermissionError:
                continue  # it is of a namespace above ours
            if os.fstat(owner).st_ino == user:
                kinds.append(name.partition(":")[2])
            os.close(owner)
    return tuple(kinds)


def shared(spec: Spec, given: Mapping[str, int]) -> tuple[str, ...]:
    """Kinds of given namespaces that we are in ourselves: nothing of theirs is set (row M19).

    :raises SpecError: the document has another name for the machine.
    """
    kinds = []
    for name, fd in given.items():
        kind = name.partition(":")[2]
        if os.path.samestat(os.stat(f"/proc/self/ns/{FILES[kind]}"), os.fstat(fd)):
            kinds.append(kind)
    if "uts" in kinds:
        for name, wanted in (("hostname", spec.hostname), ("domainname", spec.domainname)):
            # Engines say the name that the machine has.
            with open(f"/proc/sys/kernel/{name}") as file:
                if wanted and wanted != file.read().rstrip("\n"):
                    raise SpecError(
                        "the uts namespace that is given is the machine's, whose name it would"
                        " change", where=f"/{name}", remedy="give it a uts namespace of its own",
                    )  # fmt: skip
    return tuple(kinds)
