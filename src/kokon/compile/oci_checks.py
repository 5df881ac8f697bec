"""What an OCI document may ask and kokon does not do: refused by name, never passed over."""

from __future__ import annotations

from kokon.compile.mounts import is_bind
from kokon.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.spec.runtime import Mount, Spec


def check(spec: Spec) -> None:
    """Refuses what is not done, and documents that are for another system.

    :raises SpecError: with the JSON pointer of the first such member.
    """
    linux = spec.linux
    if "mount" not in {namespace.type for namespace in linux.namespaces}:
        raise SpecError(
            "there is no mount namespace: mounts would be made on the machine",
            where="/linux/namespaces", remedy='add {"type": "mount"}',
        )  # fmt: skip
    if linux.net_devices and "network" not in {each.type for each in linux.namespaces}:
        raise SpecError(
            "there is no network namespace to move devices into", where="/linux/netDevices",
            remedy='add {"type": "network"} to /linux/namespaces',
        )  # fmt: skip
    _check_devices(spec)
    for at, mount in enumerate(spec.mounts):
        _check_mount(mount, f"/mounts/{at}")


def _check_devices(spec: Spec) -> None:
    """Devices are made in a /dev of the container's own."""
    for at, device in enumerate(spec.linux.devices):
        if not device.path.startswith("/dev/") or ".." in device.path.split("/"):
            raise SpecError(
                f"a device at {device.path} is not possible: it is not below /dev",
                where=f"/linux/devices/{at}/path", remedy="name a path below /dev",
            )  # fmt: skip


def _check_mount(mount: Mount, where: str) -> None:
    if mount.uid_mappings and not is_bind(mount):
        raise SpecError(
            f"the ids of a new {mount.type} cannot be mapped, only those of a bind",
            where=f"{where}/uidMappings", remedy="leave the mappings out",
        )  # fmt: skip
