"""Network devices by rtnetlink(7): looked up, moved, named, given addresses, set up."""

from __future__ import annotations

import os
from errno import EBUSY
from struct import Struct, pack, unpack_from

from kokon.kernel.constants import CLONE_NEWNET

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Iterator, Mapping

NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_GETLINK, RTM_SETLINK, RTM_NEWADDR, RTM_GETADDR = 16, 18, 19, 20, 22
REQUEST, ACK, DUMP, CREATE, EXCLUSIVE = 0x1, 0x4, 0x300, 0x400, 0x200
INTERRUPTED = 0x10  # NLM_F_DUMP_INTR: something was changed while it was listed
ERROR_HAS_WORDS = 0x200  # NLM_F_ACK_TLVS
IFLA_IFNAME, IFLA_NET_NS_FD, IFLA_NEW_IFINDEX, IFLA_PROP_LIST = 3, 28, 49, 52
IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_BROADCAST, IFA_CACHEINFO, IFA_FLAGS, IFA_RT_PRIORITY = (
    1, 2, 3, 4, 6, 8, 9,
)  # fmt: skip
IFF_UP = 1
IFA_F_TEMPORARY, IFA_F_PERMANENT = 0x01, 0x80
CONFIGURED = 0x02 | 0x10 | 0x100 | 0x200 | 0x400
"""IFA_F_NODAD, _HOMEADDRESS, _MANAGETEMPADDR, _NOPREFIXROUTE, _MCAUTOJOIN: those that whoever adds
an address chooses; the kernel sets the rest."""
KEPT = frozenset((IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_CACHEINFO, IFA_RT_PRIORITY))
GLOBAL = 0  # RT_SCOPE_UNIVERSE

HEAD = Struct("=IHHII")
LINK = Struct("=BxHiII")
ADDRESS = Struct("=BBBBI")
ATTRIBUTE = Struct("=HH")
TYPE_MASK = 0x3FFF  # NLA_TYPE_MASK

SOL_NETLINK, CAP_ACK, EXT_ACK = 270, 10, 11
PATIENCE = 10


class NetlinkError(OSError):
    """The kernel's refusal.

    :ivar words: what it says beside the number, often nothing.
    """

    def __init__(self, number: int, words: str = "") -> None:
        super().__init__(number, os.strerror(number))
        self.words = words


class Link:
    """A network device: ``index`` and ``name`` in its namespace, ``up`` as it is set to be."""

    __slots__ = ("index", "name", "up")

    def __init__(self, index: int, name: str, up: bool) -> None:
        self.index = index
        self.name = name
        self.up = up


class Address:
    """An address of a device, with all that it takes to add it once more.

    :ivar permanent: it has no end (IFA_F_PERMANENT); :ivar temporary: of IPv6, made by the kernel.
    :ivar scope: 0 is the universe.
    """

    __slots__ = ("_values", "family", "flags", "label", "prefix", "scope")

    def __init__(
        self, family: int, prefix: int, flags: int, scope: int, values: Mapping[int, bytes]
    ) -> None:
        self.family = family
        self.prefix = prefix
        self.flags = flags
        self.scope = scope
        self.label = values.get(IFA_LABEL, b"").rstrip(b"\0").decode("utf-8", "surrogateescape")
        self._values = {key: value for key, value in values.items() if key in KEPT}

    def __str__(self) -> str:
        import _socket

        value = self._values.get(IFA_LOCAL) or self._values.get(IFA_ADDRESS, b"")
        return f"{_socket.inet_ntop(self.family, value)}/{self.prefix}"

    @property
    def permanent(self) -> bool:
        return bool(self.flags & IFA_F_PERMANENT)

    @property
    def temporary(self) -> bool:
        import _socket

        return self.family == _socket.AF_INET6 and bool(self.flags & IFA_F_TEMPORARY)

    def message(self, index: int, label: str) -> bytes:
        """To add it to a device."""
        body = ADDRESS.pack(self.family, self.prefix, self.flags & 0xFF, self.scope, index)
        values = {**self._values, IFA_FLAGS: pack("=I", self.flags & CONFIGURED)}
        if label:
            values[IFA_LABEL] = _text(label)
        return body + b"".join(_attribute(key, value) for key, value in values.items())


class Netlink:
    """A socket of one network namespace; it keeps that alive until :meth:`close`.

    Every method raises :class:`NetlinkError` where the kernel refuses.
    """

    def __init__(self, namespace: int = -1) -> None:
        """:param namespace: a descriptor of it; else our own.

        :raises OSError: we may not enter it.
        """
        self._socket = _open() if namespace < 0 else _open_in(namespace)
        self._sequence = 0
        for option in (CAP_ACK, EXT_ACK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._socket.bind((0, 0))

    def close(self) -> None:
        """Lets it go."""
        self._socket.close()

    def link(self, name: str) -> Link | None:
        """The device that has a name, maybe as another one beside its own; None without one."""
        return next((each for each, names in self._links() if name in names), None)

    def at(self, index: int) -> Link | None:
        """The device of an index; None without one."""
        return next((each for each, _ in self._links() if each.index == index), None)

    def free_index(self, wanted: int) -> int:
        """An index that no device has, the wanted one if that is so."""
        taken = {each.index for each, _ in self._links()}
        return wanted if wanted not in taken else max(taken) + 1

    def addresses(self, index: int) -> list[Address]:
        """The addresses of a device, of every family, in the kernel's order."""
        found = []
        for body in self._dump(RTM_GETADDR, ADDRESS.pack(0, 0, 0, 0, 0)):
            family, prefix, flags, scope, owner = ADDRESS.unpack_from(body)
            if owner == index:
                values = dict(_attributes(body, ADDRESS.size))
                if IFA_FLAGS in values:
                    (flags,) = unpack_from("=I", values[IFA_FLAGS])
                found.append(Address(family, prefix, flags, scope, values))
        return found

    def move(self, index: int, namespace: int, new_index: int, name: str = "") -> None:
        """A device into another namespace; it is down there, and without addresses.

        :param namespace: a descriptor of it.
        :param new_index: what it has there.
        :param name: its name there, if that is another: it may have been moved when this is
            refused.
        """
        values = {IFLA_NET_NS_FD: pack("=I", namespace), IFLA_NEW_IFINDEX: pack("=i", new_index)}
        if name:
            values[IFLA_IFNAME] = _text(name)
        body = LINK.pack(0, 0, index, 0, 0)
        body += b"".join(_attribute(key, value) for key, value in values.items())
        self._ask(RTM_SETLINK, ACK, body)

    def set_up(self, index: int) -> None:
        """Sets a device up."""
        self._ask(RTM_SETLINK, ACK, LINK.pack(0, 0, index, IFF_UP, IFF_UP))

    def add(self, index: int, address: Address, label: str = "") -> None:
        """Gives a device an address of another, or of its own before it was moved.

        :param label: of IPv4: the device's name, or that and what comes after a colon.
        """
        self._ask(RTM_NEWADDR, ACK | CREATE | EXCLUSIVE, address.message(index, label))

    def _links(self) -> Iterator[tuple[Link, tuple[str, ...]]]:
        for body in self._dump(RTM_GETLINK, LINK.pack(0, 0, 0, 0, 0)):
            _, _, index, flags, _ = LINK.unpack_from(body)
            values = dict(_attributes(body, LINK.size))
            others = _attributes(values.get(IFLA_PROP_LIST, b""), 0)  # IFLA_ALT_IFNAME each
            names = (_name(values[IFLA_IFNAME]), *(_name(value) for _, value in others))
            yield Link(index, names[0], bool(flags & IFF_UP)), names

    def _dump(self, kind: int, body: bytes) -> list[bytes]:
        for _ in range(PATIENCE):
            found, whole = self._ask(kind, DUMP, body)
            if whole:
                return found
        raise NetlinkError(EBUSY, "the devices change all the time")

    def _ask(self, kind: int, flags: int, body: bytes) -> tuple[list[bytes], bool]:
        """Sends a request; the bodies of the answers, and whether nothing changed meanwhile."""
        self._sequence += 1
        head = HEAD.pack(HEAD.size + len(body), kind, REQUEST | flags, self._sequence, 0)
        self._socket.send(head + body)
        found: list[bytes] = []
        whole = True
        while True:
            for answer, marks, sequence, said in _messages(self._socket.recv(1 << 16)):
                if sequence != self._sequence:
                    continue
                whole = whole and not marks & INTERRUPTED
                if answer == NLMSG_DONE:
                    return found, whole
                if answer == NLMSG_ERROR:
                    _judge(said, marks)
                    return found, whole
                found.append(said)


def _open() -> _socket.socket:
    import _socket

    return _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, 0)


def _open_in(namespace: int) -> _socket.socket:
    """A socket is of the network namespace of the thread that makes it: one of its own enters
    (setns(2)), so that this process stays where it is."""
    import _thread
    import ctypes

    setns = ctypes.CDLL(None, use_errno=True).setns
    results: list[_socket.socket | OSError] = []
    done = _thread.allocate_lock()
    done.acquire()

    def enter() -> None:
        try:
            if setns(namespace, CLONE_NEWNET):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            results.append(_open())
        except OSError as error:
            results.append(error)
        finally:
            done.release()

    _thread.start_new_thread(enter, ())
    done.acquire()
    result = results[0]
    if isinstance(result, OSError):
        raise result
    return result


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, flags, sequence number and body of each (netlink(7))."""
    at = 0
    while at + HEAD.size <= len(data):
        size, kind, flags, sequence, _ = HEAD.unpack_from(data, at)
        if size < HEAD.size:
            return
        yield kind, flags, sequence, data[at + HEAD.size : at + size]
        at += size + 3 & ~3


def _judge(said: bytes, marks: int) -> None:
    """An NLMSG_ERROR: 0 is an acknowledgement."""
    (number,) = unpack_from("=i", said)
    if number:
        # After the number comes the head of what was asked, without its body (NETLINK_CAP_ACK).
        values = _attributes(said, 4 + HEAD.size) if marks & ERROR_HAS_WORDS else ()
        raise NetlinkError(-number, _name(dict(values).get(1, b"")))


def _attribute(kind: int, value: bytes) -> bytes:
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _attributes(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at + ATTRIBUTE.size <= len(data):
        size, kind = ATTRIBUTE.unpack_from(data, at)
        if size < ATTRIBUTE.size:
            return
        yield kind & TYPE_MASK, data[at + ATTRIBUTE.size : at + size]
        at += size + 3 & ~3


def _text(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape") + b"\0"


def _name(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "surrogateescape")
