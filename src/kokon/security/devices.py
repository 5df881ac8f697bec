"""Which devices a container may use: nothing but what it is allowed, and what every one needs."""

from __future__ import annotations

from kokon.spec.resources import DeviceRule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NOTHING = DeviceRule(allow=False, access="rwm")

NEEDED = (
    # A node may be made, so that archives can be unpacked; it cannot be opened.
    DeviceRule(allow=True, type="c", access="m"),
    DeviceRule(allow=True, type="b", access="m"),
    *(
        DeviceRule(allow=True, type="c", major=major, minor=minor, access="rwm")
        for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, None))
    ),
)
"""null, zero, full, random, urandom, tty, ptmx, and terminals of devpts (Linux's devices.txt):
config-linux.md has them in every container, and engines leave their rules to the runtime."""


def rules(asked: Sequence[DeviceRule]) -> tuple[DeviceRule, ...]:
    """All rules, in order: everything is forbidden first; what is needed wins over what is asked,
    as in runC.

    :param asked: ``linux.resources.devices``.
    """
    return (NOTHING, *asked, *NEEDED)
