"""``update``: other limits for a container that is there."""

from __future__ import annotations

from kokon.errors import RequestError
from kokon.runtime.oci.kill import manager_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.cgroup.group import Group
    from kokon.cgroup.manager import Manager
    from kokon.runtime.oci.record import Record
    from kokon.spec.resources import Resources


def update(
    record: Record, resources: Resources, l3_cache_schema: str = "", mem_bw_schema: str = ""
) -> tuple[str, ...]:
    """Sets what is said and leaves the rest as it is; a paused container stays paused.

    :param resources: device rules are left out: whoever sends a whole document has not changed
        them, and a container would be without its devices meanwhile.
    :param l3_cache_schema: and the other: what its class of service in resctrl may use.
    :returns: sentences on what was taken in another sense than it was said.
    :raises RequestError: it does not run, or no kernel takes a value.
    :raises HostError: a limit cannot be set.
    """
    if record.status not in ("created", "running", "paused"):
        raise RequestError("container not running", where=record.identity)
    if l3_cache_schema or mem_bw_schema:
        from kokon.runtime.oci import resctrl

        resctrl.update(record, l3_cache_schema, mem_bw_schema)
    resources.devices = None
    manager = manager_of(record)
    _complete(manager, resources)
    return tuple(write.note for write in manager.update(resources) if write.note)


def _complete(manager: Manager, resources: Resources) -> None:
    """What the kernel takes only together with something that was said at create."""
    unified = manager.groups.get("unified")
    cpu, memory = resources.cpu, resources.memory
    if cpu is not None and cpu.period and not cpu.quota and unified is not None:
        # Both are one file there, and a period alone would take the quota away.
        quota = (unified.read("cpu.max") or "max").split()[0]
        cpu.quota = int(quota) if quota.isdigit() else None
    if memory is not None and memory.swap and memory.swap > 0 and not memory.limit:
        memory.limit = _memory_limit(manager.groups.get("memory"), unified)


def _memory_limit(group: Group | None, unified: Group | None) -> int | None:
    if group is not None:
        return group.number("memory.limit_in_bytes")
    return unified.number("memory.max") if unified is not None else None
