"""Profiles as JSON documents, good and bad."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kokon.errors import SpecError
from kokon.kernel import capabilities
from kokon.security.seccomp import parse_docker, parse_oci, parse_text
from kokon.security.seccomp.profile import ALLOW, ENOSYS, ERRNO, KILL_THREAD, TRACE

ADMIN = capabilities.mask(["SYS_ADMIN"])


def docker(rule: dict[str, Any], caps: int = 0, kernel: tuple[int, int] = (6, 1)) -> list[str]:
    """The names that one rule of Docker's format leaves."""
    document = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"action": "SCMP_ACT_ALLOW"} | rule],
    }
    return [n for r in parse_docker(document, caps, "x86_64", kernel).rules for n in r.names]


def test_oci() -> None:
    profile = parse_oci(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_S390X"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
            "syscalls": [
                {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": None},
                {
                    "names": ["clone"],
                    "action": "SCMP_ACT_TRACE",
                    "errnoRet": 7,
                    "args": [{"index": 1, "op": "SCMP_CMP_MASKED_EQ", "value": 6, "valueTwo": 2}],
                },
                {"names": ["kill"], "action": "SCMP_ACT_KILL"},
            ],
            "someExtension": True,
        },
        newer_enosys=True,
    )
    assert profile.default == ERRNO | 38
    assert profile.architectures == ("x86", "x32", "s390x")
    assert profile.flags == 6
    assert profile.beyond == ERRNO | ENOSYS
    assert [(r.names, r.action) for r in profile.rules] == [
        (("read", "write"), ALLOW),
        (("clone",), TRACE | 7),
        (("kill",), KILL_THREAD),
    ]
    assert [c.key() for c in profile.rules[1].conditions] == [(1, "MASKED_EQ", 6, 2)]


def test_conditions_on_one_argument_are_alternatives() -> None:
    one = {"index": 1, "op": "SCMP_CMP_EQ", "value": 6}
    entry = {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [one, one | {"value": 7}]}
    profile = parse_oci({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [entry]})
    assert [len(r.conditions) for r in profile.rules] == [1, 1]


def test_permissive_profile_is_not_made_stricter() -> None:
    assert parse_oci({"defaultAction": "SCMP_ACT_ALLOW"}, newer_enosys=True).beyond is None


def test_docker_includes_and_excludes() -> None:
    assert docker({"names": ["mount"], "includes": {"caps": ["CAP_SYS_ADMIN"]}}) == []
    assert docker({"names": ["mount"], "includes": {"caps": ["CAP_SYS_ADMIN"]}}, ADMIN) == ["mount"]
    both = {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}
    assert docker({"names": ["bpf"], "includes": both}, ADMIN) == []
    assert docker({"names": ["bpf"], "excludes": both}, ADMIN) == []
    assert docker({"names": ["ptrace"], "includes": {"minKernel": "4.8"}}) == ["ptrace"]
    assert docker({"names": ["ptrace"], "includes": {"minKernel": "4.8"}}, kernel=(4, 7)) == []
    assert docker({"names": ["x"], "includes": {"arches": ["amd64", "x32"]}}) == ["x"]
    assert docker({"names": ["x"], "excludes": {"arches": ["amd64"]}}) == []
    assert docker({"name": "read", "includes": {}, "excludes": {}}) == ["read"]


def test_docker_architectures_and_errno_names() -> None:
    document = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrno": "ENOSYS",
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": None},
        ],
    }
    profile = parse_docker(document, 0, "x86_64", (6, 1))
    assert profile.architectures == ("x86_64", "x86")
    assert profile.default == ERRNO | ENOSYS
    assert parse_docker(document, 0, "riscv64", (6, 1)).architectures == ("riscv64",)


GOOD: dict[str, Any] = {"names": ["read"], "action": "SCMP_ACT_ALLOW"}
ARG: dict[str, Any] = {"index": 0, "op": "SCMP_CMP_EQ", "value": 1}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"defaultAction": "ALLOW"}, "/defaultAction"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "/defaultAction"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 3}, "/defaultErrnoRet"),
        ({"defaultErrnoRet": 4096}, "/defaultErrnoRet"),
        ({"defaultErrnoRet": "EPERM"}, "/defaultErrnoRet"),
        ({"architectures": ["SCMP_ARCH_VAX"]}, "/architectures/0"),
        ({"architectures": "SCMP_ARCH_X86"}, "/architectures"),
        ({"flags": [None]}, "/flags/0"),
        ({"flags": ["SECCOMP_FILTER_FLAG_MAGIC"]}, "/flags/0"),
        ({"syscalls": {}}, "/syscalls"),
        ({"syscalls": [7]}, "/syscalls/0"),
        ({"syscalls": [GOOD, {"action": "SCMP_ACT_ALLOW"}]}, "/syscalls/1"),
        ({"syscalls": [GOOD | {"names": [""]}]}, "/syscalls/0/names/0"),
        ({"syscalls": [GOOD | {"errnoRet": 1}]}, "/syscalls/0/errnoRet"),
        ({"syscalls": [GOOD | {"args": [ARG | {"index": 6}]}]}, "/syscalls/0/args/0/index"),
        ({"syscalls": [GOOD | {"args": [ARG | {"value": -1}]}]}, "/syscalls/0/args/0/value"),
        ({"syscalls": [GOOD | {"args": [ARG | {"value": True}]}]}, "/syscalls/0/args/0/value"),
        ({"syscalls": [GOOD | {"args": [ARG | {"value": 1 << 64}]}]}, "/syscalls/0/args/0/value"),
        ({"syscalls": [GOOD | {"args": [ARG | {"op": "EQ"}]}]}, "/syscalls/0/args/0/op"),
        ({"syscalls": [GOOD | {"includes": []}]}, "/syscalls/0/includes"),
        ({"syscalls": [GOOD | {"includes": {"caps": ["X"]}}]}, "/syscalls/0/includes/caps/0"),
        ({"syscalls": [GOOD | {"includes": {"minKernel": 5}}]}, "/syscalls/0/includes/minKernel"),
        ({"syscalls": [GOOD | {"name": "read"}]}, "/syscalls/0"),
        ({"archMap": [7]}, "/archMap/0"),
        ({"archMap": [{}], "architectures": ["SCMP_ARCH_X86"]}, ""),
        ({"defaultErrno": "EWHAT"}, "/defaultErrno"),
    ],
)
def test_what_is_wrong_is_pointed_at(change: dict[str, Any], where: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_docker({"defaultAction": "SCMP_ACT_ERRNO"} | change, 0, "x86_64", (6, 1), "/seccomp")
    assert caught.value.where == "/seccomp" + where


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '"x"', '{"a": 1}', b"\xff\xfe\x00", "[" * 99999]
)
def test_a_file_that_is_no_profile(text: str | bytes) -> None:
    with pytest.raises(SpecError, match=r"^x\.json: this is no (JSON|seccomp profile)") as caught:
        parse_text(text, "x.json", 0, "x86_64", (6, 1))
    assert "\n" not in str(caught.value)


def test_a_file() -> None:
    assert parse_text(json.dumps({"defaultAction": "SCMP_ACT_LOG"}), "x", 0, "x86_64", (6, 1))
