"""``--level`` and ``--require``: what a person insists on, and what cannot be had without
namespaces."""

from __future__ import annotations

from kokon.config.confinement import UNCONFINED, SecurityOptions
from kokon.config.resources import RESOURCE_OPTIONS
from kokon.errors import OptionError, nearest
from kokon.security.ladder import RESOURCES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.config.options import Options

LEVELS = ("full", "best", "landlock")

NEED_NAMESPACES = (
    "user", "group_add", "tty", "rw", "keep", "tmpfs", "devices", "shm_size", "hostname",
    "domainname", "time", "dns", "add_host", "sysctls", "cap_add", "privileged",
)  # fmt: skip
"""Options that mean nothing for a program that has no namespace of its own."""

SHARED = ("pid", "ipc", "uts", "userns", "cgroupns")
"""Options that say ``host`` for what is so on the lowest rung anyway."""


class NeedsNamespaces(OptionError):
    """What is asked cannot be had without namespaces."""


def level(options: Options) -> str:
    """The level that is asked, ``full`` where nothing is.

    :raises OptionError: there is no such level.
    """
    word = "full" if options.level is None else options.level
    if word not in LEVELS:
        raise OptionError(
            f"there is no level {word!r}",
            where="--level",
            remedy="give full (everything, or an error), best (what this machine has) or landlock"
            " (no namespace)",
        )
    return str(word)


def asked_limits(options: Options) -> tuple[str, ...]:
    """The limits that are asked, by their Python names."""
    return tuple(n for n in RESOURCE_OPTIONS if getattr(options, n) not in (None, ()))


def requirements(options: Options) -> tuple[str, ...]:
    """What ``--require`` names, by the names of ``Guarantees``.

    :raises OptionError: a name that is none, or what the options themselves give up.
    """
    words = [word.strip() for entry in options.require for word in entry.split(",")]
    names = []
    known = {name.replace("_", "-"): name for name in (*RESOURCES, *RESOURCE_OPTIONS)}
    known["pids-limit"] = "pids"
    for word in words:
        name = known.get(word.replace("_", "-"))
        if name is None:
            near = nearest(word, known)
            meant = f" (did you mean {near}?)" if near else ""
            raise OptionError(
                f"there is no guarantee {word!r}{meant}",
                where="--require",
                remedy=f"give some of {', '.join(name.replace('_', '-') for name in RESOURCES)},"
                " or the name of a limit",
            )
        names.append(name)
    for name in names:
        _check_not_given_up(name, options)
    return tuple(dict.fromkeys(names))


def _check_not_given_up(name: str, options: Options) -> None:
    """The other options do not themselves give up what is required."""
    given_up = ""
    if options.privileged and name not in RESOURCE_OPTIONS and name != "limits":
        given_up = "--privileged"
    elif name == "network" and options.network == "host":
        given_up = "--network host"
    elif name == "processes" and options.pid == "host":
        given_up = "--pid host"
    elif name == "processes" and options.level == "landlock":
        given_up = "--level landlock"
    elif name == "system_calls" and SecurityOptions(options.security_opt).seccomp == UNCONFINED:
        given_up = f"--security-opt seccomp={UNCONFINED}"
    if given_up:
        raise OptionError(
            f"{given_up} gives it up",
            where=f"--require {name.replace('_', '-')}",
            remedy="leave one of them out",
        )
    limits = asked_limits(options)
    if name == "limits" and not limits:
        raise OptionError(
            "no limit is asked", where="--require limits", remedy="give one, like --memory 100M"
        )
    if name in RESOURCE_OPTIONS and name not in limits:
        word = options.words(name)
        raise OptionError(
            "that limit is not asked",
            where=f"--require {name.replace('_', '-')}",
            remedy=f"say how much: {word}",
        )


def check_lowest(options: Options) -> None:
    """Nothing is asked that a program without namespaces cannot have.

    :raises NeedsNamespaces: an option needs them.
    """
    asked = [name for name in NEED_NAMESPACES if getattr(options, name) not in (None, (), False)]
    asked += [name for name in SHARED if getattr(options, name) not in (None, "host")]
    security = SecurityOptions(options.security_opt)
    if security.apparmor or security.label or not security.no_new_privileges:
        asked.append("security_opt")
    if not options.root.startswith("@"):
        raise NeedsNamespaces(
            f"without namespaces only @host and @python can be run, not {options.root}",
            where="ROOT",
            remedy="name one of them",
        )
    if asked:
        raise NeedsNamespaces(
            "it cannot be had without namespaces",
            where=options.words(asked[0]),
            remedy="leave it out",
        )
