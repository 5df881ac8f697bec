"""A plan while it is being made: where each op goes, and which slots are taken."""

from __future__ import annotations

from kokon.errors import SpecError
from kokon.kernel.constants import CLONE_NEWUSER, NAMESPACES, RESOLVE_NO_SYMLINKS
from kokon.plan.op import Op
from kokon.plan.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.compile.inputs import Launch, RootFacts
    from kokon.kernel.facts import HostFacts
    from kokon.spec.runtime import Device, Spec

MOST_SLOTS = 2048
"""MAX_SLOTS of init/init.h."""


class Builder:
    """Collects ops in three rooms: ``before`` Clone, ``outside`` (stage 1) and ``inside``; and in
    ``early``, what stage 1 does before it enters a user namespace, where it has the rights to.

    :ivar privileged: stage 1 has the right to mount, so sources of mounts are taken there, where
        every path of the host can be reached and a mount's ids can be mapped.
    :ivar user_namespace: the container gets a user namespace of its own.
    :ivar joins_user: it gets one that another container has.
    :ivar agent_slots: the connection to who gets the filter's listener, and a file of what it is
        told.
    :ivar states: slots of files with the container's state, by kind of hook.
    :ivar rights_first: stage 1 enters namespaces, with which it loses the host's paths or rights.
    :ivar root_slot: the container's root, once ``roots`` has made it.
    :ivar taken: slots of mounts, taken from the host or new, by JSON pointer or a name.
    """

    def __init__(self, spec: Spec, host: HostFacts, root: RootFacts, launch: Launch) -> None:
        self.spec = spec
        self.host = host
        self.root = root
        self.launch = launch
        self.new_namespaces = 0
        for namespace in spec.linux.namespaces:
            if not namespace.path:
                self.new_namespaces |= NAMESPACES[namespace.type]
        self.joins_user = False
        self.rights_first = False
        self.listener_slot = -1
        self.agent_slots = (-1, -1)
        self.states: dict[str, int] = {}
        self.user_namespace = bool(self.new_namespaces & CLONE_NEWUSER)
        self.privileged = host.may_mount
        self.early: list[Op] = []
        self.before: list[Op] = []
        self.outside: list[Op] = []
        self.inside: list[Op] = []
        self.inherited: list[str] = []
        self.notes: list[str] = []
        self._slots = 0
        self.root_slot = -1
        self.proc_slot = -1
        self.dev_slot = -1
        self.templates_slot = -1
        self.devpts_slot = -1
        self.user_namespace_slot = -1
        self.bound_devices: list[tuple[Device, int]] = []
        self.taken: dict[str, int] = {}

    def owns(self, kind: str) -> bool:
        """Whether the container's user namespace owns its namespace of a kind: file systems that
        show one may be mounted by its owner only."""
        if not self.user_namespace and not self.joins_user:
            return True
        found = next((each for each in self.spec.linux.namespaces if each.type == kind), None)
        return found is not None and (not found.path or kind in self.launch.owned)

    @property
    def resolve(self) -> int:
        """How mount points are looked up: an OCI document's through links of the root, which stay
        beneath it, as engines and images count on; else through none."""
        return 0 if self.launch.waits else RESOLVE_NO_SYMLINKS

    @property
    def maps_ids(self) -> bool:
        """Whether mounts of host files have to map ids: root's files stay root's inside.

        Root of a container gives on the ids it has, and could not map those of its mounts
        (mount_setattr(2): that needs rights over the file system's own user namespace).
        """
        return self.privileged and self.user_namespace and self.host.maps_all_ids

    @property
    def is_unmapped(self) -> bool:
        """Whether a new user namespace does not know the caller (rootless Podman's others)."""
        linux, host = self.spec.linux, self.host
        return self.user_namespace and not all(
            any(entry.host_id <= own < entry.host_id + entry.size for entry in mappings)
            for mappings, own in ((linux.uid_mappings, host.uid), (linux.gid_mappings, host.gid))
        )

    def slot(self) -> int:
        """The number of a fresh slot.

        :raises SpecError: there are no more.
        """
        if self._slots == MOST_SLOTS:
            raise SpecError(
                f"there are more mounts and devices than fit a plan of {MOST_SLOTS} descriptors",
                remedy="mount a directory that holds several",
            )
        self._slots += 1
        return self._slots - 1

    def inherit(self, name: str) -> int:
        """A slot that the runtime fills; all of them come before any other slot."""
        if self._slots != len(self.inherited):
            raise ValueError("inherited descriptors come first")
        self.inherited.append(name)
        return self.slot()

    def add(self, op: Op) -> None:
        """A step inside the new namespaces."""
        self.inside.append(op)

    def source(self, op: Op) -> None:
        """A step that reaches a file of the host: in stage 1 where that has the right."""
        if self.joins_user and self.host.may_mount:
            self.early.append(op)
        else:
            (self.outside if self.privileged else self.inside).append(op)

    def with_rights(self, op: Op) -> None:
        """A step of stage 1 while it has the caller's rights."""
        (self.early if self.joins_user or self.rights_first else self.outside).append(op)

    def plan(self) -> Plan:
        """The whole plan."""
        ops = (*self.early, *self.before, *self.outside, *self.inside)
        return Plan(ops, tuple(self.inherited), tuple(self.notes), preserved=self.launch.preserved)
