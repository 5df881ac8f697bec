"""A terminal: opened in the container's own devpts, never in the caller's (rows E13, M6)."""

from __future__ import annotations

from kokon.errors import SpecError
from kokon.kernel.constants import RESOLVE_NO_SYMLINKS
from kokon.plan.ops import Attach, CloneDescriptor, Owner, StandardStreams, Terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.compile.builder import Builder

WHY = "/process/terminal"


def make(plan: Builder) -> None:
    """The pty as standard streams and as /dev/console."""
    process = plan.spec.process
    if not process.terminal:
        return
    if plan.devpts_slot < 0:
        raise SpecError(
            "a terminal needs a devpts of the container's own",
            where=WHY,
            remedy="mount devpts on /dev/pts",
        )
    slot = plan.slot()
    rows, columns = plan.launch.terminal_size
    plain = int(plan.launch.plain_newlines)
    plan.add(Terminal(plan.devpts_slot, slot, rows, columns, plain=plain, why=WHY))
    if process.user.uid or process.user.gid:
        plan.add(Owner(slot, process.user.uid, process.user.gid, about="the terminal", why=WHY))
    if plan.dev_slot >= 0:
        console = plan.slot()
        plan.add(CloneDescriptor(console, slot, about="the terminal", why=WHY))
        plan.add(Attach(
            console, plan.dev_slot, "console", 2, RESOLVE_NO_SYMLINKS, about="the terminal",
            why=WHY,
        ))  # fmt: skip
    plan.add(StandardStreams(slot, why=WHY))
