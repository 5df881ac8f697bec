"""A step that the kernel refused, as an exception with words."""

from __future__ import annotations

import os
from errno import EACCES, ECHILD, ENOENT, ENOEXEC, ENOTDIR

from kokon.errors import CommandError, HostError, KokonError, StepError
from kokon.plan import ops
from kokon.plan.explain import sentence
from kokon.plan.provenance import asked_by
from kokon.plan.remedies import remedy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokon.kernel.facts import HostFacts
    from kokon.plan.plan import Plan
    from kokon.runtime.spawn import Report


def failure(plan: Plan, report: Report, host: HostFacts, asked: Mapping[str, str]) -> KokonError:
    """What a failed report means: the step in the words of explain, the call, what to do."""
    if report.op >= len(plan.ops) or not plan.ops:
        return HostError(
            "init cannot read its plan",
            errno=report.error,
            remedy="this is a mistake in kokon: report it with the command",
        )
    op = plan.ops[report.op]
    if isinstance(op, ops.Execute):
        return command_error(op, report, host)
    if report.error == ECHILD and report.detail >= HOOK_STATUS:
        where = asked_by(op.why, asked)
        return HostError(f"{sentence(op)}: {hook_status(report.detail)}", where=where)
    call = op.STEPS[report.detail] if report.detail < len(op.STEPS) else ""
    what = sentence(op) + (f": {call}" if call else "")
    return StepError(
        what,
        step=report.op + 1,
        steps=len(plan.ops),
        why=asked_by(op.why, asked),
        errno=report.error,
        remedy=remedy(type(op), report.error, host),
    )


HOOK_STATUS = 64
"""Above it the detail of a hook that failed is its wait status (init/lifecycle.c)."""


def hook_status(detail: int) -> str:
    """How a hook ended."""
    status = os.waitstatus_to_exitcode(detail - HOOK_STATUS)
    return f"it failed with status {status}" if status > 0 else f"signal {-status} ended it"


def command_error(op: ops.Execute, report: Report, host: HostFacts) -> CommandError:
    """Docker's statuses: 127 for a program that is not there, 126 for one that cannot run."""
    name = op.arguments[0] or ""
    exists = report.detail & 1
    if report.error in (ENOENT, ENOTDIR) and not exists:
        where = "" if "/" in name else f" in {_path(op)}"
        return CommandError(
            f"{name!r} was not found in the root{where}",
            exit_status=127,
            remedy="name a program that the root has",
        )
    if report.error == ENOENT:
        return CommandError(
            f"{name!r} is there, but the interpreter or loader it names is not",
            exit_status=127,
            remedy="look at its first line (#!) or its ELF interpreter, and put that into the root",
        )
    if report.error == ENOEXEC:
        return CommandError(
            f"{name!r} is no program for this machine ({host.architecture}), nor a script with #!",
            exit_status=126,
            remedy="begin a script with a line like #!/bin/sh; a program's root has to be for this"
            " architecture",
        )
    if report.error == EACCES:
        return CommandError(
            f"{name!r} may not be executed by this user",
            exit_status=126,
            errno=report.error,
            remedy="see that it is a file, its mode (chmod +x) and its mount's (noexec)",
        )
    return CommandError(
        f"{name!r} cannot be executed: {os.strerror(report.error)}", exit_status=126
    )


def _path(op: ops.Execute) -> str:
    entry = next((e for e in op.environment if e and e.startswith("PATH=")), "PATH=")
    return entry if entry != "PATH=" else "the default PATH"
