"""Documents of others are read, and written back as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kokon.errors import SpecError
from kokon.kernel import capabilities, constants
from kokon.security.seccomp import documents, profile
from kokon.spec.oci import seccomp as seccomp_words
from kokon.spec.oci.config import dump, parse
from kokon.spec.oci.default import default_spec
from kokon.spec.oci.json_text import text
from kokon.spec.oci.process import CAPABILITIES, PROCESS, RLIMITS, parse_process
from kokon.spec.oci.resources import RESOURCES, parse_resources
from kokon.spec.oci.seccomp import SECCOMP
from kokon.spec.runtime import IdMapping

DATA = Path(__file__).parent / "data"
EVERY_FIELD = DATA / "every-field.json"
GOOD = sorted((DATA / "specification/good").iterdir())
CONFIGS = [EVERY_FIELD, *sorted((DATA / "engines").glob("*-config.json"))]

BAD = {
    "invalid-json": "",
    "linux-hugepage": "/linux/resources/hugepageLimits/0/pageSize",
    "linux-netdevice": "/linux/netDevices/eth0/name",
    "linux-rdma": "/linux/resources/rdma/mlx5_1/hcaHandles",
}
"""Where each bad example is wrong; freebsd-vnet-disable is about another system, so ignored."""


@pytest.mark.parametrize("path", [*GOOD, *CONFIGS], ids=lambda path: path.stem)
def test_good_documents_are_read(path: Path) -> None:
    spec = parse(path.read_bytes())
    assert not spec.notes
    written = text(dump(spec)).encode()
    assert dump(parse(written)) == dump(spec)


@pytest.mark.parametrize("path", sorted((DATA / "specification/bad").iterdir()), ids=str)
def test_bad_examples_are_refused(path: Path) -> None:
    if path.stem == "freebsd-vnet-disable":
        parse(path.read_bytes())
        return
    with pytest.raises(SpecError) as refused:
        parse(path.read_bytes())
    assert refused.value.where == BAD[path.stem]


def without_defaults(value: Any) -> Any:
    """A document less what says nothing: false, null, and empty arrays and objects."""
    if isinstance(value, dict):
        members = {name: without_defaults(member) for name, member in value.items()}
        return {
            name: member
            for name, member in members.items()
            if member not in ([], {}, None) and member is not False
        }
    if isinstance(value, list):
        return [without_defaults(entry) for entry in value]
    return value


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_nothing_of_a_document_is_lost(path: Path) -> None:
    document = without_defaults(json.loads(path.read_bytes()))
    written = without_defaults(dump(parse(path.read_bytes())))
    for either in (document, written):
        sets = either["process"].get("capabilities", {})
        for names in sets.values():
            names.sort()
        for offset in either["linux"].get("timeOffsets", {}).values():
            offset.setdefault("nanosecs", 0)
        for device in either["linux"].get("devices", ()):
            for name, default in (("fileMode", 0o666), ("uid", 0), ("gid", 0)):
                device.setdefault(name, default)
    if path.parent.name == "engines":
        document["process"]["user"] = written["process"]["user"] = {}
    assert written == document


def test_values_of_a_document() -> None:
    spec = parse(EVERY_FIELD.read_bytes())
    process, linux = spec.process, spec.linux
    assert process.user.additional_gids == (5, 6)
    assert process.capabilities.bounding == capabilities.mask(["CHOWN", "CHECKPOINT_RESTORE"])
    assert process.rlimits[0].hard == constants.RLIM_INFINITY
    assert process.scheduler and process.scheduler.runtime == 10_000_000
    assert process.io_priority and process.io_priority.class_ == "IOPRIO_CLASS_BE"
    assert process.exec_cpu_affinity and process.exec_cpu_affinity.final == "0-3,7"
    assert process.console_size and process.console_size.width == 80
    assert spec.mounts[0].uid_mappings == (IdMapping(0, 1000, 10),)
    assert spec.hooks and spec.hooks.start_container[0].timeout == 5
    assert spec.annotations == {"com.example.key": "value"}
    assert linux.time_offsets == {"monotonic": (-1, 5), "boottime": (7, 0)}
    assert linux.net_devices["eth0"].name == "inside0"
    assert linux.devices[0].file_mode == 0o666 and linux.devices[0].minor == 229
    assert linux.resources and linux.resources.memory and linux.resources.memory.swappiness == 0
    assert linux.seccomp is None and linux.seccomp_document
    assert linux.seccomp_document.syscalls
    assert linux.seccomp_document.syscalls[0].args
    assert linux.seccomp_document.syscalls[0].args[0].value_two == 2
    assert linux.memory_policy and linux.memory_policy.mode == "MPOL_BIND"


def test_a_document_without_a_process_has_no_arguments() -> None:
    spec = parse((DATA / "specification/good/minimal.json").read_bytes())
    assert spec.process.args == ()
    assert dump(spec) == {"ociVersion": "1.0.0", "root": {"path": "rootfs"}}


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_process_of_exec(engine: str) -> None:
    data = (DATA / f"engines/{engine}-process.json").read_bytes()
    process = parse_process(data)
    assert process.args == ("true",)
    assert process.capabilities.bounding & capabilities.BITS["CHOWN"]
    written = PROCESS.dump(process)
    assert written["env"] == json.loads(data)["env"]


def test_resources_of_update() -> None:
    resources = parse_resources((DATA / "engines/podman-resources.json").read_bytes())
    assert resources.memory and resources.memory.swap == 251_658_240
    assert RESOURCES.dump(resources) == {"memory": {"limit": 125829120, "swap": 251658240}}


@pytest.mark.parametrize(("rootless", "name"), [(False, "runc"), (True, "runc-rootless")])
def test_the_document_of_spec_is_what_clients_expect(rootless: bool, name: str) -> None:
    ours = json.loads(default_spec(rootless))
    theirs = json.loads((DATA / f"engines/{name}-config.json").read_bytes())
    assert (ours.pop("ociVersion"), ours.pop("hostname")) == ("1.3.0", "kokon")
    theirs = {name: value for name, value in theirs.items() if name in ours}
    kinds = [sorted(entry["type"] for entry in each["linux"].pop("namespaces"))
             for each in (ours, theirs)]  # fmt: skip
    assert set(kinds[0]) - set(kinds[1]) <= {"cgroup"}  # runC has it where cgroups are v2
    assert set(kinds[1]) <= set(kinds[0])
    theirs["process"]["capabilities"].pop("ambient", None)  # runC 1.2 does without
    for each in (ours, theirs):
        for names in each["process"]["capabilities"].values():
            names.sort()
    assert without_defaults(ours) == without_defaults(theirs)
    assert parse(default_spec(rootless, 1000, 1000).encode()).process.args == ("sh",)


def test_seccomp_of_a_document_can_be_compiled() -> None:
    for path in CONFIGS:
        document = parse(path.read_bytes()).linux.seccomp_document
        if document:
            assert documents.parse_oci(SECCOMP.dump(document)).rules


def test_words_are_those_of_the_kernel_and_the_compiler() -> None:
    assert tuple(f"CAP_{name}" for name in capabilities.NAMES) == CAPABILITIES
    assert {name.removeprefix("RLIMIT_").lower() for name in RLIMITS} == set(
        constants.RESOURCE_LIMITS
    )
    assert set(seccomp_words.ACTIONS) == set(documents.ACTIONS)
    assert {f"SCMP_ARCH_{name}" for name in documents.ARCHITECTURES} == set(
        seccomp_words.ARCHITECTURES
    )
    assert set(seccomp_words.FLAGS) == set(profile.FLAGS)
    assert {f"SCMP_CMP_{name}" for name in profile.OPERATORS} == set(seccomp_words.OPERATORS)


def test_a_capability_that_is_not_known_is_said_and_not_granted() -> None:
    document = json.loads(EVERY_FIELD.read_bytes())
    document["process"]["capabilities"]["bounding"] = ["CAP_CHOWN", "CAP_TIME_TRAVEL"]
    spec = parse(json.dumps(document).encode())
    assert spec.process.capabilities.bounding == 1
    assert spec.notes == (
        '/process/capabilities/bounding/1: "CAP_TIME_TRAVEL" is no capability that is known here; '
        "it is not granted",
    )


def test_a_kind_of_hook_that_is_not_known_is_said() -> None:
    document = json.loads(EVERY_FIELD.read_bytes())
    document["hooks"]["preStart"] = [{"path": "relative"}]
    (note,) = parse(json.dumps(document).encode()).notes
    assert note.startswith('/hooks/preStart: "preStart" is no kind of hook')
