"""What was read and tried of a machine, and what is found: values, which can be saved as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields

from kokon.kernel.facts import HostFacts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

OK, PARTIAL, MISSING, UNKNOWN = "ok", "partial", "missing", "unknown"
"""States of a finding; unknown: it could not be tried, for want of another."""


@dataclass(frozen=True)
class Probe:
    """What was tried: whether it works, else the kernel's number, the step and the words.

    :ivar step: the class of the op that was refused, or of the error.
    """

    works: bool
    errno: int = 0
    step: str = ""
    said: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Machine:
    """All that :func:`kokon.config.diagnosis.diagnose` may know.

    :ivar facts: what every run knows.
    :ivar user: our name, "" where /etc/passwd has none.
    :ivar distribution: debian, fedora, suse, arch, alpine, or "".
    :ivar executable: the program that AppArmor would have to know.
    :ivar container: what is around us: docker, podman, kubernetes, lxc, …, or "".
    :ivar settings: sysctls by name, and ``lsm`` (the kernel's security modules); only what is here.
    :ivar filtered: a system call filter is around us; :ivar no_new_privileges: set-uid is off.
    :ivar label: our AppArmor profile or SELinux context; :ivar enforcing: SELinux enforces.
    :ivar landlock: the version of its ABI, else the negative errno of asking.
    :ivar helpers: newuidmap and newgidmap: ``set-uid``, ``capability``, ``plain`` or ``nosuid``.
    :ivar subordinate: /etc/subuid, and /etc/subgid, have a line for us.
    :ivar free_ids: the first of 65,536 ids that no line of them has.
    :ivar systemd: it is process 1; :ivar manager: we have one of our own; :ivar bus: its bus is
        there; :ivar jeepney: the package that speaks with it.
    :ivar delegated: the controllers of our manager's group, None without one.
    :ivar cgroups_read_only: the mount of our own group is.
    :ivar store: where roots are kept, :ivar store_filesystem: its type; :ivar store_fit: an
        overlay's writes can lie there; :ivar state: where running containers are noted.
    :ivar foreign: which of these two cannot be ours: it belongs to somebody else, or is not
        writable.
    :ivar open_files: the soft limit of descriptors.
    :ivar held: what a run at the level ``best`` holds, by resource: whether, and by what.
    :ivar probes: what was tried, by name; ``run …`` are whole runs, ``limit …`` runs with one
        limit.
    """

    facts: HostFacts
    user: str = ""
    distribution: str = ""
    executable: str = ""
    container: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    filtered: bool = False
    no_new_privileges: bool = False
    label: str = ""
    enforcing: bool = False
    landlock: int = 0
    helpers: Mapping[str, str] = field(default_factory=dict)
    subordinate: tuple[bool, bool] = (False, False)
    free_ids: int = 100000
    systemd: bool = False
    manager: bool = False
    bus: bool = False
    jeepney: bool = True
    delegated: tuple[str, ...] | None = None
    cgroups_read_only: bool = False
    store: str = ""
    store_filesystem: str = ""
    store_fit: bool = True
    state: str = ""
    foreign: tuple[str, ...] = ()
    open_files: int = 1024
    held: Mapping[str, tuple[bool, str]] = field(default_factory=dict)
    probes: Mapping[str, Probe] = field(default_factory=dict)

    def works(self, name: str) -> bool:
        """Whether a probe was made and everything in it worked."""
        probe = self.probes.get(name)
        return probe is not None and probe.works

    @property
    def is_root(self) -> bool:
        """Root, of the machine or of a user namespace."""
        return self.facts.uid == 0

    @property
    def confined(self) -> bool:
        """A security module has a rule for us in particular."""
        return self.label not in ("", "unconfined")

    @property
    def name(self) -> str:
        """What loginctl(1) calls us: the name, else the id."""
        return self.user or str(self.facts.uid)

    @property
    def unmapped(self) -> bool:
        """Our ids have no meaning in the user namespace that we are in (``unshare -U``)."""
        uid = self.facts.uid
        return not any(first <= uid < first + size for first, _, size in self.facts.uid_map)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        value: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        value["facts"] = self.facts.to_dict()
        value["probes"] = {name: asdict(probe) for name, probe in self.probes.items()}
        return value

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Machine:
        """What :meth:`to_dict` gave, also after a trip through JSON."""
        given = dict(value)
        given["facts"] = HostFacts.from_dict(value["facts"])
        given["probes"] = {name: Probe(**probe) for name, probe in value["probes"].items()}
        given["subordinate"] = tuple(value["subordinate"])
        given["foreign"] = tuple(value["foreign"])
        given["held"] = {name: tuple(entry) for name, entry in value["held"].items()}
        if value["delegated"] is not None:
            given["delegated"] = tuple(value["delegated"])
        return cls(**given)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    :ivar area: its name, which stays the same over versions.
    :ivar state: ok, partial, missing or unknown.
    :ivar found: what is there, or is not; :ivar follows: what that means for containers.
    :ivar remedy: lines for a shell that mend it; those that begin with ``#`` are for people.
    :ivar needed: a run without options needs it.
    """

    area: str
    state: str
    found: str
    follows: str = ""
    remedy: tuple[str, ...] = ()
    needed: bool = False

    @property
    def stops(self) -> bool:
        """Whether no run without options works for it."""
        return self.needed and self.state == MISSING


@dataclass(frozen=True)
class Report:
    """What the doctor says.

    :ivar findings: one for each area, always the same areas in the same order.
    :ivar machine: what they were judged by.
    """

    findings: tuple[Finding, ...]
    machine: Machine

    @property
    def works(self) -> bool:
        """Whether everything that a run without options needs is there."""
        return not any(finding.stops for finding in self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __repr__(self) -> str:
        states = [finding.state for finding in self.findings]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        return f"<Report: {'works' if self.works else 'does not work'}; {counts}>"

    def __str__(self) -> str:
        return self.text().rstrip("\n")

    def text(self, columns: int = 80, *, bold: bool = False) -> str:
        """What ``kokon doctor`` prints: a line for what is well, more for what is not.

        :param bold: states are coloured, for a terminal.
        """
        from kokon.config.diagnosis.words import text

        return text(self, columns, bold=bold)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "works": self.works,
            "findings": [asdict(finding) for finding in self.findings],
            "machine": self.machine.to_dict(),
        }
