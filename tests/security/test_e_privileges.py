"""Rows E5 and E16: no capability from a file or from the caller, and no start without a step."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import NEEDS_ROOT, run

SEEN = {
    "E5": "the inheritable set is the mask",
    "E16": "a step that fails is passed over",
}

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("contained")]
Mode = dict[str, Any]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason=NEEDS_ROOT)
SETS = "grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status"
NET_RAW = 1 << 13


def sets(out: str) -> dict[str, int]:
    return {line.split(":")[0]: int(line.split()[1], 16) for line in out.splitlines()}


@pytest.mark.parametrize("options", [
    {}, {"cap_add": ["ALL"]}, {"cap_add": ["NET_RAW"]}, {"cap_drop": ["ALL"]},
    {"security_opt": ["no-new-privileges=false"]}, {"init": False},
], ids=str)  # fmt: skip
def test_e5_inheritable_and_ambient_are_empty(root: Path, mode: Mode, options: Mode) -> None:
    found = sets(run(root, SETS, **options, **mode))
    assert (found["CapInh"], found["CapAmb"]) == (0, 0)
    if os.geteuid() == 0:
        found = sets(run(root, SETS, user="1000", **options, **mode))
        assert set(found.values()) == {0}


@root_only
def test_e5_capabilities_of_a_file(root: Path, mode: Mode) -> None:
    program = root / "bin/raw"
    shutil.copy(root / "bin/busybox", program)
    (root / "bin/grep").unlink()
    os.link(program, root / "bin/grep")
    # cap_net_raw+ei: what is inheritable in the file and in the process becomes effective.
    os.setxattr(program, "security.capability",
                struct.pack("<IIIII", 0x02000001, 0, NET_RAW, 0, 0))  # fmt: skip
    # "grep" is only one of busybox's names: its own path decides what it is.
    out = run(root, f"exec {SETS}", user="1000", cap_add=["NET_RAW"],
              security_opt=["no-new-privileges=false"], **mode)  # fmt: skip
    assert sets(out)["CapEff"] == 0 and sets(out)["CapPrm"] == 0


AMBIENT = """
import ctypes, sys
sys.path[:0] = sys.argv[3].split(":")
libc = ctypes.CDLL(None)
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
data = (ctypes.c_uint32 * 6)()
assert libc.capget(header, data) == 0
data[2], data[5] = data[1], data[4]
assert libc.capset(header, data) == 0
for number in range(13, 22):
    assert libc.prctl(47, 2, number, 0, 0) == 0
import kokon
for user in ("0", "1000"):
    done = kokon.run(["/bin/sh", "-c", sys.argv[2]], root=sys.argv[1], user=user,
                     userns=sys.argv[4], capture_output=True, text=True)
    print(done.stdout)
"""


@root_only
def test_e5_a_caller_with_ambient_capabilities(root: Path, mode: Mode) -> None:
    userns = mode.get("userns", "private")
    done = subprocess.run(
        [sys.executable, "-c", AMBIENT, root, SETS, ":".join(sys.path), userns],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for part in done.stdout.split("\n\n"):
        found = sets(part.strip())
        if found:
            assert (found["CapInh"], found["CapAmb"]) == (0, 0)


# Name, number by machine, and where it matters the argument (index, value) that is refused.
X86 = os.uname().machine == "x86_64"
FAULTS: dict[str, tuple[int, tuple[int, int] | None]] = {
    "bounding set": (157 if X86 else 167, (0, 24)),
    "no new privileges": (157 if X86 else 167, (0, 38)),
    "dumpable": (157 if X86 else 167, (0, 4)),
    "parent death": (157 if X86 else 167, (0, 1)),
    "groups": (116 if X86 else 159, None),
    "group": (119 if X86 else 149, None),
    "user": (117 if X86 else 147, None),
    "capabilities": (126 if X86 else 91, None),
    "filter": (317 if X86 else 277, None),
    "descriptors": (436, (0, 3)),
    "root": (155 if X86 else 41, None),
    "old root": (166 if X86 else 39, None),
    "session": (112 if X86 else 157, None),
    "signals": (14 if X86 else 135, None),
    "keyring": (250 if X86 else 219, None),
    "propagation, flags, id maps": (442, None),
    "mounts": (429, None),
    "cgroup namespace": (272 if X86 else 97, None),
    "host name": (170 if X86 else 161, None),
    "working directory": (81 if X86 else 50, None),
    "getcwd": (79 if X86 else 17, None),
    "limits": (302 if X86 else 261, None),
    "paths": (437, None),
}

FAULTY = """
import ctypes, struct, sys
sys.path[:0] = sys.argv[6].split(":")
import kokon
root, number, index, value, userns = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
# What is loaded by the first run is not the matter here.
kokon.run(["/bin/true"], root=root)
code = [(0x20, 0, 0, 0), (0x15, 0, 3 if index >= 0 else 1, number)]
if index >= 0:
    code += [(0x20, 0, 0, 16 + 8 * index), (0x15, 0, 1, value)]
code += [(0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
program = b"".join(struct.pack("<HBBI", *line) for line in code)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.syscall(SECCOMP, 1, 0, ctypes.byref(Program(len(code), program))) == 0 or \\
    (libc.prctl(38, 1, 0, 0, 0) == 0 and
     libc.syscall(SECCOMP, 1, 0, ctypes.byref(Program(len(code), program))) == 0)
try:
    done = kokon.run(["/bin/echo", "STARTED"], root=root, userns=None if userns == "ordinary" else
                     userns, capture_output=True, text=True, ulimits=["nofile=100"], timeout=20)
    print("status", done.returncode, done.stdout)
except kokon.KokonError as error:
    print("REFUSED", error)
""".replace("SECCOMP", "317" if X86 else "277")


@pytest.mark.parametrize("name", FAULTS)
def test_e16_a_step_that_fails(root: Path, mode: Mode, name: str) -> None:
    """Each system call of init is refused in turn by a filter around kokon."""
    number, argument = FAULTS[name]
    index, value = argument or (-1, 0)
    userns = mode.get("userns", "private" if os.geteuid() == 0 else "ordinary")
    done = subprocess.run(
        [sys.executable, "-c", FAULTY, root, str(number), str(index), str(value), userns,
         ":".join(sys.path)],
        capture_output=True, text=True, timeout=40,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if "STARTED" in done.stdout and userns == "ordinary" and name == "groups":
        pytest.skip("with a single id there are no groups to set")
    # Under a filter newuidmap is not set-uid, so that it may be the first to refuse.
    assert done.stdout.startswith("REFUSED step " if os.geteuid() == 0 else "REFUSED "), done.stdout
