"""What a caller of ``exec`` may say, and the process that it comes to."""

from __future__ import annotations

from kokon.errors import OptionError
from kokon.spec.runtime import Capabilities, Process, User

TYPE_CHECKING = False


class Execution:
    """What a caller of ``exec`` may say.

    :param document: an OCI process, or None: then the container's own, with the rest of these.
    :param user: ``UID`` or ``UID:GID``; :param cwd: and the others: "" or () for what the container
        has.
    :param groups: ``[CONTROLLERS:]PATH`` below the container's control groups.
    :param detached: nobody here waits for the program, or feeds its terminal.
    """

    __slots__ = (
        "additional_gids", "apparmor", "arguments", "capabilities", "console_socket", "cwd",
        "detached", "document", "environment", "groups", "ignores_pause", "label",
        "no_new_privileges", "notes", "pid_file", "preserved", "size", "terminal", "user",
    )  # fmt: skip

    def __init__(
        self,
        arguments: tuple[str, ...] = (),
        *,
        document: bytes | None = None,
        terminal: bool = False,
        cwd: str = "",
        environment: tuple[str, ...] = (),
        user: str = "",
        additional_gids: tuple[str, ...] = (),
        capabilities: tuple[str, ...] = (),
        apparmor: str = "",
        label: str = "",
        no_new_privileges: bool = False,
        groups: tuple[str, ...] = (),
        ignores_pause: bool = False,
        detached: bool = False,
        console_socket: str = "",
        pid_file: str = "",
        preserved: int = 0,
        size: tuple[int, int] = (0, 0),
    ) -> None:
        self.arguments = arguments
        self.document = document
        self.terminal = terminal
        self.cwd = cwd
        self.environment = environment
        self.user = user
        self.notes: tuple[str, ...] = ()
        self.additional_gids = additional_gids
        self.capabilities = capabilities
        self.apparmor = apparmor
        self.label = label
        self.no_new_privileges = no_new_privileges
        self.groups = groups
        self.ignores_pause = ignores_pause
        self.detached = detached
        self.console_socket = console_socket
        self.pid_file = pid_file
        self.preserved = preserved
        self.size = size


def process_of(own: Process, asked: Execution) -> Process:
    """The process: of the document, or the container's own with what is asked in its place.

    :raises SpecError: the document breaks the specification.
    :raises OptionError: a value that is none.
    """
    from kokon.spec.oci.process import parse_process

    if asked.document is not None:
        process = parse_process(asked.document)
        process.terminal = process.terminal or asked.terminal
        return process
    if not asked.arguments:
        raise OptionError("there is no program to run", where="COMMAND")
    if asked.cwd and not asked.cwd.startswith("/"):
        raise OptionError(f"{asked.cwd!r} is no absolute path", where="--cwd")
    sets = own.capabilities
    added = _capabilities(asked.capabilities)
    return Process(
        asked.arguments,
        env=(*own.env, *_environment(asked.environment)),
        cwd=asked.cwd or own.cwd,
        user=_user(own.user, asked),
        terminal=asked.terminal,
        # Not to the inheritable and ambient sets: they would pass through an execve (row E5).
        capabilities=Capabilities(
            sets.bounding | added,
            sets.effective | added,
            sets.permitted | added,
            sets.inheritable,
            sets.ambient,
        ),
        rlimits=own.rlimits,
        no_new_privileges=own.no_new_privileges or asked.no_new_privileges,
        apparmor_profile=asked.apparmor or own.apparmor_profile,
        selinux_label=asked.label or own.selinux_label,
        oom_score_adj=own.oom_score_adj,
        scheduler=own.scheduler,
        io_priority=own.io_priority,
        exec_cpu_affinity=own.exec_cpu_affinity,
    )


def _environment(entries: tuple[str, ...]) -> tuple[str, ...]:
    for entry in entries:
        if not entry.partition("=")[1] or entry.startswith("="):
            raise OptionError(f"{entry[:80]!r} is not NAME=VALUE", where="--env")
    return entries


def _user(own: User, asked: Execution) -> User:
    uid, gid = own.uid, own.gid
    if asked.user:
        word, colon, group = asked.user.partition(":")
        uid = _number(word, "--user")
        gid = _number(group, "--user") if colon else gid
    more = tuple(_number(word, "--additional-gids") for word in asked.additional_gids)
    return User(uid, gid, (*own.additional_gids, *more), own.umask)


def _number(word: str, option: str) -> int:
    """An id; never looked up as a name (row E6)."""
    if not (word.isascii() and word.isdecimal()) or len(word) > 10 or int(word) > 0xFFFFFFFE:
        raise OptionError(f"{word[:80]!r} is no number of a user or group", where=option)
    return int(word)


def _capabilities(names: tuple[str, ...]) -> int:
    from kokon.spec.oci.process import BITS

    mask = 0
    for name in names:
        word = name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}"
        if word not in BITS:
            raise OptionError(f"{name[:80]!r} is no capability", where="--cap")
        mask |= BITS[word]
    return mask
