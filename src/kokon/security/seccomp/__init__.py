"""seccomp(2) filters: from a profile to a program for the kernel.

The compiler, the tables and the default profile are imported when they are needed: the program for
the default capabilities is there already.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.security.seccomp.profile import Profile

COMPILED: dict[tuple[str, int], bytes] = {}


def default_program(arch: str, capabilities: int) -> bytes:
    """Return the default profile's program.

    :param arch: ``x86_64`` or ``aarch64``, as uname(2) has it.
    :param capabilities: the bounding set, one bit for each capability.
    :return: an array of ``struct sock_filter``, 8 bytes each; no flags of seccomp(2) are needed.
    :raises HostError: there is no table of system calls for this architecture.
    """
    key = arch, capabilities
    if key not in COMPILED:
        from kokon.kernel.capabilities import DEFAULT_MASK
        from kokon.security.seccomp.precompiled import PROGRAMS

        if capabilities == DEFAULT_MASK and arch in PROGRAMS:
            COMPILED[key] = bytes.fromhex(PROGRAMS[arch])
        else:
            from kokon.security.seccomp.default import profile

            COMPILED[key] = program(profile(arch, capabilities), arch)
    return COMPILED[key]


def program(profile: Profile, arch: str) -> bytes:
    """Compile a profile: see :func:`kokon.security.seccomp.compiler.program`."""
    from kokon.security.seccomp.compiler import program as compiled

    return compiled(profile, arch)


def parse_oci(document: object, pointer: str = "", *, newer_enosys: bool = False) -> Profile:
    """Read ``linux.seccomp``: see :func:`kokon.security.seccomp.documents.parse_oci`."""
    from kokon.security.seccomp.documents import parse_oci as parsed

    return parsed(document, pointer, newer_enosys=newer_enosys)


def parse_docker(
    document: object, capabilities: int, arch: str, kernel: tuple[int, int], pointer: str = ""
) -> Profile:
    """Read either format: see :func:`kokon.security.seccomp.documents.parse_docker`."""
    from kokon.security.seccomp.documents import parse_docker as parsed

    return parsed(document, capabilities, arch, kernel, pointer)


def parse_text(
    text: str | bytes, where: str, capabilities: int, arch: str, kernel: tuple[int, int]
) -> Profile:
    """Read a file of either format: see :func:`kokon.security.seccomp.documents.parse_text`."""
    from kokon.security.seccomp.documents import parse_text as parsed

    return parsed(text, where, capabilities, arch, kernel)
