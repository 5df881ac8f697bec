"""What /proc tells of processes that run (proc(5))."""

from __future__ import annotations

import os


def times(pid: int, at_most: int = 1000) -> tuple[float, float]:
    """Seconds of processor time that a process, its descendants and their ended children used.

    :param at_most: processes that are looked at: they may fork faster than anyone can look.
    :returns: in user mode, in the kernel.  What ends while this looks is left out.
    """
    tick = os.sysconf("SC_CLK_TCK")
    user = system = 0
    pids = [pid]
    while pids and at_most:
        at_most -= 1
        pid = pids.pop()
        try:
            # The name in parentheses may hold anything.
            fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
            pids += map(int, _read(f"/proc/{pid}/task/{pid}/children").split())
        except OSError:
            continue
        user += int(fields[11]) + int(fields[13])
        system += int(fields[12]) + int(fields[14])
    return user / tick, system / tick


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()
