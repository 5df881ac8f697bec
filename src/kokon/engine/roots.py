"""ROOT: a directory, a tarball or a built-in, found and described for the compiler."""

from __future__ import annotations

import os
import stat
from time import time_ns

from kokon import paths
from kokon.compile.inputs import RootFacts, Source
from kokon.engine import owner
from kokon.errors import HostError, OptionError, RootError, UserError
from kokon.kernel import accounts, filesystems
from kokon.kernel.private import private_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from kokon.compile.assembly import Assembly
    from kokon.config.options import Options
    from kokon.engine.undo import Undo
    from kokon.kernel.accounts import Account
    from kokon.kernel.facts import HostFacts
    from kokon.kernel.filesystems import MountTable
    from kokon.spec.runtime import IdMapping

PARENT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
"""How a directory is opened in which something is made."""

MOUNT_POINTS = ("proc", "sys", "dev", "etc/hosts", "etc/hostname", "etc/resolv.conf")


class FoundRoot:
    """A root that exists.

    :ivar path: its directory, or "" for a built-in one.
    :ivar assembly: what a built-in one consists of.
    :ivar notes: what is said of it once.
    :ivar known: what was found out about the directory, by question.
    """

    __slots__ = ("assembly", "known", "notes", "path")

    def __init__(self, path: str, assembly: Assembly | None, notes: tuple[str, ...] = ()) -> None:
        self.path = path
        self.assembly = assembly
        self.notes = notes
        self.known = _known_of(path) if path else {}


_known: dict[str, tuple[object, dict[object, Any]]] = {}
"""What was found out about directories, with the dates that it holds for."""

_SETTLED = 2_000_000_000
"""Nanoseconds after which a change has another date than the one before it, on any file system."""


def _known_of(path: str) -> dict[object, Any]:
    """What is known of a root as long as its accounts and mount points are the same."""
    dates: list[tuple[int, ...] | None] = []
    latest = 0
    for name in ("", "/etc", "/etc/passwd", "/etc/group"):
        try:
            found = os.stat(path + name, follow_symlinks=not name)
        except OSError:
            dates.append(None)
            continue
        if stat.S_ISLNK(found.st_mode):
            return {}  # what it leads to has dates of its own
        latest = max(latest, found.st_mtime_ns, found.st_ctime_ns)
        dates.append((found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns))
    before, known = _known.get(path, (None, {}))
    if before != dates:
        known = {}
        if time_ns() - latest > _SETTLED:
            if len(_known) >= 64:
                _known.clear()
            _known[path] = dates, known
    return known


def find(
    options: Options, host: HostFacts, progress: Callable[[int, int], object] | None = None
) -> FoundRoot:
    """The root that a name means; a tarball is unpacked when it is new.

    :raises RootError: there is no such root.
    """
    name = options.root
    if name.startswith("@"):
        from kokon.engine import assemblies

        return FoundRoot("", assemblies.assemble(name, packages=options.packages))
    if options.packages:
        raise OptionError("is for @python only", where="--packages", remedy="leave it out")
    if not name.startswith(("/", ".")):
        near = f"./{name}"
        if os.path.exists(near):
            raise RootError(
                f"{name!r} would be the name of an image, and there are no images yet",
                where="ROOT",
                remedy=f"write {near} for the one in this directory",
            )
        raise RootError(
            f"{name!r} is no path and no built-in root",
            where="ROOT",
            remedy="a path begins with / or . and the built-in roots are @host and @python",
        )
    path = os.path.abspath(name)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise RootError(
            f"{name} cannot be used", where="ROOT", errno=error.errno or 0,
            remedy="give a directory, a tarball, @host or @python",
        ) from None  # fmt: skip
    if stat.S_ISDIR(mode):
        return FoundRoot(path, None)
    return _from_tarball(path, host, progress)


def _from_tarball(
    path: str, host: HostFacts, progress: Callable[[int, int], object] | None
) -> FoundRoot:
    from kokon.engine import worker
    from kokon.image.store import Store

    private_directory(paths.store())
    with Store(paths.store() + "/roots") as store:
        if worker.needed(host) and os.path.isfile(path) and store.known(path) is None:
            # Its files can keep their owners only where our subordinate ids are mapped.
            worker.unpack(host, path)
        stored = store.root_from_tarball(path, progress=progress)
    notes = []
    if stored.fresh and stored.squashed:
        notes.append(
            f"files of other owners, {stored.squashed} in all, belong to you: without root they"
            " cannot keep theirs"
        )
    if stored.fresh and stored.skips:
        first, reason = stored.skipped[0]
        notes.append(
            f"entries were left out, {stored.skips} in all, the first is {first}: {reason}"
        )
    return FoundRoot(stored.path, None, tuple(notes))


def account(found: FoundRoot, user: str | None, words: str) -> Account:
    """Whom the program runs as, by the root's own passwd and group (rows E6, E7).

    :param words: the option that names the user, for errors.
    :raises UserError: the root has no such user, or its files are not to be trusted.
    """
    known: Account | None = found.known.get(("account", user))
    if known is None:
        try:
            known = found.known["account", user] = _account(found, user)
        except UserError as error:
            if user is not None:
                error.where = words
            raise
    return known


def _account(found: FoundRoot, user: str | None) -> Account:
    if found.assembly:
        return _assembly_account(found.assembly, user)
    fd = os.open(found.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return accounts.lookup_user(fd, "0" if user is None else user)
    finally:
        os.close(fd)


def _assembly_account(assembly: Assembly, user: str | None) -> Account:
    files = {path.lstrip("/"): content for path, content, _ in assembly.files}
    result = accounts.lookup_user(files, "0" if user is None else user)
    if user is None:
        result.home = assembly.writable[0][0] if assembly.writable else "/"
    return result


def describe(
    found: FoundRoot,
    options: Options,
    host: HostFacts,
    table: MountTable | None,
    sources: dict[str, Source],
    undo: Undo,
    mapping: IdMapping | None,
) -> RootFacts:
    """How the root is made: as it is, under an overlay for the container's writes, or assembled.

    :param table: the mounts of this machine, when ids will be mapped.
    :param mapping: the container's range of ids, when they will be.
    """
    if found.assembly:
        if options.rw or options.keep:
            raise OptionError(
                f"{found.assembly.name} cannot be written to",
                where="--rw" if options.rw else "--keep",
                remedy="write to its home directory, /tmp or a volume",
            )
        return RootFacts("assembly", assembly=found.assembly, sources=sources)
    if options.keep is not None and (options.rw or options.read_only):
        raise OptionError(
            "keeps what is written beside the root",
            where=options.words("keep"),
            remedy=f"leave {'--rw' if options.rw else '--read-only'} out, or --keep",
        )
    if options.keep is not None and _lies_in(options.keep, found.path):
        raise OptionError(
            "lies in the root, so what is kept would be a part of what it is kept beside",
            where=options.words("keep"),
            remedy="name a directory outside",
        )
    if options.rw and found.path != os.path.abspath(options.root):
        raise OptionError(
            "would change what the tarball is for every later run",
            where="--rw",
            remedy="use --keep DIR, or unpack it to a directory of your own",
        )
    maps_ids = table is None or _maps_ids(found, host, table)
    if options.rw or (options.read_only and _has_mount_points(found, options)):
        return RootFacts("directory", path=found.path, sources=sources, maps_ids=maps_ids)
    if _lies_in(paths.store(), found.path):
        raise RootError(
            f"{options.root} holds kokon's own store ({paths.store()}), so its writes cannot lie"
            " over it",
            where="ROOT",
            remedy="name a smaller directory, or @host for this machine's programs",
        )
    upper, volatile = _writes(options, host, undo)
    unfit = _unfit(found.path, upper, host, maps_ids, mapping is not None)
    if unfit:
        return _copied(found, options, upper, unfit, host, table, sources, mapping)
    return RootFacts(
        "overlay", path=found.path, lowers=(found.path,), upper=upper, volatile=volatile,
        sources=sources, maps_ids=maps_ids,
    )  # fmt: skip


def _unfit(lower: str, upper: str, host: HostFacts, maps_ids: bool, mapped: bool) -> str:
    """Why an overlay cannot be had here; "" when it can.

    :param mapped: its layers will be id-mapped mounts.
    """
    if mapped and host.kernel < (5, 19):
        return "this kernel has no overlay of id-mapped layers (Linux 5.19)"
    if not maps_ids:
        return f"the file system of {lower} cannot map ids"
    # File systems on a block device can; those without one have to be looked at.
    if os.major(os.stat(upper).st_dev) and os.major(os.stat(lower).st_dev):
        return ""
    table = filesystems.mount_table()
    mount = table.of(upper)
    if mount is not None and mount.filesystem.partition(".")[0] in filesystems.UNFIT:
        return f"the store is on {mount.filesystem}"
    if host.is_root and not table.maps_ids(upper, host.kernel):
        return f"the file system of {upper} cannot map ids"
    return ""


def _copied(
    found: FoundRoot,
    options: Options,
    upper: str,
    unfit: str,
    host: HostFacts,
    table: MountTable | None,
    sources: dict[str, Source],
    mapping: IdMapping | None,
) -> RootFacts:
    """The root as a copy that goes away with the container; its owners are shifted where its file
    system cannot map them."""
    if options.keep is not None:
        raise OptionError(
            f"there can be no overlay: {unfit}", where=f"--keep {options.keep}",
            remedy="name a directory on ext4, xfs or btrfs, or use --rw",
        )  # fmt: skip
    from kokon.storage.copy import copy_tree

    maps_ids = table is None or table.maps_ids(upper, host.kernel)
    shift = mapping.host_id if mapping and not maps_ids else 0
    parent = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        copied = copy_tree(found.path, parent, "copy", shift=shift)
    except OSError as error:
        raise HostError(
            f"{found.path} cannot be copied ({unfit})", where="ROOT", errno=error.errno or 0,
            remedy="use --rw, --read-only, or a store on ext4, xfs or btrfs (KOKON_STORE)",
        ) from None  # fmt: skip
    finally:
        os.close(parent)
    found.notes = (
        *found.notes,
        f"the root is copied for this run ({copied.files} files): {unfit}",
    )
    return RootFacts(
        "directory", path=f"{upper}/copy", sources=sources, maps_ids=maps_ids, shifted=bool(shift)
    )


def _lies_in(path: str, directory: str) -> bool:
    path, directory = os.path.realpath(path), os.path.realpath(directory)
    return f"{path}/".startswith(directory.rstrip("/") + "/")


def _maps_ids(found: FoundRoot, host: HostFacts, table: MountTable) -> bool:
    before: tuple[MountTable, bool] | None = found.known.get("maps ids")
    if before is None or before[0] is not table:
        before = found.known["maps ids"] = table, table.maps_ids(found.path, host.kernel)
    return before[1]


def _has_mount_points(found: FoundRoot, options: Options) -> bool:
    """Whether nothing has to be made in a root that is only read."""
    if options.volumes or options.mounts or options.tmpfs:
        return False
    answer: bool | None = found.known.get("mount points")
    if answer is None:
        answer = all(os.path.lexists(f"{found.path}/{name}") for name in MOUNT_POINTS)
        found.known["mount points"] = answer
    return answer


def _writes(options: Options, host: HostFacts, undo: Undo) -> tuple[str, bool]:
    """Where an overlay keeps what the container writes: dropped with it, unless kept."""
    if options.keep is not None:
        return _kept_writes(options.keep, undo), False
    directory = private_directory(private_directory(paths.store()) + "/writes")
    us = owner.current()
    us.note(directory)
    name = us.name()
    parent = os.open(directory, PARENT)
    undo.push(lambda: remove_writes(host, directory, name, parent))
    os.mkdir(name, 0o700, dir_fd=parent)
    os.mkdir(f"{name}/upper", dir_fd=parent)
    # It becomes the container's "/", whatever the caller's umask is.
    os.chmod(f"{name}/upper", 0o755, dir_fd=parent)
    os.mkdir(f"{name}/work", 0o700, dir_fd=parent)
    return f"{directory}/{name}", True


def _kept_writes(keep: str, undo: Undo) -> str:
    """A directory of a person's own for what is written; it stays."""
    where, keep = f"--keep {keep}", os.path.abspath(keep)
    if os.path.isdir(keep) and set(os.listdir(keep)) - {"upper", "work"}:
        raise OptionError(
            "there are other files in it",
            where=where,
            remedy="name a new directory, or one that a run before has kept its writes in",
        )
    made: list[str] = []
    undo.push(lambda: _forget(made))
    for name in ("", "/upper", "/work"):
        try:
            os.mkdir(keep + name, 0o755 if name == "/upper" else 0o700)
            made.append(keep + name)
        except FileExistsError:
            pass
        except OSError as error:
            raise OptionError(
                "cannot be made", where=where, errno=error.errno or 0,
                remedy="name a directory whose parent exists",
            ) from None  # fmt: skip
        found = os.lstat(keep + name) if name else os.stat(keep)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            # A link in it would have the container write somewhere else (row S3).
            raise OptionError(
                f"{keep}{name} is not a directory that is ours alone to change",
                where=where,
                remedy="name a new one, or make it yours with mode 0755",
            )
    return keep


def remove_writes(host: HostFacts, directory: str, name: str, parent: int) -> None:
    """Removes what a container wrote, and lets its name be used again.

    :param parent: a descriptor of the directory, closed here.
    """
    from kokon.kernel.removal import remove_tree

    try:
        remove_tree(parent, name)
    except PermissionError:
        # The container wrote as one of our subordinate ids.
        from kokon.engine import worker

        worker.remove(host, directory, name)
    finally:
        os.close(parent)
    owner.current().names.append(name)


def _forget(made: list[str]) -> None:
    """Takes back directories that no overlay has used: it would have left one in ``work``."""
    for path in reversed(made):
        try:
            os.rmdir(path)
        except OSError:
            return
