"""``linux.netDevices``: devices of a network namespace that the test makes, and their way back."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from oci_bundle import IDENTITY, Bundle, bundle

from kokon.kernel.constants import CLONE_NEWNET

__all__ = ["bundle"]  # the fixture

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: devices are the machine's"),
]
KEPT = ("10.1.2.3/24", "fd00::7/64")


def ip(*words: str) -> Any:
    """What iproute2 shows, which knows nothing of us."""
    done = subprocess.run(["ip", "-j", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"ip {' '.join(words)}: {done.stderr}")
    return json.loads(done.stdout or "null")


def device(name: str) -> dict[str, Any] | None:
    """As ``ip addr`` shows it where the test is."""
    found = [each for each in ip("addr") if each["ifname"] == name]
    return found[0] if found else None


def addresses(shown: dict[str, Any]) -> list[str]:
    return [f"{each['local']}/{each['prefixlen']}" for each in shown["addr_info"]]


@pytest.fixture
def network(bundle: Bundle) -> Iterator[Callable[..., None]]:
    """Runs the test in a network namespace of its own, with one end of a pair, ``v0``."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in ("net", "mnt")]
    assert not libc.unshare(CLONE_NEWNET), os.strerror(ctypes.get_errno())
    try:
        ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
        for name, address in (("v0", KEPT[0]), ("v0", KEPT[1])):
            ip("addr", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
        ip("link", "set", "v0", "up")
        ip("link", "set", "v1", "up")
        yield ip
    finally:
        libc.setns(before[0], CLONE_NEWNET)
        for fd in before:
            os.close(fd)


def created(bundle: Bundle) -> list[dict[str, Any]]:
    """The devices of a created container."""
    bundle.create()
    words = ["nsenter", f"--net=/proc/{bundle.pid()}/ns/net", "ip", "-j", "addr"]
    found: list[dict[str, Any]] = json.loads(subprocess.check_output(words))
    return found


def names(shown: list[dict[str, Any]]) -> list[str]:
    return sorted(each["ifname"] for each in shown)


@pytest.mark.parametrize("users", [False, True])
@pytest.mark.parametrize("name", ["", "eth0", "lan%d"])
def test_a_device_with_its_addresses_and_up(
    bundle: Bundle, network: Callable[..., None], name: str, users: bool
) -> None:
    network("link", "set", "v0", "mtu", "1400")
    network("addr", "add", "10.9.9.1", "peer", "10.9.9.2", "dev", "v0", "label", "v0:x")
    network("addr", "add", "10.8.8.8/24", "dev", "v0", "scope", "link")
    network("addr", "add", "fd00::9/64", "dev", "v0", "valid_lft", "900", "preferred_lft", "900")
    if users:
        bundle.users()
    bundle.linux["netDevices"] = {"v0": {"name": name} if name else {}}
    inside = created(bundle)
    target = {"": "v0", "lan%d": "lan0"}.get(name, name)
    assert names(inside) == sorted(["lo", target])
    found = next(each for each in inside if each["ifname"] == target)
    # Neither what is of one machine or one link, nor what ends.
    own = [each for each in found["addr_info"] if not each["local"].startswith("fe80")]
    assert sorted((e["local"], e["prefixlen"]) for e in own) == [
        ("10.1.2.3", 24), ("10.9.9.1", 32), ("fd00::7", 64),
    ]  # fmt: skip
    peered = next(each for each in own if each["local"] == "10.9.9.1")
    assert (peered["address"], peered["label"]) == ("10.9.9.2", f"{target}:x")
    assert next(each for each in own if each["local"] == "10.1.2.3")["label"] == target
    assert next(each for each in own if each["local"] == "fd00::7").get("nodad")
    assert "UP" in found["flags"]
    assert found["mtu"] == 1400
    assert device("v0") is None
    bundle.call("delete", "--force", IDENTITY)
    # A virtual device ends with its namespace.
    assert device("v0") is None


def test_two_that_change_their_names(bundle: Bundle, network: Callable[..., None]) -> None:
    bundle.linux["netDevices"] = {"v0": {"name": "v1"}, "v1": {"name": "v0"}}
    inside = {each["ifname"]: each for each in created(bundle)}
    assert set(inside) == {"lo", "v0", "v1"}
    assert set(KEPT) <= set(addresses(inside["v1"]))
    assert inside["v1"]["operstate"] == "UP"


def test_names_that_the_kernel_chooses_come_last(
    bundle: Bundle, network: Callable[..., None]
) -> None:
    bundle.linux["netDevices"] = {"v0": {"name": "eth%d"}, "v1": {"name": "eth0"}}
    inside = {each["ifname"]: each for each in created(bundle)}
    assert set(inside) == {"lo", "eth0", "eth1"}
    assert set(KEPT) <= set(addresses(inside["eth1"]))


def test_hooks_find_it_there(bundle: Bundle, network: Callable[..., None]) -> None:
    said = bundle.place / "said"
    script = 'pid=$(sed "s/.*\\"pid\\": *\\([0-9]*\\).*/\\1/"); ' + (
        f"nsenter --net=/proc/$pid/ns/net ip -o link show v0 > {said} 2>&1"
    )
    bundle.config["hooks"] = {"createRuntime": [
        {"path": "/bin/sh", "args": ["sh", "-c", script], "env": [f"PATH={os.environ['PATH']}"]}
    ]}  # fmt: skip
    bundle.linux["netDevices"] = {"v0": {}}
    bundle.create()
    assert "v0@" in said.read_text()
    assert "UP" in said.read_text()


LAST = {"path": "/bin/false"}
REFUSED: dict[str, tuple[str, str, Callable[[Bundle], Any]]] = {
    "it is not there": (
        "/linux/netDevices/none", "there is no network device none",
        lambda bundle: bundle.linux.update(netDevices={"v0": {"name": "x"}, "none": {}}),
    ),
    "its name is taken": (
        "/linux/netDevices/v1", "has a device lo already",
        lambda bundle: bundle.linux.update(netDevices={"v0": {}, "v1": {"name": "lo"}}),
    ),
    "it may not be moved": (
        "/linux/netDevices/lo", "Invalid argument",
        lambda bundle: bundle.linux.update(netDevices={"v0": {}, "lo": {"name": "lo1"}}),
    ),
    "a pattern that is none": (
        "/linux/netDevices/v0", "Invalid argument",
        lambda bundle: bundle.linux.update(netDevices={"v0": {"name": "a%s"}}),
    ),
    "there is no namespace for it": (
        "/linux/netDevices", "there is no network namespace",
        lambda bundle: bundle.linux.update(
            netDevices={"v0": {}}, namespaces=[{"type": "mount"}, {"type": "pid"}]
        ),
    ),
    "the namespace is ours": (
        "/linux/netDevices", "is the one where the devices are",
        lambda bundle: bundle.linux.update(netDevices={"v0": {}}, namespaces=[
            {"type": "mount"}, {"type": "pid"}, {"type": "network", "path": "/proc/self/ns/net"},
        ]),
    ),
    "a hook fails after it": (
        "/hooks/createRuntime/0", "/bin/false",
        lambda bundle: (
            bundle.linux.update(netDevices={"v0": {"name": "eth%d"}, "v1": {"name": "x"}}),
            bundle.config.update(hooks={"createRuntime": [LAST]}),
        ),
    ),
    "a mount fails after it": (
        "/mounts/2", "nosuchfs",
        lambda bundle: (
            bundle.linux.update(netDevices={"v0": {"name": "eth0"}}),
            bundle.config["mounts"].append({"destination": "/tmp", "type": "nosuchfs"}),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("users", [False, True])
@pytest.mark.parametrize("case", REFUSED)
def test_a_device_comes_back_when_create_fails(
    bundle: Bundle, network: Callable[..., None], case: str, users: bool
) -> None:
    pointer, words, change = REFUSED[case]
    network("addr", "add", "10.8.8.8/24", "dev", "v0", "scope", "link")
    network("addr", "add", "fd00::9/64", "dev", "v0", "valid_lft", "900", "preferred_lft", "900",
            "nodad")  # fmt: skip
    network("link", "set", "v1", "down")
    before = {name: device(name) for name in ("v0", "v1")}
    change(bundle)
    if users:
        bundle.users()
    said = bundle.refused()
    assert pointer in said
    assert words in said
    for name, was in before.items():
        found = device(name)
        assert found is not None, name
        assert was is not None, name
        # The kernel makes the local ones anew.
        lasting = [
            [each for each in addresses(shown) if not each.startswith("fe80")]
            for shown in (found, was)
        ]
        assert sorted(lasting[0]) == sorted(lasting[1])
        assert ("UP" in found["flags"], found["ifindex"]) == ("UP" in was["flags"], was["ifindex"])


def test_a_namespace_that_others_have(
    bundle: Bundle, network: Callable[..., None], tmp_path: Path
) -> None:
    """A failure that comes after the move leaves nothing there either; an index may be taken."""
    words = ["unshare", "--net", "sh", "-c", "ip link add w0 type veth peer name v0 && read x"]
    holder = subprocess.Popen(words, stdin=subprocess.PIPE)
    try:
        path = f"/proc/{holder.pid}/ns/net"
        own = os.stat("/proc/self/ns/net").st_ino
        while os.stat(path).st_ino == own:
            pass
        inside = ["nsenter", f"--net={path}", "ip", "-j", "addr"]
        while len(shown := json.loads(subprocess.check_output(inside))) < 3:
            pass
        bundle.linux["namespaces"][-1]["path"] = path
        bundle.linux["netDevices"] = {"v0": {"name": "eth0"}}
        bundle.config["hooks"] = {"createRuntime": [LAST]}
        assert "/bin/false" in bundle.refused()
        assert json.loads(subprocess.check_output(inside)) == shown
        assert set(KEPT) <= set(addresses(device("v0") or {"addr_info": []}))
        del bundle.config["hooks"]
        there = created(bundle)
        assert names(there) == ["eth0", "lo", "v0", "w0"]
        bundle.call("delete", "--force", IDENTITY)
        # It is the namespace's now, and that is not ours to end.
        left = json.loads(subprocess.check_output(inside))
        assert names(left) == ["eth0", "lo", "v0", "w0"]
        bundle.linux["netDevices"] = {"v1": {"name": "v0"}}
        assert "has a device v0 already" in bundle.refused()
    finally:
        holder.communicate(b"\n")
