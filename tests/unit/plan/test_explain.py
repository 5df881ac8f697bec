"""Every op has words; a plan is explained in order, with who asked for each step."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from kokon.kernel.constants import MOUNT_ATTR_IDMAP, MS_PRIVATE
from kokon.plan import explain, ops
from kokon.plan.op import Op
from kokon.plan.plan import Plan
from kokon.plan.provenance import asked_by
from kokon.plan.table import TABLE

VALUES: dict[str, Any] = {
    "slot": 3, "num": 0, "text": "some-text", "data": b"\1\0\0\0\2\0\0\0", "list": ("a", None),
    "words": "some words",
}  # fmt: skip


def sample(name: str) -> Op:
    row = next(row for row in TABLE if row.name == name)
    fields = {field.name: VALUES[field.kind] for field in row.fields}
    made: Op = getattr(ops, name)(**fields, why="/linux")
    return made


@pytest.mark.parametrize("name", [row.name for row in TABLE])
def test_every_op_is_a_sentence_of_a_person(name: str) -> None:
    words = explain.sentence(sample(name))
    assert re.fullmatch(r"[a-z][^\n]*[^.\n]", words)
    assert "{" not in words and "slot" not in words and name not in words.split()


@pytest.mark.parametrize(
    ("op", "words"),
    [
        (ops.Clone(0x20000, why=""), "clone the container's first process into a new mount"
         " namespace"),
        (ops.ResourceLimit(7, 64, 2**64 - 1, "nofile", why=""),
         "limit nofile to 64 (hard unlimited)"),
        (ops.Clone(0x20020000, why=""), "clone the container's first process into new mount, pid"
         " namespaces"),
        (ops.Unshare(0x2000000, why=""), "unshare a new cgroup namespace"),
        (ops.IdMap("uid_map", "0 5 1\n1 9 2\n", why=""), "write uid_map of the user namespace:"
         " 0 5 1; 1 9 2"),
        (ops.Propagation(1 << 19, why=""), "make every mount slave"),
        (ops.Filesystem(0, "tmpfs", ("size", "1m", "noswap", None), 6, "/tmp", why=""),
         "make a file system of type tmpfs for /tmp (size=1m, noswap, nosuid, nodev)"),
        (ops.CloneMount(0, -1, "/srv", 1, why=""), "take the mount of /srv with all below it"),
        (ops.MountAttributes(0, 1 | MOUNT_ATTR_IDMAP, 8, MS_PRIVATE, 1, 2, "/data", why=""),
         "set ro, mapped ids, not noexec, private on the mount for /data"),
        (ops.MountAttributes(0, 0, 0, 0, 1, -1, "/data", why=""),
         "set nothing on the mount for /data"),
        (ops.Node(0, "null", 0o20666, 259, why=""), "make the device null (c 1:3)"),
        (ops.Node(0, "sda", 0o60660, 0x00100810 | 0x700, why=""), "make the device sda (b 15:272)"),
        (ops.Groups(b"", why=""), "set the supplementary groups: (none)"),
        (ops.Groups(b"\5\0\0\0\xff\xff\0\0", why=""), "set the supplementary groups: 5, 65535"),
        (ops.BoundingSet(1 << 21 | 1, why=""), "drop every capability from the bounding set but"
         " CHOWN, SYS_ADMIN"),
        (ops.Capabilities(0, 0, 0, why=""), "keep only the capabilities (none)"),
        (ops.Umask(0o27, why=""), "set the umask 0o27"),
        (ops.Seccomp(bytes(80), why=""), "load the system call filter (10 instructions)"),
        (ops.Execute((), ("sh", "-c", "echo it works\n", ""), (), why=""),
         r"run sh -c 'echo it works\n' ''"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Op) else "",
)  # fmt: skip
def test_words(op: Op, words: str) -> None:
    assert explain.sentence(op) == words


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("/linux/resources/memory/limit", "--memory 1G"),
        ("/linux/resources/pids", "/linux/resources/pids"),
        ("/mounts/1/source", "-v /a:/b"),
        ("/mounts/10", "/mounts/10"),
        ("--init", "--init"),
        ("", ""),
    ],
)
def test_who_asked(why: str, words: str) -> None:
    asked = {"/linux/resources/memory": "--memory 1G", "/mounts/1": "-v /a:/b"}
    assert asked_by(why, asked) == words


def test_steps_are_plain_values() -> None:
    plan = Plan(
        (
            ops.Clone(0x20000, why="/linux"),
            ops.Release(why="/linux"),
            ops.File(3, "x", bytes(range(200)), why="/etc/hosts"),
            ops.Execute(("/x",), ("x", None), (), why="/process/args"),
        )
    )
    rows = explain.steps(plan, {"/process": "x"})
    assert json.loads(json.dumps(rows)) == [
        {**row, "arguments": json.loads(json.dumps(row["arguments"]))} for row in rows
    ]
    assert [row["where"] for row in rows] == ["outside", "outside", "inside", "inside"]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[2]["arguments"]["content"] == "200 bytes"
    assert rows[3]["why"] == "x"
    text = explain.text(plan)
    assert text.splitlines()[0] == "Outside, before the program's namespaces are entered:"
    assert "Inside the new namespaces:\n  3  write x  [/etc/hosts]\n" in text
