"""Ends that are raised: subclasses of subprocess's exceptions, with all that kokon knows.

Loaded when one of them is first asked for, because subprocess costs several times a start.
"""

from __future__ import annotations

import subprocess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from kokon.api.completed import CompletedProcess


class TimeoutExpired(subprocess.TimeoutExpired):
    """The time was over.

    :ivar result: the run, which has been ended; None while it goes on (``Popen.wait``).
    """

    def __init__(
        self,
        args: Sequence[str],
        timeout: float,
        result: CompletedProcess | None = None,
    ) -> None:
        output: Any = result.stdout if result else None
        error: Any = result.stderr if result else None
        super().__init__(list(args), timeout, output=output, stderr=error)
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        return TimeoutExpired, (self.cmd, self.timeout, self.result)


class CalledProcessError(subprocess.CalledProcessError):
    """The program ended with another status than 0.

    :ivar result: the run.
    """

    def __init__(self, result: CompletedProcess) -> None:
        super().__init__(result.returncode, list(result.args), result.stdout, result.stderr)
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        return CalledProcessError, (self.result,)


class OutputExceeded(subprocess.SubprocessError):
    """The program printed more than ``max_output``, and was ended (``overflow="error"``).

    :ivar result: the run, with what was printed until then.
    """

    def __init__(self, result: CompletedProcess, ceiling: int) -> None:
        super().__init__(result, ceiling)
        self.result = result
        self.ceiling = ceiling

    def __str__(self) -> str:
        return f"{self.result.args[0]!r} printed more than {self.ceiling} bytes and was ended"
