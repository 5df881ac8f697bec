"""The init program as a sealed memfd: nothing that runs in a container can write to it (row E1)."""

from __future__ import annotations

import os

from kokon.errors import HostError
from kokon.kernel.kept import Kept
from kokon.paths import INIT_DIGESTS, INIT_PROGRAM

_MFD_EXEC = 0x10  # Linux 6.3; with vm.memfd_noexec=1 an unflagged memfd cannot be executed
_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # F_SEAL_SEAL, _SHRINK, _GROW, _WRITE (fcntl(2))
_F_ADD_SEALS = 1033

_sealed: dict[str, Kept] = {}


def descriptor() -> int:
    """A descriptor of the sealed program, made once for each process.

    :raises HostError: the program is missing, or is not the one that belongs to this kokon.
    """
    kept = _sealed.get(INIT_PROGRAM)
    if kept is not None and not kept.is_there():
        _sealed.pop(INIT_PROGRAM, None)
        kept = None
    if kept is None:
        made = Kept(_seal(read()))
        # One step for threads that come here at once: the first one's stays.
        kept = _sealed.setdefault(INIT_PROGRAM, made)
        if kept is not made:
            made.close()
    return kept.fd


def read() -> bytes:
    """The program's bytes, as they were built.

    :raises HostError: as :func:`descriptor`.
    """
    try:
        with open(INIT_PROGRAM, "rb") as file:
            program = file.read()
        with open(INIT_DIGESTS) as file:
            digests = file.read()
    except OSError as error:
        raise HostError(
            f"kokon's init cannot be read from {error.filename}",
            errno=error.errno or 0,
            remedy="install kokon again (in a checkout: make build)",
        ) from error
    if f"{sha256_of(program)} init\n" not in digests:
        raise HostError(
            f"{INIT_PROGRAM} is not the init that was built with this kokon",
            remedy="install kokon again (in a checkout: make build)",
        )
    return program


def sha256_of(data: bytes) -> str:
    """Hexadecimal digits."""
    # hashlib loads OpenSSL, which costs more than a whole start; the plain module is enough.
    try:
        from _sha2 import sha256  # type: ignore[import-not-found]  # Python 3.12
    except ImportError:
        from _sha256 import sha256  # type: ignore[import-not-found]
    return str(sha256(data).hexdigest())


def _seal(program: bytes) -> int:
    from fcntl import fcntl

    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create("kokon-init", flags | _MFD_EXEC)
    except OSError:
        fd = os.memfd_create("kokon-init", flags)
    os.write(fd, program)
    fcntl(fd, _F_ADD_SEALS, _SEALS)
    return fd
