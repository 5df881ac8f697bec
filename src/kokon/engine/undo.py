"""What a run has made, to be taken back in reverse."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


_live: set[Undo] = set()
"""Those that have something to take back."""


def run_all() -> None:
    """Takes back what is left when this process ends by itself."""
    while _live:
        _live.pop().run()


class Undo:
    """A stack of steps back; each is tried, whatever the others do.

    A forked child has a copy of it, and of nothing that it would take back.
    """

    __slots__ = ("_maker", "_steps")

    def __init__(self) -> None:
        self._maker = os.getpid()
        self._steps: list[Callable[[], object]] = []

    def push(self, step: Callable[[], object]) -> None:
        """Adds a step, to be taken before those that were added earlier."""
        _live.add(self)
        self._steps.append(step)

    def run(self) -> list[Exception]:
        """Takes every step; what went wrong on the way.

        :raises BaseException: an interrupt, when the other steps have been taken.
        """
        errors: list[Exception] = []
        interrupt = None
        if self._maker != os.getpid():
            return errors
        while self._steps:
            try:
                self._steps.pop()()
            except Exception as error:
                errors.append(error)
            except BaseException as error:
                interrupt = error
        _live.discard(self)
        if errors or interrupt:
            from kokon.engine import owner

            owner.current().leaves = True
        if interrupt:
            raise interrupt
        return errors
