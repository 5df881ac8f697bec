"""What engines count on and no specification says, with kokon alone; see tests/clients."""

from __future__ import annotations

import json
import os

import pytest
from oci_bundle import DEV, IDENTITY, PROC, Bundle, bundle

from kokon.kernel import cgroups, facts
from kokon.kernel.capabilities import NAMES, names

__all__ = ["bundle"]  # the fixture

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a bundle's owner is the host's"),
]
DEVPTS = {
    "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["ptmxmode=0666"],
}  # fmt: skip
MKNOD = {name: ["CAP_MKNOD"] for name in ("bounding", "permitted", "effective")}


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("nothing", 'exec: "nothing": executable file not found in $PATH'),
        ("/no/such", 'exec: "/no/such": stat /no/such: no such file or directory'),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied'),
        ("/etc", 'exec: "/etc": permission denied'),
    ],
)
def test_a_program_that_cannot_run_is_said_at_create(
    bundle: Bundle, program: str, words: str
) -> None:
    """Docker tells 126 and 127 from these words, and only while a container is made."""
    bundle.process["args"] = [program]
    assert bundle.refused().strip().endswith(words)


def test_a_program_is_looked_for_from_its_working_directory(bundle: Bundle) -> None:
    bundle.process.update(args=["./pwd"], cwd="/bin")
    bundle.create()
    assert bundle.start() == "/bin\n"


def test_groups_in_every_hierarchy(bundle: Bundle) -> None:
    """Engines look into each by the path that /proc says."""
    bundle.linux["cgroupsPath"] = "/kokon-test/engines"
    trees = cgroups.read().hierarchies
    lines = bundle.run("cat /proc/self/cgroup").splitlines()
    mounted = [line for line in lines if line.split(":")[1] in _controllers(trees)]
    assert mounted and all(line.endswith(":/kokon-test/engines") for line in mounted), lines
    for tree in trees:
        assert not os.path.exists(f"{tree.mount_point}/kokon-test/engines")
        if os.path.isdir(f"{tree.mount_point}/kokon-test"):
            os.rmdir(f"{tree.mount_point}/kokon-test")


def _controllers(trees: tuple[cgroups.Hierarchy, ...]) -> set[str]:
    return {"" if tree.version == 2 else ",".join(tree.controllers) for tree in trees}


def test_devices_that_every_container_needs(bundle: Bundle) -> None:
    """Engines forbid all and leave to the runtime what is not forbidden: terminals, null."""
    bundle.config["mounts"] = [PROC, DEV, DEVPTS]
    bundle.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    (bundle.root / "bin/mknod").symlink_to("busybox")
    bundle.process["capabilities"] = MKNOD
    said = bundle.run(
        "echo a > /dev/null && echo null; (: < /dev/ptmx) && echo ptmx;"
        " mknod /null c 1 3 && echo a > /null && echo node;"
        " mknod /disk b 254 0 && echo made; head -c 1 /disk || echo forbidden"
    )
    assert said.split() == ["null", "ptmx", "node", "made", "forbidden"]


def test_without_rules_a_device_is_forbidden(bundle: Bundle) -> None:
    if cgroups.read().of("devices") is None:
        pytest.skip("has no device rules without a program on version 2")
    (bundle.root / "bin/mknod").symlink_to("busybox")
    bundle.process["capabilities"] = MKNOD
    # The kernel's log, which whoever has a node of it may open for writing.
    said = bundle.run("mknod /log c 1 11 && echo made; (: >> /log) || echo forbidden")
    assert said.split() == ["made", "forbidden"]


def test_options_of_dev(bundle: Bundle) -> None:
    options = ["nosuid", "mode=711", "size=65536k"]
    bundle.config["mounts"] = [PROC, {**DEV, "options": options}]
    (bundle.root / "bin/grep").symlink_to("busybox")
    mounted, mode = bundle.run("grep ' /dev ' /proc/mounts; stat -c %a /dev").splitlines()
    assert {"nosuid", "size=65536k"} <= set(mounted.split()[3].split(","))
    assert "noexec" not in mounted and mode == "711"


def test_mounts_have_the_names_that_they_were_given(bundle: Bundle) -> None:
    shm = {"destination": "/dev/shm", "type": "tmpfs", "source": "shm"}
    bundle.config["mounts"] = [PROC, DEV, shm]
    lines = bundle.run("cat /proc/mounts").splitlines()
    names = {line.split()[1]: line.split()[0] for line in lines}
    assert (names["/proc"], names["/dev/shm"]) == ("proc", "shm")


def test_the_machines_ptmx_is_not_the_containers(bundle: Bundle) -> None:
    """Whoever hands all devices on names it too."""
    bundle.config["mounts"] = [PROC, DEV, DEVPTS]
    bundle.linux["devices"] = [{"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2}]
    (bundle.root / "bin/readlink").symlink_to("busybox")
    assert bundle.run("readlink /dev/ptmx") == "pts/ptmx\n"


def test_a_capability_that_nobody_can_grant(bundle: Bundle) -> None:
    """It is no error, but a warning in the log (config.md, Linux Process)."""
    bounding = facts.read().bounding
    lacking = [name for name in NAMES if name not in names(bounding)]
    if not lacking:
        pytest.skip("we have every capability")
    every = [f"CAP_{name}" for name in NAMES]
    bundle.process["capabilities"] = {"bounding": every, "effective": every, "permitted": every}
    bundle.process["args"] = ["cat", "/proc/self/status"]
    log = bundle.place / "log.json"
    made = bundle.call("--log", str(log), "--log-format", "json", "create", IDENTITY)
    assert made.returncode == 0, made.stderr
    status = dict(line.split(":", 1) for line in bundle.start().splitlines())
    assert int(status["CapEff"], 16) == bounding
    warning = json.loads(log.read_text().splitlines()[0])
    assert warning["level"] == "warning" and lacking[0] in warning["msg"]


def test_groups_of_systemd_are_refused(bundle: Bundle) -> None:
    """Else they would be made beside systemd, under a name with colons."""
    made = bundle.call("--systemd-cgroup", "create", IDENTITY)
    assert made.returncode == 1 and "--systemd-cgroup: " in made.stderr
    assert bundle.call("--systemd-cgroup", "delete", "--force", IDENTITY).returncode == 0
