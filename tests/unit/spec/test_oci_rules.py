"""Values that cannot be meant, and rules between members: each refused where it is."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from kokon.errors import SpecError
from kokon.spec.oci.config import dump, parse
from kokon.spec.oci.process import parse_process
from kokon.spec.oci.resources import parse_resources

DOCUMENT = json.loads((Path(__file__).parent / "data/every-field.json").read_bytes())


def set_at(document: Any, pointer: str, value: Any) -> None:
    """Put a value at a JSON pointer; ``...`` removes what is there."""
    *way, last = (part.replace("~1", "/") for part in pointer.split("/")[1:])
    for part in way:
        document = document[int(part) if isinstance(document, list) else part]
    if value is ...:
        del document[last]
    elif isinstance(document, list) and int(last) == len(document):
        document.append(value)
    else:
        document[int(last) if isinstance(document, list) else last] = value


def with_changes(*changes: tuple[str, Any]) -> bytes:
    document = copy.deepcopy(DOCUMENT)
    for pointer, value in changes:
        set_at(document, pointer, value)
    return json.dumps(document).encode()


def without_namespace(kind: str) -> tuple[str, Any]:
    kept = [entry for entry in DOCUMENT["linux"]["namespaces"] if entry["type"] != kind]
    return "/linux/namespaces", kept


L = "/linux"
R = "/linux/resources"
S = "/linux/seccomp"
MAPPING = {"containerID": 0, "hostID": 1000, "size": 10}

REFUSED: list[tuple[str, list[tuple[str, Any]], str]] = [
    # where it is said to be wrong, what is changed, words of the sentence
    ("/ociVersion", [("/ociVersion", "2.0.0")], "newer than this runtime"),
    ("/ociVersion", [("/ociVersion", "1.0")], "no version"),
    ("/ociVersion", [("/ociVersion", "one")], "no version"),
    ("/ociVersion", [("/ociVersion", ...)], "is missing"),
    ("/root", [("/root", ...)], "is missing"),
    ("/root/path", [("/root/path", "")], "is empty"),
    ("/process/args", [("/process/args", [])], "names no program"),
    ("/process/args", [("/process/args", ["", "x"])], "names no program"),
    ("/process/args", [("/process/args", ...)], "is missing"),
    ("/process/cwd", [("/process/cwd", "root")], "no absolute path"),
    ("/process/cwd", [("/process/cwd", "")], "no absolute path"),
    ("/process/consoleSize/width", [("/process/consoleSize/width", 65536)], "above 65535"),
    ("/process/user/uid", [("/process/user/uid", 4294967295)], "from 0 to 4294967294"),
    ("/process/user/umask", [("/process/user/umask", 512)], "from 0 to 511"),
    ("/process/rlimits/0/type", [("/process/rlimits/0/type", "RLIMIT_NOFIL")],
     "did you mean RLIMIT_NOFILE"),
    ("/process/rlimits/0/soft", [("/process/rlimits/0/hard", 1000)], "above the hard limit"),
    ("/process/rlimits/1/type",
     [("/process/rlimits/1", {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1})], "twice"),
    ("/process/oomScoreAdj", [("/process/oomScoreAdj", 1001)], "from -1000 to 1000"),
    ("/process/scheduler/policy", [("/process/scheduler/policy", "SCHED_FAIR")], "no scheduling"),
    ("/process/scheduler/priority", [("/process/scheduler/priority", 5)], "none but 0"),
    ("/process/scheduler/priority", [("/process/scheduler", {"policy": "SCHED_FIFO"})],
     "from 1 to 99"),
    ("/process/scheduler/runtime",
     [("/process/scheduler", {"policy": "SCHED_OTHER", "runtime": 5})], "is for SCHED_DEADLINE"),
    ("/process/scheduler/nice", [("/process/scheduler/nice", 20)], "from -20 to 19"),
    ("/process/scheduler/flags/0", [("/process/scheduler/flags/0", "")], "is empty"),
    ("/process/ioPriority/priority", [("/process/ioPriority/priority", 8)], "from 0 to 7"),
    ("/process/execCPUAffinity/final", [("/process/execCPUAffinity/final", "3-0")], "backwards"),
    ("/process/apparmorProfile", [("/process/apparmorProfile", "a\nb")], "more than one line"),
    ("/hostname", [("/hostname", "h" * 65)], "longer than 64"),
    ("/hostname", [without_namespace("uts")], "no uts namespace"),
    ("/domainname", [without_namespace("uts"), ("/hostname", "")], "no uts namespace"),
    ("/mounts/0/destination", [("/mounts/0/destination", "")], "is empty"),
    ("/mounts/0/gidMappings", [("/mounts/0/gidMappings", ...)], "missing beside uidMappings"),
    ("/mounts/0/uidMappings", [("/mounts/0/uidMappings", [])], "missing beside gidMappings"),
    ("/mounts/0/uidMappings/1/containerID", [("/mounts/0/uidMappings/1", MAPPING)],
     "ids of another"),
    ("/mounts/0/options/1",
     [("/mounts/0/uidMappings", ...), ("/mounts/0/gidMappings", ...), (L + "/uidMappings", ...),
      (L + "/gidMappings", ...), without_namespace("user")], "ridmap has no mapping"),
    ("/hooks/poststop/0/path", [("/hooks/poststop/0/path", "bin/f")], "no absolute path"),
    ("/hooks/prestart/0/path", [("/hooks/prestart/0/path", ...)], "is missing"),
    ("/hooks/prestart/0/timeout", [("/hooks/prestart/0/timeout", 0)], "from 1 to"),
    ("/annotations/", [("/annotations/", "x")], "is empty"),
    (L + "/namespaces/0/type", [(L + "/namespaces/0/type", "pids")], "did you mean pid?"),
    (L + "/namespaces/0/type", [(L + "/namespaces/0/type", "")], "is missing"),
    (L + "/namespaces/8/type", [(L + "/namespaces/8", {"type": "pid"})], "twice"),
    (L + "/namespaces/0/path", [(L + "/namespaces/0/path", "ns/pid")], "no absolute path"),
    (L + "/uidMappings", [without_namespace("user")], "no user namespace"),
    (L + "/gidMappings", [(L + "/gidMappings", ...)], "new user namespace needs them"),
    (L + "/uidMappings/1/containerID",
     [(L + "/uidMappings/1", {"containerID": 65535, "hostID": 1, "size": 1})], "another mapping"),
    (L + "/uidMappings/1/hostID",
     [(L + "/uidMappings/1", {"containerID": 70000, "hostID": 165535, "size": 9})], "another"),
    (L + "/uidMappings/0/size", [(L + "/uidMappings/0/size", 0)], "is none"),
    (L + "/uidMappings/0/hostID", [(L + "/uidMappings/0/hostID", 4294901760)], "end above"),
    (L + "/uidMappings",
     [(L + "/uidMappings", [{"containerID": n, "hostID": n, "size": 1} for n in range(341)])],
     "more than 340"),
    (L + "/timeOffsets", [without_namespace("time")], "no time namespace"),
    (L + "/timeOffsets", [(L + "/namespaces/7/path", "/proc/1/ns/time")], "has its own"),
    (L + "/timeOffsets/realtime", [(L + "/timeOffsets/realtime", {"secs": 1})], "is no clock"),
    (L + "/timeOffsets/boottime/nanosecs", [(L + "/timeOffsets/boottime/nanosecs", 10**9)],
     "from 0 to 999999999"),
    (L + "/devices/0/type", [(L + "/devices/0/type", "a")], "no type of device"),
    (L + "/devices/0/path", [(L + "/devices/0/path", "dev/fuse")], "no absolute path"),
    (L + "/devices/0/minor", [(L + "/devices/0/minor", ...)], "is missing"),
    (L + "/devices/0/minor", [(L + "/devices/0/minor", 1 << 20)], "from 0 to 1048575"),
    (L + "/devices/0/major", [(L + "/devices/0/major", -1)], "from 0 to 4095"),
    (L + "/devices/0/fileMode", [(L + "/devices/0/fileMode", 0o060666)], "another type"),
    (L + "/netDevices/eth0/name", [(L + "/netDevices/eth0/name", "a" * 16)], "no name of a"),
    (L + "/netDevices/a b", [(L + "/netDevices/a b", {})], "no name of a"),
    (L + "/netDevices/inside0", [(L + "/netDevices/inside0", {})], "twice inside"),
    (L + "/cgroupsPath", [(L + "/cgroupsPath", "/a/../../b")], "has .. in it"),
    (L + "/rootfsPropagation", [(L + "/rootfsPropagation", "slaved")], "did you mean slave"),
    (L + "/maskedPaths/0", [(L + "/maskedPaths/0", "proc")], "no absolute path"),
    (L + "/readonlyPaths/0", [(L + "/readonlyPaths/0", "")], "no absolute path"),
    (L + "/intelRdt/closID", [(L + "/intelRdt/closID", "../x")], "no directory"),
    (L + "/intelRdt/memBwSchema", [(L + "/intelRdt/memBwSchema", "L3:0=1")], "begins with MB:"),
    (L + "/intelRdt/schemata/0", [(L + "/intelRdt/schemata/0", "a\nb")], "more than one line"),
    (L + "/memoryPolicy/mode", [(L + "/memoryPolicy/mode", "MPOL_X")], "no mode"),
    (L + "/memoryPolicy/nodes", [(L + "/memoryPolicy/mode", "MPOL_LOCAL")], "takes none"),
    (L + "/memoryPolicy/nodes", [(L + "/memoryPolicy/nodes", "")], "needs at least one"),
    (L + "/memoryPolicy/flags",
     [(L + "/memoryPolicy/flags", ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"])],
     "static or relative"),
    (L + "/personality/domain", [(L + "/personality/domain", "BSD")], "no execution domain"),
    (L + "/personality/flags/0", [(L + "/personality/flags/0", "X")], "there are none"),
    (R + "/hugepageLimits/0/pageSize", [(R + "/hugepageLimits/0/pageSize", "64kB")], "page size"),
    (R + "/hugepageLimits/0/pageSize", [(R + "/hugepageLimits/0/pageSize", "0MB")], "page size"),
    (R + "/rdma/mlx5_1", [(R + "/rdma/mlx5_1", {})], "neither hcaHandles"),
    (R + "/blockIO/weightDevice/0", [(R + "/blockIO/weightDevice/0", {"major": 1, "minor": 2})],
     "neither weight"),
    (R + "/unified/..~1x", [(R + "/unified/..~1x", "1")], "no name of a file"),
    (R + "/devices/0/type", [(R + "/devices/0/type", "u")], "no kind of device"),
    (R + "/devices/0/access", [(R + "/devices/0/access", "rwx")], "letters r, w and m"),
    (R + "/devices/0/minor", [(R + "/devices/0/minor", -2)], "no device number"),
    (R + "/devices/0/allow", [(R + "/devices/0/allow", ...)], "is missing"),
    (S + "/defaultAction", [(S + "/defaultAction", "SCMP_ACT_ALLOWED")], "mean SCMP_ACT_ALLOW"),
    (S + "/defaultAction", [(S + "/defaultAction", "SCMP_ACT_NOTIFY"), (S + "/defaultErrnoRet", 0)],
     "cannot be the default"),
    (S + "/defaultErrnoRet", [(S + "/defaultAction", "SCMP_ACT_KILL")], "takes no errno"),
    (S + "/architectures/0", [(S + "/architectures/0", "x86_64")], "no architecture"),
    (S + "/flags/0", [(S + "/flags/0", "LOG")], "no flag of seccomp"),
    (S + "/listenerPath", [(S + "/listenerPath", "agent")], "no absolute path"),
    (S + "/listenerMetadata", [(S + "/listenerPath", "")], "listenerPath is not set"),
    (S + "/syscalls/0/names", [(S + "/syscalls/0/names", [])], "names no system call"),
    (S + "/syscalls/0/errnoRet", [(S + "/syscalls/0/action", "SCMP_ACT_LOG")], "takes no errno"),
    (S + "/syscalls/0/args/0/index", [(S + "/syscalls/0/args/0/index", 6)], "from 0 to 5"),
    (S + "/syscalls/0/args/0/op", [(S + "/syscalls/0/args/0/op", "SCMP_CMP_XX")], "no operator"),
    (S + "/syscalls/1/action",
     [(S + "/listenerPath", ...), (S + "/listenerMetadata", ...),
      (S + "/syscalls/1", {"names": ["mknod"], "action": "SCMP_ACT_NOTIFY"})], "needs a listener"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "changes", "words"), REFUSED, ids=[f"{row[0]}: {row[2]}" for row in REFUSED]
)
def test_refused(where: str, changes: list[tuple[str, Any]], words: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse(with_changes(*changes))
    assert refused.value.where == where
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


ACCEPTED: list[list[tuple[str, Any]]] = [
    [("/ociVersion", "1.9.0-rc.1+dev")],
    [("/ociVersion", "0.5.0")],
    [("/process/user", ...)],
    [("/process/capabilities", ...)],
    [("/process/terminal", False), ("/process/consoleSize/width", 1 << 40)],
    [(L + "/rootfsPropagation", "rslave")],
    [(L + "/rootfsPropagation", "")],
    [(L + "/devices/0", {"path": "/dev/pipe", "type": "p"})],
    [(L + "/devices/0/fileMode", 0o020666)],
    [(L + "/namespaces/5/path", "/proc/1/ns/user"), (L + "/uidMappings", []),
     (L + "/gidMappings", [])],
    [("/mounts/0/uidMappings", ...), ("/mounts/0/gidMappings", ...)],
    [(L + "/intelRdt/closID", "/")],
    [(L + "/memoryPolicy", {"mode": "MPOL_PREFERRED"})],
    [(L + "/netDevices", {"eth0": {"name": "n%d"}, "eth1": {"name": "n%d"}})],
    [("/windows", {"layerFolders": 5}), ("/vm", []), ("/zos", 1), ("/solaris", None)],
    [("/linux", ...)],
]  # fmt: skip


@pytest.mark.parametrize("changes", ACCEPTED)
def test_accepted(changes: list[tuple[str, Any]]) -> None:
    parse(with_changes(*changes))


def test_values_that_mean_something_else() -> None:
    spec = parse(
        with_changes(
            ("/process/terminal", False),
            ("/mounts/0/destination", "data"),
            (L + "/devices/0/fileMode", 0o020640),
            (R + "/memory/swappiness", (1 << 64) - 1),
            (R + "/devices/0/minor", -1),
        )
    )
    assert spec.process.console_size is None
    assert spec.mounts[0].destination == "/data"
    assert spec.linux.devices[0].file_mode == 0o640
    assert spec.linux.resources and spec.linux.resources.memory and spec.linux.resources.devices
    assert spec.linux.resources.memory.swappiness is None
    assert spec.linux.resources.devices[0].minor is None
    assert "minor" not in dump(spec)["linux"]["resources"]["devices"][0]


def test_pointers_of_parts_begin_at_the_part() -> None:
    with pytest.raises(SpecError) as refused:
        parse_process(b'{"args":["x"],"cwd":"x"}')
    assert refused.value.where == "/cwd"
    with pytest.raises(SpecError) as refused:
        parse_resources(b'{"memory":{"limit":"1G"}}')
    assert str(refused.value) == '/memory/limit: has to be a whole number, not "1G"'
    with pytest.raises(SpecError, match="has to be an object, not an array"):
        parse_resources(b"[]")


def test_sentences_are_short_and_printable() -> None:
    with pytest.raises(SpecError) as refused:
        parse(with_changes(("/process/cwd", "\x1b[31m" + "x" * 100_000)))
    assert len(str(refused.value)) < 150
    assert str(refused.value).isprintable()
    with pytest.raises(SpecError) as refused:
        parse(with_changes(("/annotations/" + "\x1b" * 1000, 5)))
    assert len(str(refused.value)) < 300
    assert str(refused.value).isprintable()
