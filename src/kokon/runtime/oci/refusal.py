"""The error of a first process, or of one that joins, that could not be made."""

from __future__ import annotations

from kokon.errors import HostError
from kokon.runtime.oci.start import cannot_execute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.errors import KokonError
    from kokon.kernel.facts import HostFacts
    from kokon.plan.plan import Plan
    from kokon.runtime.spawn import Report


def refused(plan: Plan, failed: Report | None, host: HostFacts) -> KokonError:
    """The error of a container that could not be made."""
    from kokon.plan.ops import Execute, FindProgram
    from kokon.runtime.failure import failure

    if failed is None:
        return HostError(
            "init was ended before it could report",
            remedy="see the kernel's log (dmesg): memory may have run out",
        )
    last = plan.ops[-1]
    if isinstance(plan.ops[failed.op], FindProgram) and isinstance(last, Execute):
        return cannot_execute(last.arguments[0] or "", failed.error, failed.detail, "")
    return failure(plan, failed, host, {})
