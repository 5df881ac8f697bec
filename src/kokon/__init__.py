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
    api, cli          the two ways in; aio is the first one for asyncio
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon import aio as aio
    from kokon.aio import run as arun
    from kokon.aio import stream as astream
    from kokon.api.calls import popen, run, why
    from kokon.api.completed import CompletedProcess, Usage
    from kokon.api.ends import CalledProcessError, OutputExceeded, TimeoutExpired
    from kokon.api.pipes import DEVNULL, PIPE, STDOUT
    from kokon.api.process import Popen
    from kokon.api.sandbox import Sandbox
    from kokon.engine.doctor import examine as doctor
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

_HOMES = {
    "aio": ("arun", "astream"),
    "api.calls": ("popen", "run", "why"),
    "api.completed": ("CompletedProcess", "Usage"),
    "api.ends": ("CalledProcessError", "OutputExceeded", "TimeoutExpired"),
    "api.pipes": ("DEVNULL", "PIPE", "STDOUT"),
    "api.process": ("Popen",),
    "api.sandbox": ("Sandbox",),
    "engine.doctor": ("doctor",),
    "errors": (
        "ArchiveError", "CommandError", "HostError", "KokonError", "OptionError", "OutcomeUnknown",
        "RequestError", "RetryError", "RootError", "SpecError", "StepError", "UserError",
    ),
}  # fmt: skip
"""Modules, and the public names that they are the home of."""

_OTHER_NAMES = {"arun": "run", "astream": "stream", "doctor": "examine"}
"""Names that are others in their homes."""

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
    "OutputExceeded",
    "Popen",
    "RequestError",
    "RetryError",
    "RootError",
    "Sandbox",
    "SpecError",
    "StepError",
    "TimeoutExpired",
    "Usage",
    "UserError",
    "aio",
    "arun",
    "astream",
    "doctor",
    "popen",
    "run",
    "why",
]


def __getattr__(name: str) -> object:
    """Everything public is loaded when it is first used: ``import kokon`` itself costs nothing."""
    if name == "aio":
        return __import__("kokon.aio", fromlist=("aio",))
    for module, names in _HOMES.items():
        if name in names:
            home = __import__(f"kokon.{module}", fromlist=names)
            value: object = getattr(home, _OTHER_NAMES.get(name, name))
            globals()[name] = value
            return value
    raise AttributeError(f"module 'kokon' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
