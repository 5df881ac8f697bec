"""A plan: a flat tuple of ops in the order in which they happen.

    host ops …  Clone  host ops …  Release  container ops …  Execute

``barriers.py`` draws who waits for whom; ``check.py`` holds a plan against its invariants.
"""

from __future__ import annotations

from kokon.plan.op import Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.plan.wire import Template


class Plan:
    """What init will do.

    :param ops: every step, in order.
    :param inherited: what kokon hands to init as open descriptors, by slot: slot ``n`` is
        ``inherited[n]``, a name that the runtime knows how to open (``cgroup:memory``, …).
    :param notes: what a person should know of choices that were made (said once, on stderr).
    :param preserved: how many descriptors from 3 on are the program's.
    :param template: the wire of all ops but the last, where it was made before.
    """

    __slots__ = ("inherited", "notes", "ops", "preserved", "template")

    def __init__(
        self,
        ops: tuple[Op, ...],
        inherited: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
        template: Template | None = None,
        preserved: int = 0,
    ) -> None:
        self.ops = ops
        self.inherited = inherited
        self.notes = notes
        self.template = template
        self.preserved = preserved

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return (self.ops, self.inherited) == (other.ops, other.inherited)

    def __hash__(self) -> int:
        return hash((self.ops, self.inherited))
