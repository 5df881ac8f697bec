"""Control groups that a killed kokon has left."""

from __future__ import annotations

import os

from kokon.cgroup.manager import CONTAINER, PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kokon.kernel.cgroups import CgroupLayout


def remove_left(layout: CgroupLayout, token: str, noted: Sequence[str]) -> list[str]:
    """Remove the groups that a killed kokon left, with what still runs in them.

    :param token: what the names of its containers begin with, before a hyphen.
    :param noted: what :class:`Manager` gave to ``note``, in order.  A path that is below no mount
        of control groups is somebody else's, and comes back.
    :raises RetryError: a process does not die.
    """
    from kokon.cgroup.v1 import GroupV1
    from kokon.cgroup.v2 import GroupV2

    others, shared = [], []
    for place in noted:
        tree = layout.showing(place.rstrip("/"))
        if tree is None:
            others.append(place)
            continue
        if place.endswith("/"):
            shared.append(place)
            continue
        try:
            names = os.listdir(place)
        except OSError:
            continue
        for name in names:
            if not name.startswith(f"{PREFIX}{token}-"):
                continue
            # A scope goes by itself when nothing runs in it any more.
            path = f"{place}/{name}/{CONTAINER}" if name.endswith(".scope") else f"{place}/{name}"
            (GroupV2 if tree.version == 2 else GroupV1)(path).remove()
    for place in reversed(shared):
        try:
            os.rmdir(place)
        except OSError:
            pass  # it is gone, or others use it
    return others
