"""kokon isolates processes on Linux: a library, a command, an OCI runtime.

    import kokon
    result = kokon.run(["python3", "-c", "print(6 * 7)"], root="@python", capture_output=True)

Where things are, from the lowest layer up (an import only ever goes down):

    errors, paths     every exception, sorted by what the caller may do next; every path
    kernel, spec      Linux as numbers and thin calls; OCI documents as values
    plan, security    ops, wire format, explain, checks; filters, id maps, masks
    cgroup, compile   limits; spec + facts -> plan (compile/container.py is its table of contents)
    runtime, image,   the only place where a plan runs; tarballs; roots and their storage
    storage
    config            what a person asks -> spec
    engine            a run from beginning to end
    api, cli          the two ways in
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import CalledProcessError, TimeoutExpired

    from kokon.api import DEVNULL, PIPE, STDOUT, CompletedProcess, Usage, run
    from kokon.errors import (
        ArchiveError,
        CommandError,
        HostError,
        KokonError,
        OptionError,
        OutcomeUnknown,
        RequestError,
        RetryError,
        RootError,
        SpecError,
        StepError,
        UserError,
    )

__version__ = "0.1.0"

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "ArchiveError",
    "CalledProcessError",
    "CommandError",
    "CompletedProcess",
    "HostError",
    "KokonError",
    "OptionError",
    "OutcomeUnknown",
    "RequestError",
    "RetryError",
    "RootError",
    "SpecError",
    "StepError",
    "TimeoutExpired",
    "Usage",
    "UserError",
    "run",
]

_API = frozenset(("DEVNULL", "PIPE", "STDOUT", "CompletedProcess", "Usage", "run"))
_SUBPROCESS = frozenset(("CalledProcessError", "TimeoutExpired"))


def __getattr__(name: str) -> object:
    """Everything public is loaded when it is first used: ``import kokon`` itself costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'kokon' has no attribute {name!r}")
    if name in _SUBPROCESS:
        import subprocess as module
    elif name in _API:
        from kokon import api as module  # type: ignore[no-redef]
    else:
        from kokon import errors as module  # type: ignore[no-redef]
    value: object = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
