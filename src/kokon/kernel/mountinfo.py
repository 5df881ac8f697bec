"""The mount table of a process: the text of ``/proc/PID/mountinfo`` (proc_pid_mountinfo(5))."""

from __future__ import annotations


class Mount:
    """One line of mountinfo.

    :ivar mount_id: unique among the mounts that exist now.
    :ivar parent_id: the mount it is mounted on.
    :ivar device: ``major:minor`` of the file system.
    :ivar root: the directory of the file system that is seen at the mount point.
    :ivar mount_point: where, relative to the process's root.
    :ivar options: of the mount (``rw``, ``nosuid``, …).
    :ivar propagation: the optional fields (``shared:1``, ``master:2``, …); none means private.
    :ivar filesystem: the type (``ext4``, ``cgroup2``, …).
    :ivar source: what was mounted, as it was named then.
    :ivar super_options: of the file system (``rw``, ``memory``, …).
    """

    __slots__ = (
        "device",
        "filesystem",
        "mount_id",
        "mount_point",
        "options",
        "parent_id",
        "propagation",
        "root",
        "source",
        "super_options",
    )

    def __init__(
        self,
        mount_id: int,
        parent_id: int,
        device: str,
        root: str,
        mount_point: str,
        options: tuple[str, ...],
        propagation: tuple[str, ...],
        filesystem: str,
        source: str,
        super_options: tuple[str, ...],
    ) -> None:
        self.mount_id = mount_id
        self.parent_id = parent_id
        self.device = device
        self.root = root
        self.mount_point = mount_point
        self.options = options
        self.propagation = propagation
        self.filesystem = filesystem
        self.source = source
        self.super_options = super_options

    def __repr__(self) -> str:
        return f"<Mount {self.filesystem} {self.root} on {self.mount_point}>"


def parse(text: str, only: tuple[str, ...] = ()) -> tuple[Mount, ...]:
    """Every mount of a mountinfo text, in the kernel's order.

    :param only: file system types to keep; none keeps all (a host can have thousands of mounts).
    :raises ValueError: a line is not mountinfo.
    """
    mounts = []
    # Not splitlines(): a mount point may hold any byte but NUL, and only \n is escaped.
    for line in text.split("\n"):
        if not line:
            continue
        # The optional fields end at the first lone hyphen; every space of a name is escaped.
        before, hyphen, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if not hyphen or len(left) < 6 or len(right) < 3:
            raise ValueError(f"not a line of mountinfo: {line[:80]!r}")
        if only and right[0] not in only:
            continue
        mounts.append(
            Mount(
                int(left[0]),
                int(left[1]),
                left[2],
                unescape(left[3]),
                unescape(left[4]),
                tuple(left[5].split(",")),
                tuple(left[6:]),
                right[0],
                unescape(right[1]),
                tuple(right[2].split(",")),
            )
        )
    return tuple(mounts)


def unescape(field: str) -> str:
    r"""A field with the kernel's octal escapes (``\040`` for a space) taken back."""
    if "\\" not in field:
        return field
    head, *rest = field.split("\\")
    for part in rest:
        octal = part[:3]
        if len(octal) == 3 and all("0" <= digit <= "7" for digit in octal):
            head += chr(int(octal, 8)) + part[3:]
        else:
            head += "\\" + part
    return head
