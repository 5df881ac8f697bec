"""Spawning from a thread that lives as long as the process.

PR_SET_PDEATHSIG fires when the *thread* that spawned a child ends (prctl(2)), so a run that is
called from a short-lived thread would take its container with it.  The main thread ends with the
process; for every other one a thread of ours does the spawning.
"""

from __future__ import annotations

import os
from _thread import get_native_id, start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _queue import SimpleQueue
    from collections.abc import Callable

    Work = tuple[Callable[[], object], "SimpleQueue[BaseException | None]"]

_queue_of: tuple[int, SimpleQueue[Work]] | None = None


def in_lasting_thread(work: Callable[[], object]) -> None:
    """Calls ``work`` (a posix_spawn) in a thread that does not end, and raises what it raises."""
    if get_native_id() == os.getpid():
        work()
        return
    from _queue import SimpleQueue

    answer: SimpleQueue[BaseException | None] = SimpleQueue()
    _queue().put((work, answer))
    error = answer.get()
    if error is not None:
        raise error


def _queue() -> SimpleQueue[Work]:
    """The queue of our thread, started when it is first needed (and again in a forked child)."""
    global _queue_of
    if _queue_of is None or _queue_of[0] != os.getpid():
        from _queue import SimpleQueue

        queue: SimpleQueue[Work] = SimpleQueue()
        # Two threads that come here at once leave one idle thread behind, nothing worse.
        _queue_of = (os.getpid(), queue)
        start_new_thread(_serve, (queue,))
    return _queue_of[1]


def _serve(queue: SimpleQueue[Work]) -> None:
    while True:
        work, answer = queue.get()
        try:
            work()
            answer.put(None)
        except BaseException as error:
            answer.put(error)
