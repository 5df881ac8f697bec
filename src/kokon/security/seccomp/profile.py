"""What a seccomp filter decides, as values.

An action is the word that the kernel's filter returns (seccomp(2), "SECCOMP_RET_*"): a kind in the
upper half, an errno or a number for the tracer in the lower half.
"""

from __future__ import annotations

from kokon.errors import SpecError
from kokon.kernel.constants import (
    SECCOMP_NEW_LISTENER,
    SECCOMP_TSYNC,
    SECCOMP_WAIT_KILLABLE_RECV,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

KILL_PROCESS = 0x80000000
KILL_THREAD = 0x00000000
TRAP = 0x00030000
ERRNO = 0x00050000
NOTIFY = 0x7FC00000
TRACE = 0x7FF00000
LOG = 0x7FFC0000
ALLOW = 0x7FFF0000
EXECUTED = (ALLOW, LOG, TRACE, NOTIFY)

EPERM = 1
ENOSYS = 38

FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": SECCOMP_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": SECCOMP_WAIT_KILLABLE_RECV,
}
"""Bits of seccomp(2)'s ``flags``."""

OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
"""``SCMP_CMP_*`` of libseccomp; a :class:`Condition` also knows ``MASKED_NE``."""


class Condition:
    """One comparison of one argument of a system call.

    :param index: which argument, 0 to 5.
    :param operator: one of :data:`OPERATORS`, or ``MASKED_NE``.
    :param value: what it is compared with, unsigned, 64 bits; for the masked ones the mask.
    :param masked: what the masked argument is compared with, for the masked operators.

    Comparisons are of 64 bits on a 64-bit architecture and of the low 32 bits on a 32-bit one.  An
    argument that the kernel takes as an ``int`` needs a mask of 32 bits.
    """

    __slots__ = ("index", "masked", "operator", "value")

    def __init__(self, index: int, operator: str, value: int, masked: int = 0) -> None:
        self.index = index
        self.operator = operator
        self.value = value
        self.masked = masked

    def key(self) -> tuple[int, str, int, int]:
        """Everything that tells this comparison from another one."""
        return self.index, self.operator, self.value, self.masked


class Rule:
    """An action for calls whose name is listed and for which all conditions hold.

    :param names: names of system calls; a name that an architecture lacks says nothing there.
    :param action: the word that the filter returns.
    :param conditions: all of them must hold.
    """

    __slots__ = ("action", "conditions", "names")

    def __init__(
        self, names: Iterable[str], action: int, conditions: Iterable[Condition] = ()
    ) -> None:
        self.names = tuple(names)
        self.action = action
        self.conditions = tuple(conditions)


class Profile:
    """A whole filter, for the native architecture and those listed.

    :param default: the action for a call that no rule matches.
    :param rules: see :class:`Rule`; :mod:`kokon.security.seccomp.compiler` has their order.
    :param architectures: ``x86_64``, ``x86``, ``x32``, ``aarch64``, ``arm``.  The native one is
        always meant.  Of those that the machine can run, one that is not listed is killed; ``x32``
        is never compiled: listed, its calls answer ENOSYS, as in a kernel built without it.
    :param flags: bits of seccomp(2)'s ``flags``.
    :param beyond: the action for numbers above every number that a rule names, None for the
        default: with ERRNO | ENOSYS a C library falls back when a call is newer than the profile.
    :param multiplexed: rules for socket and System V IPC calls also hold for socketcall(2) and
        ipc(2) of 32-bit x86, as in libseccomp.  The condition on the first argument, which is
        behind a pointer there, cannot.
    """

    __slots__ = ("architectures", "beyond", "default", "flags", "multiplexed", "rules")

    def __init__(
        self,
        default: int,
        rules: Iterable[Rule] = (),
        architectures: Iterable[str] = (),
        flags: int = 0,
        beyond: int | None = None,
        multiplexed: bool = True,
    ) -> None:
        self.default = default
        self.rules = tuple(rules)
        self.architectures = tuple(architectures)
        self.flags = flags
        self.beyond = beyond
        self.multiplexed = multiplexed

    def lets(self, call: str) -> bool:
        """Whether some use of a system call is executed."""
        actions = [rule.action for rule in self.rules if call in rule.names]
        return any(action in EXECUTED for action in (*actions, self.default))

    def notifies(self) -> bool:
        """Whether the filter needs a listener (SECCOMP_FILTER_FLAG_NEW_LISTENER)."""
        return any(rule.action == NOTIFY for rule in self.rules)

    def loading_flags(self) -> int:
        """Bits of seccomp(2)'s ``flags`` with which init loads it.

        Where it notifies, not TSYNC: init's other thread is to stay outside of the filter, since it
        sends the listener, and none is left when the program runs.

        :raises SpecError: they ask how notifications wait, of which there are none (EINVAL).
        """
        if self.notifies():
            return self.flags & ~SECCOMP_TSYNC | SECCOMP_NEW_LISTENER
        if self.flags & SECCOMP_WAIT_KILLABLE_RECV:
            raise SpecError(
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is for SCMP_ACT_NOTIFY, and no call has it",
                where="/linux/seccomp/flags", remedy="leave the flag out",
            )  # fmt: skip
        return self.flags

    def misspelt(self) -> dict[str, str]:
        """Names that no system call has but that are much like one, and which.

        A name may be another architecture's or a newer kernel's: that is no mistake.
        """
        from kokon.security.seccomp.syscalls import TABLES, numbers

        known = {name for arch in TABLES for name in numbers(arch)}
        unknown = dict.fromkeys(n for rule in self.rules for n in rule.names if n not in known)
        if not unknown:
            return {}
        from difflib import get_close_matches

        like = {name: get_close_matches(name, known, 1, 0.8) for name in unknown}
        return {name: found[0] for name, found in like.items() if found}
