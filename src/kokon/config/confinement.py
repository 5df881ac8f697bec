"""Capabilities, filter, labels and limits of the process, from what a person asks."""

from __future__ import annotations

from kokon.config import sizes
from kokon.errors import HostError, OptionError
from kokon.kernel import capabilities
from kokon.kernel.constants import RLIM_INFINITY
from kokon.spec.runtime import Capabilities, ResourceLimit, Seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.config.options import Options
    from kokon.kernel.facts import HostFacts

UNCONFINED = "unconfined"
NO_LABEL = (UNCONFINED, "disable")
"""Docker's words for no label, of AppArmor and of SELinux."""


class SecurityOptions:
    """``--security-opt`` taken apart.

    :ivar seccomp: "" for the default profile, ``unconfined``, or a file's path.
    :ivar no_new_privileges: on unless switched off.
    """

    __slots__ = ("apparmor", "label", "no_new_privileges", "seccomp")

    def __init__(self, entries: tuple[str, ...]) -> None:
        self.seccomp = ""
        self.apparmor = ""
        self.label = ""
        self.no_new_privileges = True
        for entry in entries:
            # Docker takes key=value and the older key:value.
            separator = "=" if "=" in entry else ":"
            key, _, value = entry.partition(separator)
            if key == "seccomp" and value:
                self.seccomp = value
            elif key == "apparmor" and value:
                self.apparmor = "" if value in NO_LABEL else value
            elif key == "label" and value:
                self.label = "" if value in NO_LABEL else value
            elif key == "no-new-privileges" and value in ("", "true", "false"):
                self.no_new_privileges = value != "false"
            else:
                raise OptionError(
                    "is unknown",
                    where=f"--security-opt {entry}",
                    remedy="use seccomp=FILE|unconfined, no-new-privileges[=false],"
                    " apparmor=PROFILE|unconfined or label=CONTEXT",
                )

    def check(self, host: HostFacts) -> None:
        """A label that is asked for can be set here (row M20): else nothing runs.

        :raises HostError: the machine does not run that security module.
        """
        for name, value, module in (
            ("apparmor", self.apparmor, "apparmor"),
            ("label", self.label, "selinux"),
        ):
            if value and host.security_module != module:
                raise HostError(
                    f"this machine does not run {module}",
                    where=f"--security-opt {name}={value}",
                    remedy="leave it out, or start the machine with it",
                )


def capability_mask(options: Options, host: HostFacts, *, own_user_namespace: bool) -> int:
    """The capabilities of the program.

    In a user namespace of its own every capability can be had; else no more than the caller's
    bounding set: ALL is cut to it, a name that is not in it is an error.
    """
    possible = capabilities.ALL if own_user_namespace else host.bounding
    mask = possible & (capabilities.ALL if options.privileged else capabilities.DEFAULT_MASK)
    drops = [capabilities.parse(word, "--cap-drop") for word in options.cap_drop]
    if capabilities.ALL in drops:
        mask = 0
    for word in options.cap_add:
        bit = capabilities.parse(word, "--cap-add")
        if bit != capabilities.ALL and bit & ~possible:
            raise HostError(
                "this machine does not let us have it: it is not in our bounding set",
                where=f"--cap-add {word}",
                remedy="leave it out, or start kokon with it",
            )
        mask |= bit & possible
    for bit in drops:
        if bit != capabilities.ALL:
            mask &= ~bit
    return mask


def capability_sets(mask: int, uid: int) -> Capabilities:
    """Bounding, and for root permitted and effective too; inheritable and ambient stay empty
    (row E5)."""
    held = mask if uid == 0 else 0
    return Capabilities(bounding=mask, effective=held, permitted=held)


def seccomp(
    options: Options,
    host: HostFacts,
    mask: int,
    chosen: str,
    profile: bytes | None,
    notes: list[str],
) -> Seccomp | None:
    """The filter: kokon's own profile, a file's, or none.

    :param chosen: what ``--security-opt seccomp=`` says.
    :param profile: the text of the file that it names.
    :param notes: gets what is said of it.
    """
    if chosen == UNCONFINED or (options.privileged and not chosen):
        return None
    from kokon.security import seccomp as filters

    if profile is None:
        return Seccomp(filters.default_program(host.architecture, mask))
    words = f"--security-opt seccomp={chosen}"
    parsed = filters.parse_text(profile, words, mask, host.architecture, host.kernel)
    if parsed.notifies():
        raise OptionError(
            "the profile asks a listener (SCMP_ACT_NOTIFY), and there is none",
            where=words,
            remedy="give those calls another action",
        )
    for call, what in (("execve", "start"), ("exit_group", "end")):
        if not parsed.lets(call):
            raise OptionError(
                f"the profile refuses {call}: no program could {what}",
                where=words,
                remedy=f"allow {call} in it",
            )
    notes += [
        f"{words}: there is no system call {name}: was {meant} meant?"
        for name, meant in parsed.misspelt().items()
    ]
    return Seccomp(filters.program(parsed, host.architecture), parsed.flags)


def resource_limits(entries: tuple[str, ...]) -> tuple[ResourceLimit, ...]:
    """``--ulimit``."""
    limits = {}
    for entry in entries:
        name, soft, hard = sizes.ulimit(entry)
        limits[name] = ResourceLimit(
            f"RLIMIT_{name.upper()}", soft & RLIM_INFINITY, hard & RLIM_INFINITY
        )
    return tuple(limits.values())
