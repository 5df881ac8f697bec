"""``linux.mountLabel``: the SELinux context of what a container's own mounts hold."""

from __future__ import annotations

from kokon.errors import HostError
from kokon.plan.ops import Filesystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.compile.builder import Builder
    from kokon.plan.op import Op

LABELLED = frozenset(("tmpfs", "ramfs", "devpts", "overlay"))
"""File systems that take a context also of a user namespace (security/selinux/hooks.c,
selinux_set_mnt_opts).  An mqueue is one for all mounts of its IPC namespace, made before ours, with
the policy's context; /proc and /sys have the kernel's own; files of binds have theirs."""
CONTEXTS = ("context=", "fscontext=", "defcontext=", "rootcontext=")
WHERE = "/linux/mountLabel"


def apply(plan: Builder) -> None:
    """Gives every new file system of the plan the label, but those that say theirs.

    :raises HostError: this machine has no SELinux.
    """
    require_selinux(plan, WHERE)
    for ops in (plan.early, plan.before, plan.outside, plan.inside):
        ops[:] = [_labelled(op, plan.spec.linux.mount_label) for op in ops]


def require_selinux(plan: Builder, where: str) -> None:
    """:raises HostError: there is none: a label would be lost."""
    if plan.host.security_module != "selinux":
        raise HostError(
            "this machine has no SELinux, or its /sys/fs/selinux is not mounted", where=where,
            remedy="leave the label out",
        )  # fmt: skip


def _labelled(op: Op, label: str) -> Op:
    if not isinstance(op, Filesystem) or op.type not in LABELLED:
        return op
    if any(f"{key}=" in CONTEXTS for key in op.options[::2]):
        return op
    # Not in quotes: an option of fsconfig(2) may have commas.
    options = (*op.options, "context", label)
    return Filesystem(op.slot, op.type, options, op.attributes, op.about, why=op.why)
