"""``linux.mountLabel`` and ``process.selinuxLabel`` on a machine with SELinux."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from oci_bundle import Bundle, bundle

__all__ = ["bundle"]  # the fixture

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a bundle's owner is the host's"),
    pytest.mark.skipif(
        not os.path.exists("/sys/fs/selinux/enforce"), reason="this machine has no SELinux"
    ),
]
LABEL = "system_u:object_r:container_file_t:s0:c1,c2"
MOUNTS = [
    {"destination": "/dev/pts", "type": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
    {"destination": "/dev/mqueue", "type": "mqueue"},
    {"destination": "/tmp", "type": "tmpfs"},
    {"destination": "/sys", "type": "sysfs"},
]


def known(label: str) -> bool:
    """Whether the policy has it."""
    fd = os.open("/sys/fs/selinux/context", os.O_RDWR)
    try:
        return bool(os.write(fd, label.encode()))
    except OSError:
        return False
    finally:
        os.close(fd)


def context(path: str) -> str:
    return os.getxattr(path, "security.selinux").rstrip(b"\0").decode()


@pytest.mark.parametrize("users", [False, True])
def test_new_file_systems_have_the_label(bundle: Bundle, users: bool) -> None:
    label = LABEL if known(LABEL) else LABEL.replace("container_file_t", "tmp_t")
    if users:
        bundle.users()
    bundle.config["mounts"] += MOUNTS
    bundle.linux["mountLabel"] = label
    bundle.linux["maskedPaths"] = ["/proc/kcore", "/proc/irq"]
    bundle.create()
    root = f"/proc/{bundle.pid()}/root"
    for path in ("/tmp", "/dev", "/dev/null", "/dev/pts/ptmx", "/proc/kcore", "/proc/irq"):
        assert context(root + path) == label, path
    for path in ("/proc", "/sys", "/dev/mqueue", "/bin"):
        assert context(root + path) != label, path


@pytest.mark.parametrize("label", ["no_such_label", "a:b:c:s0"])
@pytest.mark.parametrize("pointer", ["/linux/mountLabel", "/process/selinuxLabel"])
def test_a_label_that_is_none(bundle: Bundle, pointer: str, label: str) -> None:
    _, part, member = pointer.split("/")
    bundle.config[part][member] = label
    said = bundle.refused()
    assert pointer in said
    assert "is no context of this machine's SELinux policy" in said


def test_the_programs_own(bundle: Bundle) -> None:
    own = Path("/proc/self/attr/current").read_text().rstrip("\0\n")
    parts = own.split(":")
    label = ":".join(["system_u", "system_r", "container_t", *(parts[3:] and ["s0:c1,c2"])])
    if not known(label):
        pytest.skip("the policy has no container_t")
    bundle.process["selinuxLabel"] = label
    assert bundle.run("cat /proc/self/attr/current").rstrip("\0\n") == label
