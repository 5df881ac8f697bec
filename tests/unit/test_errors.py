"""What the kernel refused to kokon itself, as sentences."""

from __future__ import annotations

import errno
import os

import pytest

from kokon.errors import HostError, KokonError, RetryError, refused


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EMFILE, RetryError, "cannot be opened: Too many open files; allow this process more"
         " open files (ulimit -n), or close some"),
        (errno.ENOSPC, RetryError, "cannot be used: No space left on device; make room there, or"
         " set a place of your own: XDG_RUNTIME_DIR or KOKON_STORE"),
        (errno.EROFS, HostError, "cannot be used: Read-only file system; set a place of your own:"
         " XDG_RUNTIME_DIR or KOKON_STORE"),
        (errno.EIO, HostError, "cannot be used: Input/output error"),
    ],
)  # fmt: skip
def test_an_error_of_the_kernel_is_a_sentence(
    number: int, kind: type[KokonError], words: str
) -> None:
    named = refused(OSError(number, os.strerror(number), "/run/kokon"))
    assert (type(named), str(named)) == (kind, f"/run/kokon {words}")
    assert str(refused(OSError(number, ""))) == f"what a run needs {words}"
