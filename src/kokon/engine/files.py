"""/etc/hosts, hostname and resolv.conf of a container, made by kokon (row M17)."""

from __future__ import annotations

from kokon.config.container import HOSTNAME, check_name
from kokon.errors import HostError, OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.config.options import Options
    from kokon.engine.roots import FoundRoot
    from kokon.kernel.facts import HostFacts
    from kokon.spec.runtime import Spec


def small_files(options: Options, spec: Spec) -> dict[str, bytes]:
    """Path to content; none where a mount of the user's own takes the place."""
    name = spec.hostname or HOSTNAME
    hosts = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    hosts.append(f"127.0.1.1\t{name}")
    for entry in options.add_host:
        host, _, address = entry.partition(":")
        if not host or not _is_address(address):
            raise OptionError(
                "is not NAME:ADDRESS",
                where=f"--add-host {entry!r}",
                remedy="write for example db:10.0.0.2",
            )
        check_name(host, "--add-host")
        hosts.append(f"{address}\t{host}")
    result = {
        "/etc/hosts": _lines(hosts),
        "/etc/hostname": _lines([name]),
        "/etc/resolv.conf": _resolvers(options),
    }
    taken = {mount.destination.rstrip("/") for mount in spec.mounts}
    return {
        path: content
        for path, content in result.items()
        if path not in taken and "/etc" not in taken
    }


def _resolvers(options: Options) -> bytes:
    for address in options.dns:
        if not _is_address(address):
            raise OptionError(
                "is no address", where=f"--dns {address}", remedy="write for example --dns 9.9.9.9"
            )
    if options.dns:
        return _lines([f"nameserver {address}" for address in options.dns])
    if options.network == "host":
        try:
            with open("/etc/resolv.conf", "rb") as file:
                return file.read(1 << 16)
        except OSError:
            return b""
    return b""


def _is_address(text: str) -> bool:
    import _socket

    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, text)
        except OSError:
            continue
        return True
    return False


def _lines(lines: list[str]) -> bytes:
    return "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape")


def check_groups(options: Options, host: HostFacts, by_parent: bool) -> None:
    """Groups that are asked for by name are set, or it is said that they cannot be.

    :raises HostError: setgroups(2) is denied, as it is in a user namespace of a single id.
    """
    if options.group_add and not (host.sets_groups and (host.is_root or by_parent)):
        raise HostError(
            "supplementary groups cannot be set here",
            where=f"--group-add {options.group_add[0]}",
            remedy="get subordinate ids (usermod --add-subuids, and newuidmap), or leave it out",
        )


def extra_groups(found: FoundRoot, options: Options) -> tuple[int, ...]:
    """``--group-add``: ids, or names that the root's group file has."""
    from kokon.engine import roots

    groups = []
    for entry in options.group_add:
        groups.append(roots.account(found, f"0:{entry}", f"--group-add {entry}").gid)
    return tuple(groups)
