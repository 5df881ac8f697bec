"""libseccomp, asked through ctypes for its program of an OCI profile, in the way runC asks it."""

from __future__ import annotations

import ctypes
import os
import signal

from kokon.security.seccomp.profile import Profile, Rule

TOKENS = {"x86": 0x40000003, "x86_64": 0xC000003E, "arm": 0x40000028, "aarch64": 0xC00000B7}
COMPARISONS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")

try:
    library: ctypes.CDLL | None = ctypes.CDLL("libseccomp.so.2", use_errno=True)
except OSError:
    library = None


class Comparison(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


class Unanswered(Exception):
    """libseccomp refuses rules that contradict each other, and never returns from some others."""


def knows(name: str) -> bool:
    """Whether this libseccomp, perhaps an old one, has heard of the call."""
    return library is not None and library.seccomp_syscall_resolve_name(name.encode()) != -1


def program(profile: Profile, machine: str) -> bytes:
    """libseccomp's program; asked in a child, as adding a rule can take for ever (2.5.4).

    :raises Unanswered: there is none.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(2)
            with os.fdopen(writer, "wb") as file:
                file.write(generated(profile, machine))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        code = file.read()
    os.waitpid(child, 0)
    if not code:
        raise Unanswered
    return code


def generated(profile: Profile, machine: str) -> bytes:
    assert library is not None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_void_p,
    )
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(profile.default)))
    try:
        native = library.seccomp_arch_native
        native.restype = ctypes.c_uint32
        wanted = {TOKENS[machine], *(TOKENS[a] for a in profile.architectures if a in TOKENS)}
        for token in sorted(wanted - {native()}):
            assert library.seccomp_arch_add(context, ctypes.c_uint32(token)) == 0
        for rule in profile.rules:
            add(context, rule, profile.default)
        return exported(context)
    finally:
        library.seccomp_release(context)


def add(context: ctypes.c_void_p, rule: Rule, default: int) -> None:
    assert library is not None
    if rule.action == default:
        return
    array = (Comparison * len(rule.conditions))(
        *(
            Comparison(c.index, COMPARISONS.index(c.operator) + 1, c.value, c.masked)
            for c in rule.conditions
        )
    )
    for name in rule.names:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == -1:
            continue
        result = library.seccomp_rule_add_array(
            context, rule.action, number, len(rule.conditions), ctypes.byref(array)
        )
        if result == -17:
            os._exit(1)
        assert result == 0, (name, result)


def exported(context: ctypes.c_void_p) -> bytes:
    assert library is not None
    descriptor = os.memfd_create("filter")
    try:
        assert library.seccomp_export_bpf(context, descriptor) == 0
        os.lseek(descriptor, 0, 0)
        with os.fdopen(os.dup(descriptor), "rb") as file:
            return file.read()
    finally:
        os.close(descriptor)
