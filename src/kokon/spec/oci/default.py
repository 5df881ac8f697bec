"""What ``spec`` writes: a config.json to begin with."""

from __future__ import annotations

from kokon.spec.oci.config import dump
from kokon.spec.oci.json_text import text
from kokon.spec.oci.process import BITS
from kokon.spec.resources import DeviceRule, Resources
from kokon.spec.runtime import (
    Capabilities,
    IdMapping,
    Linux,
    Mount,
    Namespace,
    Process,
    ResourceLimit,
    Root,
    Spec,
)

LOCKED = ("nosuid", "noexec", "nodev")


def default_spec(rootless: bool = False, uid: int = 0, gid: int = 0) -> str:
    """The text of a config.json that starts a shell in ``rootfs`` beside it.

    :param rootless: for an ordinary user: with a user namespace in which root is ``uid`` and
        ``gid``, and without what such a user cannot have.
    """
    resources = None if rootless else Resources(devices=(DeviceRule(allow=False, access="rwm"),))
    kinds = ["pid", "network", "ipc", "uts", "mount", "cgroup"]
    terminals = ["newinstance", "ptmxmode=0666", "mode=0620"]
    sys = Mount("/sys", "sysfs", "sysfs", (*LOCKED, "ro"))
    if rootless:
        # Without a network namespace of its own it cannot mount sysfs, and with one it has no
        # network: the host's is what a user wants at first.
        kinds.remove("network")
        kinds.append("user")
        sys = Mount("/sys", "none", "/sys", ("rbind", *LOCKED, "ro"))
    else:
        terminals.append("gid=5")
    capabilities = BITS["CAP_AUDIT_WRITE"] | BITS["CAP_KILL"] | BITS["CAP_NET_BIND_SERVICE"]
    spec = Spec(
        root=Root("rootfs", readonly=True),
        process=Process(
            ("sh",),
            terminal=True,
            env=(
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ),
            capabilities=Capabilities(capabilities, capabilities, capabilities),
            rlimits=(ResourceLimit("RLIMIT_NOFILE", 1024, 1024),),
            no_new_privileges=True,
        ),
        hostname="kokon",
        mounts=(
            Mount("/proc", "proc", "proc"),
            Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
            Mount("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", *terminals)),
            Mount("/dev/shm", "tmpfs", "shm", (*LOCKED, "mode=1777", "size=65536k")),
            Mount("/dev/mqueue", "mqueue", "mqueue", LOCKED),
            sys,
            Mount("/sys/fs/cgroup", "cgroup", "cgroup", (*LOCKED, "relatime", "ro")),
        ),
        linux=Linux(
            namespaces=tuple(Namespace(kind) for kind in kinds),
            uid_mappings=(IdMapping(0, uid, 1),) if rootless else (),
            gid_mappings=(IdMapping(0, gid, 1),) if rootless else (),
            resources=resources,
            masked_paths=(
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
                "/proc/scsi",
            ),
            readonly_paths=(
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ),
        ),
    )  # fmt: skip
    return text(dump(spec), "\t") + "\n"
