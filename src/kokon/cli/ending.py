"""How a run ended, as an exit status and in words."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokon.cgroup.usage import Hit
    from kokon.engine.run import Outcome

TIMED_OUT = 124
"""As timeout(1) has it; Docker has no such end."""


def status(outcome: Outcome, ended_by: int = 0) -> int:
    """The exit status: the program's own, 128 and the signal, 124 after a timeout.

    :param ended_by: the signal for which kokon ended the container, or 0.
    """
    if outcome.cause == "timeout":
        return TIMED_OUT
    code = outcome.ended.returncode
    if code >= 0:
        return code
    return 128 + (ended_by if ended_by and code == -9 else -code)


def sentences(outcome: Outcome, asked: Mapping[str, str], timeout: str | None) -> list[str]:
    """What a person wants to know of an end that was not the program's own doing.

    :param asked: JSON pointers of the spec to the options that set them.
    :param timeout: what ``--timeout`` says.
    """
    said = []
    if outcome.cause == "timeout":
        said.append(f"the container was ended because its time was over (--timeout {timeout})")
    for hit in outcome.hits:
        if hit.limit == "memory":
            said.append(_memory(hit, outcome, asked))
        elif hit.limit == "pids":
            words = asked.get("/linux/resources/pids/limit", "")
            said.append(
                f"the container's limit of {hit.amount} processes{_by(words)} was met: the kernel"
                f" refused it {hit.count} more"
            )
    return said


def _memory(hit: Hit, outcome: Outcome, asked: Mapping[str, str]) -> str:
    """Which limit, of whom, how much."""
    peak = outcome.usage.peak_memory if outcome.usage else None
    if outcome.cause == "memory":
        who = "the program was ended"
    else:
        who = "a process was ended" if hit.count == 1 else f"{hit.count} processes were ended"
    if hit.own:
        limit = f" of {size(hit.amount)}" if hit.amount is not None else ""
        words = asked.get("/linux/resources/memory/limit", "")
        said = f"{who} by the container's memory limit{limit}{_by(words)}"
    else:
        said = f"{who} because memory ran out above the container, on the machine or in its group"
    return said if peak is None else f"{said}; its memory was {size(peak)} at most"


def size(count: int) -> str:
    """Bytes as a person writes them: ``100 MiB``, ``1.5 GiB``."""
    amount = float(count)
    unit = 0
    while amount >= 1024 and unit < 4:
        amount /= 1024
        unit += 1
    number = f"{amount:.1f}".removesuffix(".0")
    return f"{number} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[unit]}"


def _by(words: str) -> str:
    return f" ({words})" if words else ""
