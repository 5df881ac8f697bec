"""The program of device rules in the kernel: on a group of version 2, also of a hybrid machine."""

from __future__ import annotations

import os
from errno import EPERM
from pathlib import Path

import pytest

from kokon.kernel import bpf, cgroups
from kokon.security import devices
from kokon.security.device_program import device_program
from kokon.spec.resources import DeviceRule

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it attaches an eBPF program"),
]


def test_devices_by_rule() -> None:
    tree = next((each for each in cgroups.read().hierarchies if each.version == 2), None)
    if tree is None:
        pytest.skip("there are no control groups of version 2 here")
    group = Path(tree.mount_point) / f"kokon-test-devices-{os.getpid()}"
    group.mkdir()
    try:
        fd = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
        rule = DeviceRule(allow=True, type="c", major=1, minor=11, access="w")
        try:
            bpf.attach_device_program(fd, device_program(devices.rules((rule,))))
        except PermissionError as error:
            pytest.skip(f"bpf(2) is refused here: {error}")
        finally:
            os.close(fd)
        assert answers(group) == [0, EPERM, 0]
    finally:
        group.rmdir()


def answers(group: Path) -> list[int]:
    """Errors of opening /dev/null, and 1:11 (kmsg) to read and to write, within a group."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        (group / "cgroup.procs").write_text("0")
        found = []
        for path, flags in (
            ("/dev/null", os.O_RDWR), ("/dev/kmsg", os.O_RDONLY), ("/dev/kmsg", os.O_WRONLY),
        ):  # fmt: skip
            try:
                os.open(path, flags)
                found.append(0)
            except OSError as error:
                found.append(error.errno or 0)
        os.write(write, bytes(found))
        os._exit(0)
    os.close(write)
    said = os.read(read, 3)
    os.close(read)
    os.waitpid(child, 0)
    return list(said)
