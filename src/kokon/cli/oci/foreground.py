"""A program that the caller waits for: signals and terminal are its own."""

from __future__ import annotations

import os
from _signal import SIG_IGN, SIGWINCH, getsignal, signal  # type: ignore[import-not-found]

from kokon.cli.signals import FORWARDED
from kokon.runtime.process import FirstProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokon.runtime.spawn import Spawned


def attend(spawned: Spawned, begin: Callable[[], object] | None = None) -> int:
    """Waits for the end of a child.

    :param begin: called when signals are forwarded already.
    :returns: its exit status, 128 and more for a signal, as a shell has it.
    """
    process = FirstProcess(spawned)
    try:
        if spawned.terminal < 0:
            _forward(process, process.kill)
            if begin is not None:
                begin()
        else:
            _relay(process, begin)
        status = process.wait().returncode
    finally:
        process.close()
    return status if status >= 0 else 128 - status


def _forward(process: FirstProcess, take: Callable[[int], object]) -> None:
    """Those that our caller wants ignored (nohup) stay ignored."""
    for number in FORWARDED:
        if getsignal(number) != SIG_IGN:
            signal(number, lambda number, _: take(number))


def _relay(process: FirstProcess, begin: Callable[[], object] | None) -> None:
    from kokon.cli.terminal import Connection

    connection = Connection(process, feeds=os.isatty(0), signalled=lambda number, group: None)
    try:
        _forward(process, lambda number: (
            connection.resize() if number == SIGWINCH else process.kill(number)
        ))  # fmt: skip
        if begin is not None:
            begin()
        connection.pump(None)
    finally:
        connection.close()
