"""``-v``, ``--mount`` and ``--tmpfs`` in Docker's words, as mounts of the spec."""

from __future__ import annotations

from kokon.errors import OptionError
from kokon.spec.runtime import Mount

VOLUME_OPTIONS = frozenset(
    ("ro", "rw", "rro", "nosuid", "dev", "nodev", "noexec", "private", "rprivate", "slave",
     "rslave", "shared", "rshared", "nosymfollow", "noatime")
)  # fmt: skip
MEANINGLESS = frozenset(("cached", "consistent", "delegated", "default", "nocopy", "rbind"))
"""Words of Docker Desktop, and what is so anyway or cannot be chosen here."""
PROPAGATION = frozenset(("private", "rprivate", "slave", "rslave", "shared", "rshared"))
TAKES_AWAY = frozenset(("nosuid", "nodev", "noexec", "nosymfollow"))
"""Like read-only, for the whole tree: people do not mean "but not what is mounted below"."""
TMPFS_OPTIONS = frozenset(
    ("size", "mode", "uid", "gid", "nr_inodes", "ro", "rw", "noexec", "exec", "nosuid", "suid",
     "nodev", "dev")
)  # fmt: skip
BIND_DEFAULTS = ("rbind", "rprivate", "rnodev")
"""A device in a volume does not open: it may have been put there to be (row U8)."""
TMPFS_DEFAULTS = ("nosuid", "nodev", "noexec")

_KEYS = {
    "type": "type", "src": "source", "source": "source", "dst": "destination",
    "destination": "destination", "target": "destination",
}  # fmt: skip


def volume(text: str) -> Mount:
    """``SRC:DST[:OPTION,…]``: a bind of a path of the host.

    Read-only is recursive, as people mean it: a submount is not left writable (row M14).

    :raises OptionError: a part is missing or a word is unknown.
    """
    where = f"-v {text}"
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(parts[:2]):
        raise OptionError(
            "is not SRC:DST[:OPTIONS]", where=where, remedy="write for example ./src:/var/src:ro"
        )
    if not parts[0].startswith((".", "/", "~")):
        raise OptionError(
            f"{parts[0]!r} is no path: there are no named volumes yet",
            where=where,
            remedy=f"write ./{parts[0]} for a directory here",
        )
    words = parts[2].split(",") if len(parts) == 3 else []
    return bind(parts[0], parts[1], words, where)


def bind(source: str, destination: str, words: list[str], where: str) -> Mount:
    """A bind with Docker's words."""
    options = list(BIND_DEFAULTS)
    check_access(words, where)
    for word in words:
        if word in MEANINGLESS:
            continue
        if word in ("ro", "readonly"):
            options.append("rro")
        elif word == "dev":
            options.append("rdev")
        elif word == "rw":
            # As it is on the host: what is read-only there does not become writable here.
            continue
        elif word in TAKES_AWAY:
            options.append("r" + word)
        elif word in ("z", "Z"):
            raise OptionError(
                f"relabelling ({word}) is not possible",
                where=where,
                remedy="label the files on the host",
            )
        elif word in VOLUME_OPTIONS:
            options.append(word)
        else:
            raise OptionError(
                f"{word!r} is no option of a volume",
                where=where,
                remedy=f"use some of {', '.join(sorted(VOLUME_OPTIONS))}",
            )
    check_destination(destination, where)
    return Mount(destination, "bind", source, tuple(options))


def tmpfs(text: str) -> Mount:
    """``DST[:OPTION,…]``: an empty file system in memory."""
    where = f"--tmpfs {text}"
    destination, _, rest = text.partition(":")
    return new_tmpfs(destination, rest.split(",") if rest else [], where)


def new_tmpfs(destination: str, words: list[str], where: str) -> Mount:
    """A tmpfs with Docker's defaults, which words such as ``exec`` undo."""
    check_destination(destination, where)
    check_access(words, where)
    for word in words:
        if word.partition("=")[0] not in TMPFS_OPTIONS:
            raise OptionError(
                f"{word!r} is no option of a tmpfs",
                where=where,
                remedy=f"use some of {', '.join(sorted(TMPFS_OPTIONS))}",
            )
    return Mount(destination, "tmpfs", "tmpfs", (*TMPFS_DEFAULTS, *words))


def mount(text: str) -> Mount:
    """``type=bind|tmpfs,src=…,dst=…,…``: Docker's long words."""
    where = f"--mount {text}"
    fields = {"type": "bind", "source": "", "destination": ""}
    words: list[str] = []
    recursive = ""
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if key in _KEYS and equals:
            fields[_KEYS[key]] = value
        elif key in ("readonly", "ro"):
            if value in ("", "true", "1"):
                words.append("ro")
            elif value not in ("false", "0"):
                raise OptionError(
                    f"{part!r} is neither true nor false", where=where, remedy=f"write {key} alone"
                )
        elif key == "bind-propagation" and value in PROPAGATION:
            words.append(value)
        elif key == "bind-recursive" and value in ("enabled", "readonly"):
            # Both are so here; what is not read-only itself cannot be it below.
            recursive = value
        elif part in ("volume-nocopy", "nocopy") or (key == "consistency" and value in MEANINGLESS):
            continue
        elif key == "tmpfs-size":
            words.append(f"size={value}")
        elif key == "tmpfs-mode":
            words.append(f"mode={value}")
        else:
            raise OptionError(
                f"{part!r} is unknown",
                where=where,
                remedy="write for example type=bind,src=./data,dst=/data,readonly",
            )
    if not fields["destination"]:
        raise OptionError("names no dst", where=where, remedy="add dst=/path")
    if fields["type"] == "tmpfs":
        return new_tmpfs(fields["destination"], words, where)
    if fields["type"] != "bind":
        raise OptionError(
            f"type {fields['type']!r} is unknown", where=where, remedy="use bind or tmpfs"
        )
    if recursive == "readonly" and "ro" not in words:
        raise OptionError(
            "bind-recursive=readonly is for what is read-only", where=where, remedy="add readonly"
        )
    if not fields["source"]:
        raise OptionError("names no src", where=where, remedy="add src=PATH")
    return bind(fields["source"], fields["destination"], words, where)


def check_access(words: list[str], where: str) -> None:
    """Read-only and writable cannot both be meant."""
    if "rw" in words and (only := {"ro", "rro", "readonly"}.intersection(words)):
        raise OptionError(
            f"{only.pop()} and rw contradict each other",
            where=where,
            remedy="leave one of them out",
        )


def check_destination(destination: str, where: str) -> None:
    """A destination is an absolute path inside, and none that holds the kernel's own files."""
    parts = [part for part in destination.split("/") if part]
    if not destination.startswith("/") or ".." in parts or "." in parts:
        raise OptionError(
            f"{destination!r} is no absolute path without . and ..",
            where=where,
            remedy="write where it appears inside, like /data",
        )
    if not parts or parts in (["proc"], ["sys"], ["dev"]) or parts[0] == "proc":
        raise OptionError(
            f"nothing can be mounted onto {destination}: the container's own files are there",
            where=where,
            remedy="mount it elsewhere, like /data",
        )
