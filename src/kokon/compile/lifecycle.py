"""What an OCI container has beside a run's: namespaces that others made, and a start of its own."""

from __future__ import annotations

from kokon.compile.process import candidates
from kokon.errors import SpecError
from kokon.kernel.constants import NAMESPACES, SECCOMP_NEW_LISTENER
from kokon.plan.ops import AwaitStart, FindProgram, Hook, Join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.compile.builder import Builder
    from kokon.spec.oci.values import Hooks

WHY = "/linux/namespaces"
ORDER = ("user", "pid", "network", "ipc", "uts", "cgroup", "time")
"""In which given namespaces are entered: the user namespace gives the right to the others."""


def given(plan: Builder) -> dict[str, int]:
    """Indices of the namespaces of the spec that are named by a path, by kind."""
    namespaces = plan.spec.linux.namespaces
    return {each.type: at for at, each in enumerate(namespaces) if each.path}


def join(plan: Builder) -> None:
    """Stage 1 enters what others made; stage 2 is cloned into it."""
    found = given(plan)
    if "mount" in found:
        raise SpecError(
            "a container's mounts cannot be made in another's mount namespace",
            where=f"{WHY}/{found['mount']}/path",
            remedy="leave the path out: use exec to run a program there",
        )
    slots = {kind: plan.inherit(f"namespace:{kind}") for kind in ORDER if kind in found}
    for kind, slot in slots.items():
        why = f"{WHY}/{found[kind]}/path"
        plan.before.append(Join(slot, NAMESPACES[kind], kind, why=why))
    if "user" in found:
        # From here on nothing of the host may be mounted: sources are taken before.
        plan.privileged = False
        plan.joins_user = True
        plan.user_namespace_slot = slots["user"]


def take_listener(plan: Builder) -> None:
    """The socket on which the container is started, and files with its state for hooks inside."""
    plan.listener_slot = plan.inherit("start")
    for kind in hooks_inside(plan.spec.hooks):
        plan.states[kind] = plan.inherit(f"state:{STATUS[kind]}")
    take_agent(plan)


AGENT, TOLD = "agent", "agent:state"
"""What the plan calls the connection to who gets the filter's listener, and the state for it."""


def take_agent(plan: Builder) -> None:
    """Both, where the filter has a listener."""
    filter_, scheduler = plan.spec.linux.seccomp, plan.spec.process.scheduler
    if filter_ is None or not filter_.flags & SECCOMP_NEW_LISTENER:
        return
    if scheduler and scheduler.policy in ("SCHED_FIFO", "SCHED_DEADLINE"):
        # init waits without a call, and would keep its sending thread from the only processor;
        # with SCHED_DEADLINE there is no second thread at all (sched(7)).
        raise SpecError(
            f"a filter's listener is not possible with {scheduler.policy}",
            where="/process/scheduler/policy", remedy="use SCHED_RR, or no SCMP_ACT_NOTIFY",
        )  # fmt: skip
    plan.agent_slots = plan.inherit(AGENT), plan.inherit(TOLD)


STATUS = {"createContainer": "creating", "startContainer": "created"}
"""Kinds of hooks that init runs, and the status that they are told (runtime.md, Lifecycle)."""


def hooks_inside(hooks: Hooks | None) -> tuple[str, ...]:
    """The kinds of hooks inside the container that there are."""
    if hooks is None:
        return ()
    lists = (hooks.create_container, hooks.start_container)
    return tuple(kind for kind, found in zip(STATUS, lists, strict=True) if found)


def run_hooks(plan: Builder, kind: str) -> None:
    """The hooks of one kind, in their order: createContainer before the pivot, with paths of the
    machine; startContainer with the program's own rights, under its filter."""
    hooks = plan.spec.hooks
    if hooks is None or kind not in plan.states:
        return
    found = hooks.create_container if kind == "createContainer" else hooks.start_container
    for at, hook in enumerate(found):
        plan.add(Hook(
            plan.states[kind], hook.path, hook.args or (hook.path,), hook.env or (), kind,
            hook.timeout or 0, why=f"/hooks/{kind}/{at}",
        ))  # fmt: skip


def await_start(plan: Builder) -> None:
    """The container is made; its rights are taken, and the program runs, when it is started."""
    process = plan.spec.process
    plan.add(FindProgram(candidates(process.args[0], process.env), why="/process/args"))
    plan.add(AwaitStart(plan.listener_slot, why="create"))
