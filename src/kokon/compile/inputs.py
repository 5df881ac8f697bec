"""What the compiler may know beside the spec: how the root is made and how the run is launched."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokon.compile.assembly import Assembly


class Source:
    """A path of this machine that a mount takes.

    :param directory: whether it is a directory.
    :param maps_ids: whether its file system allows id-mapped mounts (mount_setattr(2)).
    """

    __slots__ = ("directory", "maps_ids")

    def __init__(self, directory: bool, maps_ids: bool) -> None:
        self.directory = directory
        self.maps_ids = maps_ids


class RootFacts:
    """How the root file system is made; one of three kinds.

    ``directory``: ``path`` itself.  ``overlay``: ``lowers`` (top first) below ``upper`` and
    ``work``.  ``assembly``: a tmpfs filled from ``assembly``.

    :param sources: what is known of every path that a mount takes, by path.
    :param maps_ids: whether the file systems of the root allow id-mapped mounts.
    :param shifted: its files belong to the container's range already: nothing is to be mapped.
    :param volatile: whether the overlay's writes may be lost (no sync on umount).
    """

    __slots__ = (
        "assembly", "kind", "lowers", "maps_ids", "path", "shifted", "sources", "upper", "volatile",
        "work",
    )  # fmt: skip

    def __init__(
        self,
        kind: str,
        *,
        path: str = "",
        lowers: tuple[str, ...] = (),
        upper: str = "",
        work: str = "",
        volatile: bool = True,
        assembly: Assembly | None = None,
        sources: Mapping[str, Source] | None = None,
        maps_ids: bool = True,
        shifted: bool = False,
    ) -> None:
        self.kind = kind
        self.path = path
        self.lowers = lowers
        self.upper = upper
        self.work = work
        self.volatile = volatile
        self.assembly = assembly
        self.sources = dict(sources or {})
        self.maps_ids = maps_ids
        self.shifted = shifted

    def key(self) -> tuple[object, ...]:
        """Equal for equal values while these live; ``sources`` are left out."""
        return (
            self.kind, self.path, self.lowers, self.upper, self.work, self.volatile,
            self.maps_ids, self.shifted, id(self.assembly),
        )  # fmt: skip


class Reach:
    """What a program on the lowest rung reaches of this machine.

    :param paths: files and directories, with ``accesses``: the rights of each as init reads them
        (:class:`kokon.security.landlock.Rules`).
    :param network: it has the host's network.
    """

    __slots__ = ("accesses", "network", "paths")

    def __init__(self, paths: tuple[str, ...], accesses: bytes, network: bool) -> None:
        self.paths = paths
        self.accesses = accesses
        self.network = network

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reach):
            return NotImplemented
        fields = (other.paths, other.accesses, other.network)
        return (self.paths, self.accesses, self.network) == fields

    def __hash__(self) -> int:
        return hash((self.paths, self.accesses, self.network))


class Launch:
    """How the runtime starts the program; none of it is part of an OCI configuration.

    :param reaper: a process 1 of kokon's own that reaps and forwards signals.
    :param parent_death: the container ends with its caller.
    :param tasks: v1 controllers whose ``tasks`` file the runtime hands over.
    :param cgroup_directory: the runtime hands over a v2 directory to be cloned into.
    :param late_cgroup: instead, where stage 1 finds that directory once kokon has had it made
        (by systemd, which moves stage 1 first); a path in /proc.
    :param admitted: kokon has systemd move stage 1 first: in a box to where it may enter that
        directory, for an OCI container into its scope.
    :param map_by_parent: the id maps are written by newuidmap, which kokon runs.
    :param files: small files that are mounted into the container: path to content.
    :param resource_limits: what stands in for a control group's limits, as (name, value).
    :param terminal_size: rows and columns of a new terminal.
    :param plain_newlines: the terminal sends newlines as they are written (ONLCR is off).
    :param box: the namespaces are handed over to kokon; no program runs in them yet.
    :param transfer: in a box, a file is moved in place of a program.
    :param landlock: Landlock is a second wall above the namespaces.
    :param reach: there are no namespaces at all, and this is what the program reaches.
    :param waits: the container is created, and its program runs when it is started.
    :param hooks: kokon has something to do outside when the namespaces are there: hooks above all.
    :param keyring: ``new``: the program has a session keyring of its own; ``optional``: where the
        kernel has keyrings; ``kept``: it has the caller's.
    :param preserved: descriptors from 3 on that the program gets.
    :param maps_mounts: files of the root and of binds keep their owners by id-mapped mounts.
    :param cgroup_mounts: for a mount of type cgroup: names and directories of this machine.
    :param owned: kinds of given namespaces that the given user namespace owns.
    :param shared: kinds of given namespaces that the caller is in itself.
    :param without: what this machine has refused (:mod:`kokon.compile.lacks`), by name.
    """

    __slots__ = (
        "admitted", "box", "cgroup_directory", "cgroup_mounts", "files", "hooks", "keyring",
        "landlock", "late_cgroup", "map_by_parent", "maps_mounts", "owned", "parent_death",
        "plain_newlines", "preserved", "reach", "reaper", "resource_limits", "shared", "tasks",
        "terminal_size", "transfer", "waits", "without",
    )  # fmt: skip

    def __init__(
        self,
        *,
        reaper: bool = False,
        parent_death: bool = True,
        tasks: tuple[str, ...] = (),
        cgroup_directory: bool = False,
        late_cgroup: str = "",
        admitted: bool = False,
        map_by_parent: bool = False,
        files: Mapping[str, bytes] | None = None,
        resource_limits: tuple[tuple[str, int], ...] = (),
        terminal_size: tuple[int, int] = (0, 0),
        plain_newlines: bool = False,
        box: bool = False,
        transfer: bool = False,
        landlock: bool = False,
        reach: Reach | None = None,
        waits: bool = False,
        hooks: bool = False,
        keyring: str = "new",
        preserved: int = 0,
        maps_mounts: bool = True,
        cgroup_mounts: tuple[tuple[str, str], ...] = (),
        owned: tuple[str, ...] = (),
        shared: tuple[str, ...] = (),
        without: tuple[str, ...] = (),
    ) -> None:
        self.reaper = reaper
        self.parent_death = parent_death
        self.tasks = tasks
        self.cgroup_directory = cgroup_directory
        self.late_cgroup = late_cgroup
        self.admitted = admitted
        self.map_by_parent = map_by_parent
        self.files = dict(files or {})
        self.resource_limits = resource_limits
        self.terminal_size = terminal_size
        self.plain_newlines = plain_newlines
        self.box = box
        self.transfer = transfer
        self.landlock = landlock
        self.reach = reach
        self.waits = waits
        self.hooks = hooks
        self.keyring = keyring
        self.preserved = preserved
        self.maps_mounts = maps_mounts
        self.cgroup_mounts = cgroup_mounts
        self.owned = owned
        self.shared = shared
        self.without = without

    def key(self) -> tuple[object, ...]:
        """Equal for equal values."""
        return (
            self.reaper, self.parent_death, self.tasks, self.cgroup_directory, self.late_cgroup,
            self.map_by_parent, tuple(self.files.items()), self.resource_limits,
            self.terminal_size, self.box, self.transfer, self.landlock,
            self.reach, self.without, self.admitted, self.waits, self.hooks, self.preserved,
            self.plain_newlines, self.maps_mounts, self.cgroup_mounts, self.owned, self.keyring,
            self.shared,
        )  # fmt: skip
