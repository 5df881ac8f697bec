"""What is done outside while a container's first process waits, between clone and release."""

from __future__ import annotations

from kokon.runtime.oci import hooks
from kokon.runtime.oci.record import start_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kokon.runtime.oci.record import Record
    from kokon.spec.runtime import Spec


def prepare(
    spec: Spec,
    record: Record,
    states: Mapping[str, int],
    undo: list[Callable[[], object]],
    closing: list[Callable[[], object]],
) -> Callable[[int], None] | None:
    """What is to be called with the pid, if there is anything; its class of service is made now.

    :param states: files of the states that hooks inside are told.
    """
    outside = spec.hooks
    hooked = bool(states or (outside and (outside.prestart or outside.create_runtime)))
    devices, rdt = spec.linux.net_devices, spec.linux.intel_rdt
    if rdt is not None:
        from kokon.runtime.oci import resctrl

        resctrl.place(resctrl.find(), rdt, record, undo)
    if not hooked and not devices and rdt is None:
        return None

    def turn(pid: int) -> None:
        if rdt is not None:
            resctrl.join(record, pid)
        if devices:
            from kokon.runtime.oci import net_devices

            # Hooks find them there.
            net_devices.move(devices, pid, undo, closing)
        if hooked:
            record.values.update(pid=pid, pid_start=start_of(pid))
            state = record.state("creating")
            hooks.tell(states, record)
            assert spec.hooks is not None
            hooks.run("prestart", spec.hooks.prestart, state)
            hooks.run("createRuntime", spec.hooks.create_runtime, state)

    return turn
