"""What ``why`` is asked with, and what it answers."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

ALLOWED, DENIED, UNDECIDED = "allowed", "denied", "undecided"


class Answer:
    """One of three: allowed, denied, or not decided by the plan.

    :ivar verdict: ``allowed``, ``denied`` or ``undecided``.
    :ivar sentence: what decides, or what it would depend on; without a full stop.
    :ivar numbers: the steps of the plan that decide, from 1, as ``explain`` counts them.
    :ivar steps: the same in words: ``step``, ``does`` and ``why`` (the option that asked for it).
    """

    __slots__ = ("numbers", "sentence", "steps", "verdict")

    def __init__(self, verdict: str, sentence: str, *numbers: int) -> None:
        self.verdict = verdict
        self.sentence = sentence
        self.numbers = tuple(sorted({number for number in numbers if number}))
        self.steps: tuple[dict[str, Any], ...] = ()

    @property
    def allowed(self) -> bool | None:
        """The verdict; None where the plan does not decide."""
        return {ALLOWED: True, DENIED: False}.get(self.verdict)

    def __repr__(self) -> str:
        return f"<Answer {self.verdict}: {self.sentence}>"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"verdict": self.verdict, "sentence": self.sentence, "steps": list(self.steps)}


class Entry:
    """A file as it is on a file system, before any mount's ids and flags.

    :ivar kind: directory, file, link, character, block, fifo or socket; ``kernel`` for one that
        the kernel makes up (proc, sysfs, …); ``unknown`` with ``target`` saying why.
    :ivar mode: permission bits; :ivar uid: owner, :ivar gid: group, None for one without an id.
    :ivar target: of a link.  :ivar device: major and minor number.
    :ivar flags: MOUNT_ATTR_* of the host's mount that it lies on.
    :ivar below: that mount lies below the one that the plan takes.
    :ivar acl: it has an access control list (acl(5)), so its mode does not tell all.
    :ivar fixed: it is immutable or can only be appended to (chattr(1)).
    :ivar remote: its file system has rules of its own (nfs, fuse, …).
    """

    __slots__ = (
        "acl", "below", "device", "fixed", "flags", "gid", "kind", "mode", "remote", "target",
        "uid",
    )  # fmt: skip

    def __init__(
        self,
        kind: str,
        mode: int = 0,
        uid: int | None = None,
        gid: int | None = None,
        *,
        target: str = "",
        device: tuple[int, int] = (0, 0),
        flags: int = 0,
        below: bool = False,
        acl: bool = False,
        fixed: bool = False,
        remote: bool = False,
    ) -> None:
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.target = target
        self.device = device
        self.flags = flags
        self.below = below
        self.acl = acl
        self.fixed = fixed
        self.remote = remote

    def owned_by(self, uid: int | None, gid: int | None) -> Entry:
        """The same with other ids."""
        return Entry(
            self.kind, self.mode, uid, gid, target=self.target, device=self.device,
            flags=self.flags, below=self.below, acl=self.acl, fixed=self.fixed, remote=self.remote,
        )  # fmt: skip


class Known:
    """What may be known beside the plan; without it more is undecided.

    :param look: what the machine has at a path below a source of the plan's mounts, without
        following a link there; None where there is nothing.
    :param uid: of the caller, with ``gid`` and ``groups``, for a plan that changes none.
    :param uid_map: (inside, outside, size) triples, where the plan leaves them to newuidmap.
    :param calls: architecture to its AUDIT_ARCH number and its system calls' numbers.
    :param architecture: the machine's own.
    :param filtered: kokon runs under a system call filter, which holds inside too.
    :param port_start: ip_unprivileged_port_start of the host's network namespace.
    :param limits: (what, value in words, who asked) of each limit of the control groups.
    """

    __slots__ = (
        "architecture", "calls", "filtered", "gid", "gid_map", "groups", "limits", "look",
        "port_start", "uid", "uid_map",
    )  # fmt: skip

    def __init__(
        self,
        *,
        look: Callable[[str, str], Entry | None] | None = None,
        uid: int = 0,
        gid: int = 0,
        groups: tuple[int, ...] | None = None,
        uid_map: tuple[tuple[int, int, int], ...] = (),
        gid_map: tuple[tuple[int, int, int], ...] = (),
        calls: Mapping[str, tuple[int, Mapping[str, int]]] | None = None,
        architecture: str = "",
        filtered: bool = False,
        port_start: int | None = None,
        limits: tuple[tuple[str, str, str], ...] = (),
    ) -> None:
        self.look = look
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.uid_map = uid_map
        self.gid_map = gid_map
        self.calls = calls or {}
        self.architecture = architecture
        self.filtered = filtered
        self.port_start = port_start
        self.limits = limits
