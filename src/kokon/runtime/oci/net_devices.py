"""``linux.netDevices``: network devices of the machine for a container (config-linux.md).

Nothing is done at the container's end: the kernel gives physical devices back, and virtual ones end
with their namespace.
"""

from __future__ import annotations

import os

from kokon.errors import HostError, SpecError
from kokon.kernel.netlink import GLOBAL, Netlink, NetlinkError
from kokon.spec.pointer import escaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kokon.kernel.netlink import Address, Link
    from kokon.spec.oci.values import NetDevice

WHERE = "/linux/netDevices"


def move(
    devices: Mapping[str, NetDevice],
    pid: int,
    undo: list[Callable[[], object]],
    closing: list[Callable[[], object]],
) -> None:
    """Moves them into the network namespace of a process.

    :param undo: gets what brings each back, with its name, addresses and state.
    :param closing: gets what closes the namespace: until then it lives, as do its devices.
    :raises SpecError: that namespace is our own.
    :raises HostError: a device is not there or cannot be moved.
    """
    try:
        ours = _namespace("/proc/self/ns/net", closing)
        theirs = _namespace(f"/proc/{pid}/ns/net", closing)
        if os.path.sameopenfile(ours, theirs):
            raise SpecError(
                "the container's network namespace is the one where the devices are", where=WHERE,
                remedy="give it another",
            )  # fmt: skip
        outside, inside = Netlink(), Netlink(theirs)
    except OSError as error:
        raise HostError(
            "the container's network namespace cannot be entered", where=WHERE,
            errno=error.errno or 0, remedy="moving devices needs CAP_SYS_ADMIN and CAP_NET_ADMIN",
        ) from error  # fmt: skip
    closing += (outside.close, inside.close)
    # Names that the kernel chooses come last: it takes none then that another one is to have.
    for name, asked in sorted(devices.items(), key=lambda item: "%d" in (item[1].name or "")):
        target = asked.name or name
        each = _Device(name, f"{WHERE}/{escaped(name)}", outside, inside, ours)
        undo.append(each.give_back)
        each.move(theirs, target)


def _namespace(path: str, closing: list[Callable[[], object]]) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    closing.append(lambda: os.close(fd))
    return fd


class _Device:
    """One device on its way."""

    def __init__(self, name: str, where: str, outside: Netlink, inside: Netlink, ours: int) -> None:
        self.name = name
        self.where = where
        self.outside = outside
        self.inside = inside
        self.ours = ours
        self.before: Link | None = None
        self.addresses: list[Address] = []
        self.index = 0

    def move(self, namespace: int, target: str) -> None:
        """Into the container: named, with its lasting global addresses, and up."""
        found = self.outside.link(self.name)
        if found is None or found.name != self.name:
            raise HostError(
                f"there is no network device {self.name}", where=self.where,
                remedy="name one that ip link shows where the runtime is started",
            )  # fmt: skip
        if self.inside.link(target) is not None:
            raise HostError(
                f"the container's network namespace has a device {target} already",
                where=self.where, remedy="give another name, or one that ends with %d",
            )  # fmt: skip
        # Before it is down: IPv6 loses its addresses then.
        self.addresses = self.outside.addresses(found.index)
        self.index = self.inside.free_index(found.index)
        self.before = found
        try:
            renamed = target if target != self.name else ""
            self.outside.move(found.index, namespace, self.index, renamed)
        except NetlinkError as error:
            raise self._refused(f"{self.name} cannot be moved to {target}", error) from error
        moved = self.inside.at(self.index)
        for address in self.addresses:
            if address.permanent and address.scope == GLOBAL:
                try:
                    self.inside.add(self.index, address, self._label(address, moved))
                except NetlinkError as error:
                    raise self._refused(f"{self.name} cannot keep {address}", error) from error
        try:
            self.inside.set_up(self.index)
        except NetlinkError as error:
            raise self._refused(f"{self.name} cannot be set up", error) from error

    def give_back(self) -> None:
        """Back to where it was, if it was moved; the kernel makes temporary addresses anew."""
        if self.before is None or self.inside.at(self.index) is None:
            return
        stayed = self.outside.at(self.before.index)
        if stayed is not None and stayed.name == self.name:
            return  # it was not moved: what has the index there is another's
        index = self.outside.free_index(self.before.index)
        self.inside.move(self.index, self.ours, index, self.name)
        for address in self.addresses:
            if not address.temporary:
                try:
                    self.outside.add(index, address, address.label)
                except NetlinkError:
                    pass  # one of many: the others and the device are worth more
        if self.before.up:
            self.outside.set_up(index)

    def _label(self, address: Address, moved: Link | None) -> str:
        """A label begins with the device's name (ip-address(8)); one that is too long is left out,
        which makes it that name."""
        if not address.label or moved is None:
            return ""
        label = moved.name + address.label.removeprefix(self.name)
        return label if len(label.encode("utf-8", "surrogateescape")) < 16 else ""

    def _refused(self, what: str, error: NetlinkError) -> HostError:
        words = f" ({error.words})" if error.words else ""
        return HostError(
            f"{what}{words}", where=self.where, errno=error.errno or 0,
            remedy="see ip-link(8) for what it is, or leave it out",
        )  # fmt: skip
