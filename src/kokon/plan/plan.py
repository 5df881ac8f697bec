"""A plan: a flat tuple of ops in the order in which they happen.

    host ops …  Clone  host ops …  Release  container ops …  Execute

``barriers.py`` draws who waits for whom; ``check.py`` holds a plan against its invariants.
"""

from __future__ import annotations

from .op import Op


class Plan:
    """What init will do.

    :param ops: every step, in order.
    :param inherited: what kokon hands to init as open descriptors, by slot: slot ``n`` is
        ``inherited[n]``, a name that the runtime knows how to open (``cgroup:memory``, …).
    :param notes: what a person should know of choices that were made (said once, on stderr).
    """

    __slots__ = ("inherited", "notes", "ops")

    def __init__(
        self, ops: tuple[Op, ...], inherited: tuple[str, ...] = (), notes: tuple[str, ...] = ()
    ) -> None:
        self.ops = ops
        self.inherited = inherited
        self.notes = notes

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return (self.ops, self.inherited) == (other.ops, other.inherited)

    def __hash__(self) -> int:
        return hash((self.ops, self.inherited))
