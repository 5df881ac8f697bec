"""SELinux contexts of a document: that the machine's policy knows them (selinux(8))."""

from __future__ import annotations

import os
from errno import EINVAL

from kokon.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.spec.runtime import Spec

CONTEXT = "/sys/fs/selinux/context"


def check(spec: Spec) -> None:
    """Asks the kernel: a mount that refuses its context would not say that it is that.

    :raises SpecError: one is none.
    """
    for label, where in (
        (spec.linux.mount_label, "/linux/mountLabel"),
        (spec.process.selinux_label, "/process/selinuxLabel"),
    ):
        if not label:
            continue
        try:
            fd = os.open(CONTEXT, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return  # there is none, which the compiler says, or we may not ask
        try:
            os.write(fd, label.encode("utf-8", "surrogateescape"))
        except OSError as error:
            if error.errno == EINVAL:
                raise SpecError(
                    f"{label[:80]!r} is no context of this machine's SELinux policy", where=where,
                    remedy="name one like system_u:object_r:container_file_t:s0, or leave it out",
                ) from error  # fmt: skip
        finally:
            os.close(fd)
