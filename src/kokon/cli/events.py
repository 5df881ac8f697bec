"""``--events json``: what happens to a run, one JSON object a line, for programs to read.

    prepared   notes, steps
    started    pid
    ended      status, cause, returncode, usage, limits_hit, guarantees, words
    failed     status, error: its class, where, what, errno, remedy; message

Each has ``event`` and ``time`` (seconds since 1970).
"""

from __future__ import annotations

import os

from kokon.errors import KokonError, OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kokon.engine.prepared import Prepared
    from kokon.engine.run import Outcome

WORDS = "write json (to standard error), or json:3 for descriptor 3"


class Events:
    """Where events go; nowhere when ``--events`` is not given.

    :ivar on: somebody wants them.
    :ivar quiet: they stand in for what is said on standard error.
    :raises OptionError: another format, or a descriptor that is not open.
    """

    __slots__ = ("_fd", "on", "quiet")

    def __init__(self, wanted: str | None) -> None:
        self.on = wanted is not None
        self._fd = 2
        if wanted is not None:
            form, colon, number = wanted.partition(":")
            if form != "json" or (colon and not (number.isascii() and number.isdecimal())):
                raise OptionError(
                    f"{wanted!r} is no form of events", where="--events", remedy=WORDS
                )
            if colon:
                self._open(int(number))
        self.quiet = self.on and self._fd == 2

    def _open(self, fd: int) -> None:
        try:
            os.set_inheritable(fd, False)
        except (OSError, OverflowError) as error:
            raise OptionError(
                f"descriptor {fd} is not open", where="--events", remedy=f"write … {fd}>FILE"
            ) from error
        self._fd = fd

    def prepared(self, prepared: Prepared) -> None:
        """All is ready; nothing runs yet."""
        if self.on:
            self._write("prepared", notes=list(prepared.notes), steps=len(prepared.plan.ops))

    def started(self, pid: int) -> None:
        """The container's first process lives.

        :param pid: as this machine numbers it.
        """
        if self.on:
            self._write("started", pid=pid)

    def ended(
        self, prepared: Prepared, outcome: Outcome, status: int, sentences: list[str]
    ) -> None:
        """The program has ended.

        :param status: what kokon exits with.
        :param sentences: what a person would be told.
        """
        if not self.on:
            return
        used: dict[str, Any] = {
            "user_time": outcome.ended.user_time, "system_time": outcome.ended.system_time,
        }  # fmt: skip
        for name in ("peak_memory", "oom_kills", "pids_peak", "throttled"):
            used[name] = getattr(outcome.usage, name, None)
        self._write(
            "ended",
            status=status,
            cause=outcome.cause,
            returncode=outcome.ended.returncode,
            usage=used,
            limits_hit=list(outcome.limits_hit),
            guarantees=prepared.guarantees.to_dict(),
            words=sentences,
        )

    def failed(self, error: KokonError) -> None:
        """The program did not run, or kokon lost sight of it."""
        if self.on:
            fields = {name: getattr(error, name) for name in ("where", "what", "errno", "remedy")}
            self._write(
                "failed",
                status=error.exit_status,
                error={"class": type(error).__name__, **fields},
                message=str(error),
            )

    def _write(self, event: str, **fields: Any) -> None:
        import json
        import time

        line = json.dumps({"event": event, "time": time.time(), **fields}) + "\n"
        try:
            os.write(self._fd, line.encode())
        except OSError:
            pass  # nobody listens
