"""Starts crun many times, so many at once, and prints how many starts a second that were.

python benchmarks/crowd.py STATE BUNDLE AT_ONCE COUNT
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor


def main() -> None:
    """The command line is in the module's docstring."""
    state, bundle, at_once, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    nothing = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, nothing, fd) for fd in range(3)]

    def start(number: int) -> None:
        words = ["crun", "--root", state, "run", "-b", bundle, f"crowd{os.getpid()}-{number}"]
        pid = os.posix_spawnp("crun", words, os.environ, file_actions=actions)
        if os.waitpid(pid, 0)[1]:
            raise RuntimeError(f"{' '.join(words)} failed")

    with ThreadPoolExecutor(at_once) as pool:
        begin = time.perf_counter()
        list(pool.map(start, range(count)))
        print(count / (time.perf_counter() - begin))


if __name__ == "__main__":
    main()
