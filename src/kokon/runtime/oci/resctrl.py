"""``linux.intelRdt``: a container's class of service in resctrl (config-linux.md, IntelRdt).

https://docs.kernel.org/filesystems/resctrl.html: a directory is a class of service (CLOS), or below
its mon_groups a group that is watched; ``tasks`` says who is in it, ``schemata`` what it may use.
"""

from __future__ import annotations

import os
from errno import ENOENT, ENOSPC

from kokon.errors import HostError, RequestError, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokon.runtime.oci.record import Record
    from kokon.spec.oci.values import IntelRdt

WHERE = "/linux/intelRdt"
KEY = "resctrl"
"""In a container's record: ``group`` and ``monitor``, where its processes belong, and ``made``,
what is removed with it."""


def find() -> str:
    """Where resctrl is mounted.

    :raises HostError: nowhere that we see.
    """
    from kokon.kernel import mountinfo

    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        found = mountinfo.parse(file.read(), only=("resctrl",))
    if found:
        return found[0].mount_point
    with open("/proc/filesystems") as file:
        known = "resctrl" in file.read().split()
    raise HostError(
        "resctrl is not mounted" if known else "this kernel or its processor has no resctrl",
        where=WHERE,
        remedy="mount -t resctrl resctrl /sys/fs/resctrl" if known
        else "leave it out, or see CONFIG_X86_CPU_RESCTRL and the flags of /proc/cpuinfo",
    )  # fmt: skip


def place(root: str, asked: IntelRdt, record: Record, undo: list[Callable[[], object]]) -> None:
    """Makes or finds the container's directories, and sets what they may use.

    What will be made is noted before, for whoever deletes what we leave when we are killed.

    :param root: where resctrl is mounted.
    :raises HostError: a directory is missing, is taken, or cannot be made; or a schema is refused.
    :raises SpecError: a class that is there has another schema.
    """
    name = asked.clos_id or record.identity
    group = root if name == "/" else f"{root}/{name}"
    lines = [line for line in (asked.l3_cache_schema, asked.mem_bw_schema) if line]
    values = record.values[KEY] = {"root": root, "group": group, "monitor": "", "made": []}
    there = os.path.isdir(group)
    if there and not asked.clos_id:
        raise HostError(
            f"{group} is there already", where=WHERE, remedy="remove it, or name it as closID"
        )
    if there:
        _compare(group, asked)
    elif asked.clos_id and not lines and not asked.schemata:
        raise HostError(
            f"there is no class of service {group}", where=f"{WHERE}/closID",
            remedy="make it, or say what it is with schemata",
        )  # fmt: skip
    else:
        _make(record, group, undo, lasting=bool(asked.clos_id))
        for line, member in ((asked.l3_cache_schema, "l3CacheSchema"),
                             (asked.mem_bw_schema, "memBwSchema")):  # fmt: skip
            if line:
                _set(values, line, f"{WHERE}/{member}")
    for at, line in enumerate(asked.schemata or ()):
        _set(values, line, f"{WHERE}/schemata/{at}")
    if asked.enable_monitoring:
        values["monitor"] = f"{group}/mon_groups/{record.identity}"
        _make(record, values["monitor"], undo, lasting=False)


def join(record: Record, pid: int) -> None:
    """Puts a process where the container's are, if that is anywhere: also each that it starts.

    :raises HostError: the kernel refuses it.
    """
    values = record.values.get(KEY) or {}
    # The class first: a group that is watched takes only who is in its class.
    for directory in (values.get("group"), values.get("monitor")):
        if directory:
            try:
                _write(f"{directory}/tasks", str(pid))
            except OSError as error:
                raise _refused(values, f"{directory} takes no process", WHERE, error) from error


def update(record: Record, l3_cache: str, bandwidth: str) -> None:
    """Sets what the container's class may use; "" leaves it.

    :raises RequestError: the container is in no class.
    :raises HostError: the kernel refuses it.
    """
    for line, option in ((l3_cache, "--l3-cache-schema"), (bandwidth, "--mem-bw-schema")):
        if not line:
            continue
        values = record.values.get(KEY)
        if not values:
            raise RequestError(
                "the container has no class of service", where=option,
                remedy=f"make it anew with {WHERE}",
            )  # fmt: skip
        _set(values, line, option)


def remove(record: Record) -> None:
    """Removes what was made for this container alone.

    :raises HostError: it cannot be removed.
    """
    for directory in reversed((record.values.get(KEY) or {}).get("made", ())):
        _remove(directory)


def _make(record: Record, path: str, undo: list[Callable[[], object]], *, lasting: bool) -> None:
    """:param lasting: it stays when the container is deleted."""
    if not lasting:
        if os.path.isdir(path):
            raise HostError(f"{path} is there already", where=WHERE, remedy="remove it")
        record.values[KEY]["made"].append(path)
        record.save()
    try:
        os.mkdir(path, 0o755)
    except OSError as error:
        remedy = "all that the processor has are in use: remove one, or name one that is there"
        raise _refused(
            record.values[KEY], f"{path} cannot be made", WHERE, error,
            remedy if error.errno == ENOSPC else "",
        ) from error  # fmt: skip
    undo.append(lambda: _remove(path))


def _remove(directory: str) -> None:
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise HostError(
            f"{directory} cannot be removed", where=WHERE, errno=error.errno or 0,
            remedy="remove it by rmdir",
        ) from error  # fmt: skip


def _set(values: dict[str, str], line: str, where: str) -> None:
    try:
        _write(f"{values['group']}/schemata", line)
    except OSError as error:
        raise _refused(values, f"the schema {line[:80]!r} is refused", where, error) from error


def _write(path: str, line: str) -> None:
    """One write(2) for one line, as the kernel wants it."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, f"{line}\n".encode("utf-8", "surrogateescape"))
    finally:
        os.close(fd)


def _refused(
    values: dict[str, str], what: str, where: str, error: OSError, remedy: str = ""
) -> HostError:
    """With what the kernel says beside its number."""
    words = ""
    if error.errno != ENOENT:
        try:
            with open(f"{values['root']}/info/last_cmd_status", errors="replace") as file:
                words = file.read(200).strip()
        except OSError:
            pass
    if words and words != "ok":
        what += f" ({words})"
    return HostError(
        what, where=where, errno=error.errno or 0,
        remedy=remedy or f"see {values['root']}/info for what this machine has",
    )  # fmt: skip


def _compare(group: str, asked: IntelRdt) -> None:
    """A class that is there may be another's: it has what is asked, or the container is refused."""
    members = ((asked.l3_cache_schema, "l3CacheSchema"), (asked.mem_bw_schema, "memBwSchema"))
    if not any(line for line, _ in members):
        return
    try:
        with open(f"{group}/schemata", errors="surrogateescape") as file:
            there = dict(_parsed(line) for line in file)
    except OSError as error:
        raise HostError(
            f"{group} has no schemata", where=f"{WHERE}/closID", errno=error.errno or 0,
            remedy="name a class of service",
        ) from error  # fmt: skip
    for line, member in members:
        if line:
            resource, wanted = _parsed(line)
            if not wanted or not wanted.items() <= there.get(resource, {}).items():
                raise SpecError(
                    f"{group} is there with another schema than {line[:80]!r}",
                    where=f"{WHERE}/{member}", remedy="leave it out, or name another closID",
                )  # fmt: skip


def _parsed(line: str) -> tuple[str, dict[str, str | int]]:
    """``L3:0=7f0;1=1f`` as its resource and what each domain has; leading zeros say nothing."""
    resource, _, rest = line.strip().partition(":")
    pairs = [entry.partition("=")[::2] for entry in rest.split(";") if entry.strip()]
    return resource.strip(), {name.strip(): _number(value.strip()) for name, value in pairs}


def _number(value: str) -> str | int:
    try:
        return int(value, 16)
    except ValueError:
        return value
