"""``compile_container``: a spec, a machine and a root become the plan that makes the container.

Each line below is one concern and one file.  Their order is the order of the plan in each of its
three parts: before Clone, in stage 1 after it, and in stage 2 (``plan/barriers.py``).
"""

from __future__ import annotations

from kokon.compile import (
    confinement,
    devices,
    filesystems,
    masks,
    mounts,
    namespaces,
    process,
    roots,
    terminal,
)
from kokon.compile.builder import Builder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.compile.inputs import Launch, RootFacts
    from kokon.kernel.facts import HostFacts
    from kokon.plan.plan import Plan
    from kokon.spec.runtime import Spec


def compile_container(spec: Spec, host: HostFacts, root: RootFacts, launch: Launch) -> Plan:
    """The plan of a new container: pure, the same values give the same plan.

    :raises kokon.errors.SpecError: the spec asks for what cannot be meant, with its JSON pointer.
    :raises kokon.errors.HostError: it asks for what this machine does not have.
    """
    if launch.reach:
        from kokon.compile.lowest import compile_lowest

        return compile_lowest(spec, host, root, launch, launch.reach)
    plan = Builder(spec, host, root, launch)
    namespaces.take_cgroups(plan)  # descriptors of cgroups, handed over by the runtime
    if launch.waits:
        from kokon.compile import lifecycle

        lifecycle.take_listener(plan)  # the socket on which an OCI container is started
    namespaces.clone(plan)  # stage 2 in its new namespaces, its ids mapped
    process.adjust(plan)  # what only the outside may set of it
    process.begin(plan)  # cgroups, signals, session, propagation, a procfs of our own, labels
    devices.make(plan)  # a /dev of our own, not yet mounted
    roots.make(plan)  # the root file system, not yet mounted
    mounts.take_sources(plan)  # volumes: what they show, taken from the host
    namespaces.release(plan)  # stage 1 ends, stage 2 goes on
    namespaces.configure(plan)  # host name, loopback, sysctls
    roots.attach(plan)  # the root in place
    filesystems.mount(plan)  # /proc, /sys, /dev, volumes, in the order of the spec
    terminal.make(plan)  # a pty of the container's devpts
    if launch.waits:
        lifecycle.run_hooks(plan, "createContainer")  # while the machine's files are there
    masks.cover(plan)  # what of /proc and /sys is hidden or read-only
    roots.seal(plan)  # read-only where asked, pivot_root, the old root gone
    if launch.box:
        from kokon.compile import box

        box.hand_over(plan)  # the namespaces, to be entered by programs; nothing runs yet
        return plan.plan()
    process.place(plan)  # umask, working directory
    if launch.waits:
        lifecycle.await_start(plan)  # created; goes on when it is started
    confinement.drop(plan)  # limits, ids, capabilities, no new privileges, Landlock, the filter
    if launch.waits:
        lifecycle.run_hooks(plan, "startContainer")
    process.execute(plan)  # descriptors closed, the program runs
    if spec.linux.mount_label:
        from kokon.compile import mount_label

        mount_label.apply(plan)
    return plan.plan()
