"""``why``: may the program do this?  Answered from the very plan that is enforced.

Three answers: allowed, denied (by which steps), or not decided by the plan.  *Allowed* promises
that the kernel refuses nothing of it but for want of space, memory or processes; what the plan
does not decide (what files a root holds, modes, lists, security modules) is looked up through
:class:`~kokon.plan.answer.Known` or makes the answer *undecided*.
"""

from __future__ import annotations

from kokon.errors import OptionError, nearest
from kokon.kernel import capabilities, constants
from kokon.plan import explain, ops, why_calls, why_files, why_landlock, why_network
from kokon.plan.answer import ALLOWED, DENIED, UNDECIDED, Answer, Known
from kokon.plan.why_rights import Rights

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokon.plan.plan import Plan

FILES = ("read", "write", "create", "execute", "device")
ACTIONS = {
    **dict.fromkeys(FILES, "PATH"),
    "listen": "PORT[/udp]", "connect": "ADDRESS[:PORT]", "call": "[ARCH:]SYSCALL[(ARGUMENTS)]",
    "capability": "NAME", "see": "PID", "signal": "PID", "limit": "NAME",
}  # fmt: skip
"""What can be asked, with what it is asked of."""


def why(
    plan: Plan,
    action: str,
    subject: str,
    known: Known | None = None,
    asked: Mapping[str, str] | None = None,
) -> Answer:
    """Whether the program of a plan may do something, when it begins.

    :param action: one of ACTIONS; :param subject: what it says there.
    :param asked: JSON pointers of the spec to the options that set them.
    :raises OptionError: the question cannot be meant.
    """
    known = known or Known()
    answer = _answer(plan, action, subject, known)
    rows = explain.steps(plan, asked) if answer.numbers else []
    answer.steps = tuple(
        {name: rows[number - 1][name] for name in ("step", "does", "why")}
        for number in answer.numbers
    )
    return answer


def _answer(plan: Plan, action: str, subject: str, known: Known) -> Answer:
    where = f"why {action}"
    if action in FILES:
        if not subject.startswith("/") or "\0" in subject:
            raise OptionError(
                f"{subject!r} is no absolute path", where=where, remedy="begin it with /"
            )
        return why_files.judge(plan, known, action, subject)
    if action == "listen":
        return why_network.listen(plan, known, *_port(subject, where))
    if action == "connect":
        return why_network.connect(plan, known, subject)
    if action == "call":
        return why_calls.call(plan, known, *_call(subject, where))
    if action == "capability":
        name = subject.upper().removeprefix("CAP_")
        capabilities.parse(name, where)
        return Rights(plan, known).capability(name)
    if action in ("see", "signal"):
        _number(subject, where, "a process id")
        return _process(plan, known, action)
    if action == "limit":
        return _limit(plan, known, subject)
    near = nearest(action, ACTIONS)
    raise OptionError(
        f"{action!r} is nothing that can be asked" + (f" (did you mean {near}?)" if near else ""),
        where="why",
        remedy=f"ask for one of {', '.join(ACTIONS)}",
    )


def _number(text: str, where: str, what: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise OptionError(f"{text!r} is not {what}", where=where, remedy="write a number")
    return int(text)


def _port(subject: str, where: str) -> tuple[int, str]:
    text, _, protocol = subject.partition("/")
    port = _number(text, where, "a port")
    if port > 65535 or protocol not in ("", "tcp", "udp"):
        raise OptionError(
            f"{subject!r} is no port", where=where, remedy="write for example 80 or 53/udp"
        )
    return port, protocol or "tcp"


def _call(subject: str, where: str) -> tuple[str, tuple[int | None, ...], str]:
    """``x86:socket(2, _, 0x10)``: name, arguments (None for one not known), architecture."""
    head, bracket, rest = subject.partition("(")
    arch, _, name = head.rpartition(":")
    arguments: list[int | None] = []
    try:
        if bracket and not rest.endswith(")"):
            raise ValueError
        for word in rest[:-1].split(",") if rest[:-1].strip() else ():
            arguments.append(None if word.strip() in ("_", "?") else int(word.strip(), 0))
        if len(arguments) > 6:
            raise ValueError
    except ValueError:
        raise OptionError(
            f"{subject!r} is no call with up to six numbers", where=where,
            remedy="write for example 'socket(2, _, 0)': _ stands for any",
        ) from None  # fmt: skip
    return name.strip(), tuple(arguments), arch


def _process(plan: Plan, known: Known, action: str) -> Answer:
    rights = Rights(plan, known)
    if rights.namespaces & constants.CLONE_NEWPID:
        return Answer(DENIED, "the container has its own processes: no other has a number in it",
                      rights.clone)  # fmt: skip
    refusal = why_landlock.signals(plan) if action == "signal" else None
    return refusal or Answer(
        UNDECIDED, "the container shares the machine's processes: their users decide"
    )


RLIMITS = {"memory": "as", "pids": "nproc", "cpus": "cpu"}
"""What stands for a limit where there is no control group."""


def _limit(plan: Plan, known: Known, name: str) -> Answer:
    for what, value, why_ in known.limits:
        if what == name:
            return Answer(DENIED, f"no more than {value}: a control group's limit [{why_}]")
    for number, op in enumerate(plan.ops, 1):
        if isinstance(op, ops.ResourceLimit) and op.name in (name, RLIMITS.get(name)):
            return Answer(DENIED, f"no more than {explain.limit(op.soft)}: a resource limit of each"
                          " process", number)  # fmt: skip
    known_names = (*constants.RESOURCE_LIMITS, *RLIMITS, *(row[0] for row in known.limits))
    if name not in known_names:
        near = nearest(name, known_names)
        raise OptionError(
            f"there is no limit {name!r}" + (f" (did you mean {near}?)" if near else ""),
            where="why limit", remedy=f"ask for one of {', '.join(dict.fromkeys(known_names))}",
        )  # fmt: skip
    return Answer(
        UNDECIDED, "the plan sets no such limit: that of the caller and the machine holds"
    )


__all__ = ["ACTIONS", "ALLOWED", "DENIED", "UNDECIDED", "Answer", "Known", "why"]
