"""What a plan says to listening and connecting."""

from __future__ import annotations

from kokon.kernel import constants
from kokon.plan import ops, why_calls, why_landlock
from kokon.plan.answer import ALLOWED, DENIED, UNDECIDED, Answer
from kokon.plan.why_rights import Rights, step_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.plan.answer import Known
    from kokon.plan.plan import Plan

PORT_START = 1024
"""What ip_unprivileged_port_start is in a new network namespace (ip-sysctl.rst)."""

INTERNET, STREAM, DATAGRAM = 2, 1, 2


def listen(plan: Plan, known: Known, port: int, protocol: str) -> Answer:
    """Whether a port can be listened on, at all addresses of IPv4."""
    kind = STREAM if protocol == "tcp" else DATAGRAM
    calls = [("socket", (INTERNET, kind, 0)), ("bind", ())]
    if protocol == "tcp":
        calls.append(("listen", ()))
    through = why_calls.needed(plan, known, *calls)
    if through is not None and through.verdict == DENIED:
        return through
    if protocol == "tcp":
        refusal = why_landlock.port(plan, constants.LANDLOCK_BIND, port)
        if refusal is not None:
            return refusal
    rights = Rights(plan, known)
    answer = _listen(plan, known, rights, port)
    if answer.allowed and through is not None:
        return through
    if answer.allowed and rights.labelled:
        return Answer(UNDECIDED, "a security module's label decides", rights.labelled)
    return answer


def _listen(plan: Plan, known: Known, rights: Rights, port: int) -> Answer:
    own = bool(rights.namespaces & constants.CLONE_NEWNET)
    start, set_by = (PORT_START, 0) if own else (known.port_start, 0)
    for number, op in enumerate(plan.ops, 1):
        if isinstance(op, ops.WriteProc) and op.path == "sys/net/ipv4/ip_unprivileged_port_start":
            start, set_by = int(op.content), number
    # Over the host's network a capability counts only in the host's user namespace.
    may = rights.has("NET_BIND_SERVICE") and (own or not rights.user_namespace)
    if start is None and port and not may:
        return Answer(UNDECIDED, "the host's ip_unprivileged_port_start decides")
    if port and start is not None and port < start and not may:
        if rights.has("NET_BIND_SERVICE"):
            return Answer(DENIED, f"ports below {start} of the host's network need its own"
                          " NET_BIND_SERVICE", rights.clone)  # fmt: skip
        return Answer(
            DENIED, f"ports below {start} need NET_BIND_SERVICE, which the program does not have",
            *rights.lost("NET_BIND_SERVICE"), set_by,
        )  # fmt: skip
    if not own:
        return Answer(UNDECIDED, "another program of this machine may have the port")
    if port and start is not None and port >= start:
        return Answer(
            ALLOWED, f"any program may have a port from {start} on, and the container's network is"
            " its own", rights.clone, set_by,
        )  # fmt: skip
    if not port:
        return Answer(ALLOWED, "0 is any free port, and the container's network is its own",
                      rights.clone)  # fmt: skip
    return Answer(ALLOWED, "the program has NET_BIND_SERVICE over a network of its own",
                  rights.clone, rights.kept)  # fmt: skip


def connect(plan: Plan, known: Known, address: str) -> Answer:
    """Whether an address can be reached by TCP; who listens there is another question.

    :raises OptionError: it is no address.
    """
    host, port = _address(address)
    family = INTERNET if host.version == 4 else 10
    through = why_calls.needed(plan, known, ("socket", (family, STREAM, 0)), ("connect", ()))
    if through is not None and through.verdict == DENIED:
        return through
    refusal = why_landlock.port(plan, constants.LANDLOCK_CONNECT, port)
    if refusal is not None:
        return refusal
    rights = Rights(plan, known)
    if not rights.namespaces & constants.CLONE_NEWNET:
        return Answer(UNDECIDED, "it is the host's network: its routes and filters decide")
    if not (host.is_loopback or host.is_unspecified):
        return Answer(
            DENIED, "the container's own network has loopback only: there is no way to it",
            rights.clone,
        )  # fmt: skip
    if host.version == 6:
        return Answer(UNDECIDED, "it is the container's own loopback, if this kernel has IPv6")
    if through is not None:
        return through
    loopback = step_of(plan, ops.Loopback)
    if not loopback:
        return Answer(DENIED, "the container's loopback is down", rights.clone)
    if rights.labelled:
        return Answer(UNDECIDED, "a security module's label decides", rights.labelled)
    return Answer(ALLOWED, "it is the container's own loopback, not this machine's", rights.clone,
                  loopback)  # fmt: skip


if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address


def _address(text: str) -> tuple[IPv4Address | IPv6Address, int | None]:
    from ipaddress import ip_address

    from kokon.errors import OptionError

    host, colon, port = text.rpartition(":")
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif not colon or text.count(":") > 1:
        host, port = text, ""
    try:
        if port and not (port.isascii() and port.isdecimal() and int(port) <= 65535):
            raise ValueError
        return ip_address("127.0.0.1" if host == "localhost" else host), int(port) if port else None
    except ValueError:
        raise OptionError(
            f"{text!r} is no address", where="why connect",
            remedy="write for example 10.0.0.1:80, [::1]:80 or localhost",
        ) from None  # fmt: skip
