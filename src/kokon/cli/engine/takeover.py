"""``kokon run`` from where the launcher hands it over: see launcher/perform.c."""

from __future__ import annotations

from _signal import SIG_SETMASK, pthread_sigmask  # type: ignore[import-not-found]

from kokon.cli.engine.run import concluded
from kokon.cli.message import say
from kokon.cli.signals import Signals
from kokon.engine.takeover import TakenOver


def main(told: str) -> int:
    """Goes on with the run; the status is the program's own.

    :param told: see :class:`kokon.engine.takeover.TakenOver`.
    """
    signals = Signals()
    held = signals.hold()
    run = TakenOver(told)
    try:
        signals.forward_to(run.process, held)
        # Those that came before we were there come now.
        pthread_sigmask(SIG_SETMASK, run.blocked)
        outcome = run.finish()
    except BaseException:
        run.process.kill()
        raise
    finally:
        signals.drop()
        run.process.close()
        for error in run.close():
            say(f"what the container used is still there, the next command removes it: {error}")
    return concluded(outcome, run.asked, None, signals.ended_by)
