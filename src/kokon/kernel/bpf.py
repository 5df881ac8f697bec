"""bpf(2): a program that decides on devices, for a control group of version 2."""

from __future__ import annotations

import os
from struct import pack

PROG_LOAD, PROG_ATTACH = 5, 8
CGROUP_DEVICE_PROGRAM, CGROUP_DEVICE = 15, 6
"""BPF_PROG_TYPE_CGROUP_DEVICE, and BPF_CGROUP_DEVICE, where it is attached."""
ALLOW_MULTI = 2
"""BPF_F_ALLOW_MULTI: a program of a group above keeps its say."""

NUMBER = {"x86_64": 321, "aarch64": 280}


def attach_device_program(group: int, program: bytes) -> None:
    """Loads a program and attaches it; it is there as long as the group.

    :param group: a descriptor of the group's directory.
    :param program: struct bpf_insn each.
    :raises OSError: EPERM without CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN; EINVAL for a program
        that the verifier refuses, or a kernel without CONFIG_CGROUP_BPF.
    """
    import ctypes

    code = ctypes.create_string_buffer(program, len(program))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    name = b"kokon_devices"
    loaded = _bpf(PROG_LOAD, pack(
        "<IIQQIIQII16s", CGROUP_DEVICE_PROGRAM, len(program) // 8, ctypes.addressof(code),
        ctypes.addressof(licence), 0, 0, 0, 0, 0, name,
    ))  # fmt: skip
    try:
        _bpf(PROG_ATTACH, pack("<IIII", group, loaded, CGROUP_DEVICE, ALLOW_MULTI))
    finally:
        os.close(loaded)


def _bpf(command: int, attributes: bytes) -> int:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    block = ctypes.create_string_buffer(attributes, len(attributes))
    number = NUMBER[os.uname().machine]
    result: int = libc.syscall(
        ctypes.c_long(number), ctypes.c_long(command), block, ctypes.c_long(len(attributes))
    )
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
