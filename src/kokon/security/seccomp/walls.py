"""What stands in for namespaces that there are not: a filter of its own, beside the program's.

Landlock has no rule for modes, owners and attributes of files, for sockets that have a path, for
System V's objects, or for the limits of other processes of the same user; a container has
namespaces for them.  Without those the calls are refused.
"""

from __future__ import annotations

from kokon.security.seccomp.default import ARCHITECTURES, OTHERWISE, word
from kokon.security.seccomp.profile import ALLOW, ENOSYS, EPERM, ERRNO, Condition, Profile, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

ENOTSUP = 95
"""What file systems without extended attributes answer: every program takes it."""

KEYS = "add_key keyctl request_key"
"""A session keyring that is the caller's."""

ATTRIBUTES = """
fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr lremovexattr
lsetxattr removexattr removexattrat setxattr setxattrat
"""

OWNERS = """
chmod chown chown32 fchmod fchmodat fchmodat2 fchown fchown32 fchownat futimesat lchown lchown32
utime utimes file_setattr
"""
"""Of files that are the user's own, wherever they are.  futimens(3), which needs the file open,
stays."""

WATCHING = "fanotify_mark inotify_add_watch"
"""They tell the names in directories that may not be read."""

OBJECTS = """
ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
semtimedop_time64 shmat shmctl shmget
"""

PAST_FILTERS = "io_uring_enter io_uring_register io_uring_setup"
"""What it does for a program no filter sees."""

AF_UNIX, SOCK_STREAM, SOCK_SEQPACKET, TYPE = 1, 1, 5, 0xF
PRIO_USER, IOPRIO_WHO_USER = 2, 3
O_ACCMODE, O_TRUNC = 0o3, 0o1000
REFUSED = ERRNO | EPERM

KINDS = ("keys", "network", "files", "files-network", "truncation")

COMPILED: dict[tuple[str, str], bytes] = {}


def program(architecture: str, kind: str) -> bytes:
    """A filter as an array of ``struct sock_filter``.

    :param architecture: ``x86_64`` or ``aarch64``.
    :param kind: what there is none of: ``keys`` (a keyring of its own), ``network`` (a network
        namespace), ``files`` (any namespace), ``files-network`` (any, but the host's network is
        meant), ``truncation`` (a right to truncate, among those of Landlock).
    :raises HostError: there is no table of system calls for this architecture.
    """
    key = architecture, kind
    if key not in COMPILED:
        from kokon.security.seccomp import program as compiled

        if kind == "truncation":
            rules = _truncation()
        else:
            rules = [Rule(KEYS.split(), REFUSED)]
        if kind in ("network", "files", "files-network"):
            rules += _sockets(AF_UNIX if kind == "files-network" else None)
        if kind.startswith("files"):
            rules += _others()
        profile = Profile(ALLOW, rules, ARCHITECTURES.get(architecture, ()), multiplexed=False)
        COMPILED[key] = compiled(profile, architecture)
    return COMPILED[key]


def refuses_sockets(programs: Collection[bytes]) -> bool:
    """Whether one of these filters is that of a program without a network."""
    kinds = [(machine, kind) for machine in ARCHITECTURES for kind in ("network", "files")]
    return any(COMPILED.get(key) in programs for key in kinds)


def refuses_truncation(programs: Collection[bytes]) -> bool:
    """Whether one of these filters is that of an old Landlock."""
    return any(COMPILED.get((machine, "truncation")) in programs for machine in ARCHITECTURES)


def _truncation() -> list[Rule]:
    """What empties a file that is not open for writing: for that Landlock has a right."""
    read_only = [
        Rule((call,), REFUSED, (Condition(index, "MASKED_EQ", O_TRUNC | O_ACCMODE, O_TRUNC),))
        for call, index in (("open", 1), ("openat", 2))
    ]
    # Its flags are behind a pointer; whoever is told that there is no such call uses openat.
    return [
        Rule(("truncate", "truncate64"), REFUSED),
        Rule(("openat2",), ERRNO | ENOSYS),
        *read_only,
    ]


def _sockets(family: int | None) -> list[Rule]:
    """No socket that leads outside: of a family, or none at all."""
    refused = (*PAST_FILTERS.split(), "socketcall")
    # A socket of the host that has a path is reached by whoever may look at it.
    of_family = OTHERWISE if family is None else word(0, family)
    # Nobody outside listens to a pair; but a pair of datagrams may be connected anew.
    streams = [Condition(1, "MASKED_NE", TYPE, kind) for kind in (SOCK_STREAM, SOCK_SEQPACKET)]
    return [
        Rule(refused, REFUSED),
        Rule(("socket",), REFUSED, (of_family,)),
        Rule(("socketpair",), REFUSED, streams),
    ]


def _others() -> list[Rule]:
    """Nothing of files that Landlock does not see, nothing of the user's other processes."""
    rules = [
        Rule((*OWNERS.split(), *WATCHING.split(), *OBJECTS.split()), REFUSED),
        Rule(ATTRIBUTES.split(), ERRNO | ENOTSUP),
        Rule(("utimensat", "utimensat_time64"), REFUSED, (Condition(1, "NE", 0),)),
    ]
    own = ("prlimit64", "sched_setaffinity", "sched_setattr", "sched_setparam",
           "sched_setscheduler")  # fmt: skip
    rules.append(Rule(own, REFUSED, (word(0, 0, "MASKED_NE"),)))
    for call, everybody in (("setpriority", PRIO_USER), ("ioprio_set", IOPRIO_WHO_USER)):
        rules.append(Rule((call,), REFUSED, (word(0, everybody),)))
        rules.append(Rule((call,), REFUSED, (word(1, 0, "MASKED_NE"),)))
    return rules
