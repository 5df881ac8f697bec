"""Capabilities that nobody here can grant are left out, and said (config.md, Linux Process)."""

from __future__ import annotations

from kokon.kernel.capabilities import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.kernel.facts import HostFacts
    from kokon.spec.runtime import Spec


def limit(spec: Spec, host: HostFacts) -> tuple[str, ...]:
    """Takes from the process's sets what our own bounding set lacks; a user namespace lacks none.

    :returns: a sentence where something was taken.
    """
    if any(namespace.type == "user" for namespace in spec.linux.namespaces):
        return ()
    sets, lacking = spec.process.capabilities, 0
    for name in sets.__slots__:
        wanted = getattr(sets, name)
        lacking |= wanted & ~host.bounding
        setattr(sets, name, wanted & host.bounding)
    if not lacking:
        return ()
    return (
        f"/process/capabilities: not granted, for we have not got it: {' '.join(names(lacking))}",
    )
