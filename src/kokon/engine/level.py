"""Which level a run is made at: what a machine has refused is learned once, and gone without."""

from __future__ import annotations

import os

from kokon.compile import lacks
from kokon.compile.lacks import NAMESPACES
from kokon.config import levels
from kokon.config.levels import NeedsNamespaces
from kokon.engine import plans
from kokon.engine.mappings import MappingRefused
from kokon.errors import HostError, OptionError
from kokon.plan.ops import HandOver
from kokon.runtime.spawn import REPORT_STARTED
from kokon.security.ladder import Guarantees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.config.options import Options
    from kokon.engine.ground import Ground
    from kokon.engine.prepared import Prepared
    from kokon.engine.roots import FoundRoot
    from kokon.engine.undo import Undo
    from kokon.errors import KokonError
    from kokon.kernel.facts import HostFacts
    from kokon.plan.plan import Plan
    from kokon.runtime.spawn import Report, Spawned

_learned: dict[object, tuple[str, ...]] = {}
"""What was refused to this process, by level and the user namespace that it was in."""

LOOK = 50
"""Milliseconds after which it is looked whether init runs yet, if its reports do not end."""


def lacking(options: Options, host: HostFacts) -> tuple[str, ...]:
    """What a run at this level goes without from the start.

    :raises OptionError: there is no such level.
    """
    word = levels.level(options)
    if word == "full":
        return ()
    names = _learned.get(_here(word), ())
    # Without an id that is mapped no user namespace can be made (user_namespaces(7)).
    none = not host.is_root and not (host.user_namespaces and host.uid_map)
    if host.is_root and not host.user_namespaces and word == "best":
        names = (lacks.USER_NAMESPACE, *names)
    if NAMESPACES not in names and (word == "landlock" or none):
        return (NAMESPACES, *names)
    if options.network != "host" and _no_networks():
        names = (lacks.NETWORK_NAMESPACE, *names)
    return names


def _no_networks() -> bool:
    """Whether no network namespace can be made: there are none, or no more."""
    if not os.path.exists("/proc/self/ns/net"):
        return True
    try:
        with open("/proc/sys/user/max_net_namespaces", "rb") as file:
            return file.read().strip() == b"0"
    except OSError:
        return False


def _here(word: str) -> tuple[object, ...]:
    return word, os.getpid(), os.readlink("/proc/self/ns/user")


def notes(names: tuple[str, ...]) -> tuple[str, ...]:
    """What a person should know of a run that goes without these."""
    return (*((LOWEST,) if NAMESPACES in names else ()), *lacks.notes(names))


def learn(prepared: Prepared, report: Report | None, error: KokonError) -> bool:
    """Notes what a refusal means for the next plan; whether there is one."""
    name = _meant(prepared.plan, report, prepared.without)
    if isinstance(error, MappingRefused) and lacks.SUBORDINATE_IDS not in prepared.without:
        name = lacks.SUBORDINATE_IDS
    if name:
        key = _here(levels.level(prepared.options))
        _learned[key] = tuple(dict.fromkeys((*_learned.get(key, ()), *prepared.without, name)))
    return bool(name)


def _meant(plan: Plan, report: Report | None, names: tuple[str, ...]) -> str:
    if report is None or report.op >= len(plan.ops):
        return ""
    op = plan.ops[report.op]
    row = lacks.lack_of(op, report.error, plan)
    if row is not None and row.name not in names:
        return row.name
    if NAMESPACES not in names and lacks.is_foundation(op, report.error):
        return NAMESPACES
    return ""


def lowest(options: Options, found: FoundRoot, box: bool, undo: Undo) -> Ground:
    """What a program stands on where there are no namespaces.

    :raises NeedsNamespaces: what is asked cannot be had without them.
    """
    from kokon.engine.ground import Ground

    if box:
        raise NeedsNamespaces(
            "a box is made of namespaces", where=options.words("level"), remedy="use kokon.run"
        )
    levels.check_lowest(options)
    assert found.assembly is not None
    return Ground(found.assembly, bool(options.packages), undo)


def advise(error: KokonError, plan: Plan, report: Report | None, found: FoundRoot) -> None:
    """Adds what ``--level best`` would do about a refusal."""
    name = _meant(plan, report, ())
    if isinstance(error, MappingRefused):
        name = lacks.SUBORDINATE_IDS
    if name == NAMESPACES and found.assembly:
        add(error, WITHOUT_NAMESPACES)
    elif name and name != NAMESPACES:
        add(error, f"--level best goes on without it: {lacks.notes((name,))[0]}")


LOWEST = "there are no namespaces: Landlock and filters hold the program (docs/levels.md)"
WITHOUT_NAMESPACES = "--level best runs it without namespaces, by Landlock and filters alone"


def add(error: KokonError, words: str) -> None:
    """Another thing to do about an error."""
    error.remedy = "; or: ".join(part for part in (error.remedy, words) if part)


def guarantees(prepared: Prepared) -> Guarantees:
    """What holds, read off the plan and the control groups that were made; once for a kept plan."""
    key = _kind(prepared)
    found = _held.get(key)
    if found is None:
        found = _read_off(prepared)
        if prepared.plan.template is not None:
            plans.keep(_held, key, found)
    return found


_held: dict[object, Guarantees] = {}
_met: dict[object, bool] = {}
"""Kinds of runs that hold what they require."""


def _kind(prepared: Prepared) -> tuple[object, ...]:
    """Equal for runs with the same plan but for the program, and so with the same options."""
    return prepared.plan.template, prepared.limits.manager is None, prepared.without


def _read_off(prepared: Prepared) -> Guarantees:
    from kokon.compile.guarantees import rungs

    rung = "cgroup" if prepared.limits.manager else "rlimits"
    single = dict.fromkeys(levels.asked_limits(prepared.options), rung)
    limits = rung if single else "none"
    notes = lacks.notes(prepared.without)
    held = {**rungs(prepared.plan), "limits": limits}
    if isinstance(prepared.plan.ops[-1], HandOver) and prepared.configuration.spec.linux.seccomp:
        held["system_calls"] = "filter"  # a box has no program; each of its programs loads it
    return Guarantees(held, single, notes)


def await_running(spawned: Spawned, terminal: bool) -> Report | None:
    """Waits until the program runs, or a step has failed: the report of that."""
    import select

    if terminal:
        spawned.await_terminal()
    poll = select.poll()
    poll.register(spawned.report_fd, select.POLLIN)
    while not spawned.failed:
        if poll.poll(LOOK):
            report = spawned.read()
            if report is None or report.kind == REPORT_STARTED:
                break
        elif _runs_another(spawned.pid):
            # Another thread has forked, and its child holds our pipe's writing end too.
            break
    return spawned.failed


def _runs_another(pid: int) -> bool:
    """Whether a process is not init any more."""
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read().strip() != b"kokon-init"
    except OSError:
        return True


def check_requirements(prepared: Prepared) -> None:
    """Everything that is required is guaranteed.

    :raises HostError: a requirement is not held here.
    """
    key = _kind(prepared)
    if key in _met:
        return
    for name in levels.requirements(prepared.options):
        guarantee = prepared.guarantees[name]
        if guarantee.holds:
            continue
        single = name not in ("files", "processes", "network", "system_calls")
        raise HostError(
            f"it is required, and here {guarantee.by}",
            where=f"--require {name.replace('_', '-')}",
            remedy="leave --limits best-effort and --level out, and the error says how to get it"
            if single
            else "leave --level out, and the error says how to get it",
        )
    if prepared.plan.template is not None:
        plans.keep(_met, key, True)


def impossible(cause: OptionError) -> HostError | None:
    """The error of a run at the level ``best`` that can have neither namespaces nor the lowest
    rung; None where it is not the machine's fault."""
    if not isinstance(cause, NeedsNamespaces):
        return None
    from kokon.kernel import facts
    from kokon.plan.remedies import user_namespaces

    return HostError(
        f"this machine gives no namespaces: {cause.what}",
        where=cause.where,
        remedy=f"{user_namespaces(facts.current())}; or {cause.remedy}",
    )
