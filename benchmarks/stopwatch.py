"""Starts and times the commands that it reads, one JSON list a line (see peers.WithoutUnified)."""

from __future__ import annotations

import json
import os
import shutil
import sys
from resource import RUSAGE_CHILDREN, getrusage
from time import perf_counter


def processor() -> float:
    """Seconds of processors that ended children took."""
    usage = getrusage(RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


for line in sys.stdin:
    arguments = json.loads(line)
    path = shutil.which(arguments[0]) or arguments[0]
    before, begin = processor(), perf_counter()
    pid = os.posix_spawn(path, arguments, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
    _, status = os.waitpid(pid, 0)
    wall = perf_counter() - begin
    print(json.dumps([os.waitstatus_to_exitcode(status), wall, processor() - before]), flush=True)
