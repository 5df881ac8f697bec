"""The ladder: by what each resource is held at each rung, and what that guarantees.

``RUNGS`` is the one table; docs/levels.md shows it.  Which rung a run stands on is computed from
the plan that is performed (:mod:`kokon.compile.guarantees`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

RESOURCES = ("files", "processes", "network", "limits", "system_calls")

MACHINE = (
    "it has rights over the machine itself: --privileged, or a capability without a user namespace"
)

RUNGS: dict[tuple[str, str], tuple[bool, str]] = {
    ("files", "mounts"): (True, "a mount namespace with a root of its own"),
    ("files", "mounts-landlock"): (
        True, "a mount namespace with a root of its own, and Landlock's rules"),
    ("files", "landlock"): (
        True, "Landlock's rules, and a filter that refuses to change modes, owners and attributes"),
    ("files", "machine"): (False, MACHINE),
    ("processes", "namespace"): (
        True, "a pid namespace: nothing outside is seen, and all end with process 1"),
    ("processes", "landlock"): (
        False, "Landlock keeps signals and traces inside, and kokon's process 1 ends what the"
        " program leaves: that is best effort"),
    ("processes", "landlock-alone"): (
        False, "Landlock keeps signals and traces inside, but what the program leaves goes on"),
    ("processes", "traces"): (
        False, "before Linux 6.12 Landlock keeps traces inside, but not signals"),
    ("processes", "host"): (False, "it shares the host's processes"),
    ("processes", "machine"): (False, MACHINE),
    ("network", "namespace"): (True, "a network namespace with loopback alone"),
    ("network", "namespace-down"): (
        True, "a network namespace in which not even loopback is up"),
    ("network", "filter"): (True, "a filter that refuses sockets"),
    ("network", "host"): (False, "it shares the host's network"),
    ("network", "machine"): (False, MACHINE),
    ("limits", "cgroup"): (True, "a control group"),
    ("limits", "rlimits"): (
        False, "there is no control group: limits of setrlimit(2) stand in for some"),
    ("limits", "none"): (False, "no limit was asked"),
    ("system_calls", "filter"): (True, "a system call filter"),
    ("system_calls", "none"): (False, "there is no filter"),
}  # fmt: skip
"""Resource and rung to whether it holds, and by what or why not."""


class Guarantee:
    """Whether a resource is held, and by what; true where it is.

    :ivar holds: the program cannot get around it, as far as the kernel keeps its word.
    :ivar by: what holds it, or why nothing does.
    """

    __slots__ = ("by", "holds")

    def __init__(self, holds: bool, by: str) -> None:
        self.holds = holds
        self.by = by

    def __bool__(self) -> bool:
        return self.holds

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Guarantee):
            return NotImplemented
        return (self.holds, self.by) == (other.holds, other.by)

    def __hash__(self) -> int:
        return hash((self.holds, self.by))

    def __repr__(self) -> str:
        return f"Guarantee(holds={self.holds}, by={self.by!r})"

    def __str__(self) -> str:
        return f"held by {self.by}" if self.holds else f"not held: {self.by}"


class Guarantees:
    """What really held during a run.

    ``dict(guarantees)`` and ``guarantees["memory"]`` work too: the single limits that were asked
    are there by their names.

    :ivar files: nothing outside of the root, its mounts and volumes is read or changed.
    :ivar processes: no other process is seen, signalled or traced, and all end with the program.
    :ivar network: nothing outside is reached.
    :ivar limits: every limit that was asked.
    :ivar system_calls: the program makes those alone that the filter lets through.
    :ivar notes: what the run went on without, in sentences.
    """

    __slots__ = ("_single", "files", "limits", "network", "notes", "processes", "system_calls")

    files: Guarantee
    processes: Guarantee
    network: Guarantee
    limits: Guarantee
    system_calls: Guarantee

    def __init__(
        self,
        rungs: Mapping[str, str],
        single: Mapping[str, str] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        for resource in RESOURCES:
            setattr(self, resource, Guarantee(*RUNGS[resource, rungs[resource]]))
        self._single = {
            name: Guarantee(*RUNGS["limits", rung]) for name, rung in (single or {}).items()
        }
        self.notes = notes

    def keys(self) -> tuple[str, ...]:
        """The five resources, then the limits that were asked."""
        return (*RESOURCES, *self._single)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __getitem__(self, name: str) -> Guarantee:
        """A guarantee by its name; dashes are as good as underscores."""
        name = name.replace("-", "_")
        if name in self._single:
            return self._single[name]
        if name not in RESOURCES:
            raise KeyError(name)
        found: Guarantee = getattr(self, name)
        return found

    def __repr__(self) -> str:
        return f"Guarantees({', '.join(f'{name}={self[name].holds}' for name in self)})"

    def __str__(self) -> str:
        lines = [f"{name.replace('_', ' ')}: {self[name]}" for name in self]
        return "\n".join((*lines, *self.notes))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **{name: {"holds": self[name].holds, "by": self[name].by} for name in self},
            "notes": list(self.notes),
        }
