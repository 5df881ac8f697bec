"""Paths of /proc and /sys that a container does not see, or does not write.

The union of the lists of Docker Engine (daemon/pkg/oci/defaults.go) and of containers/common
(common/pkg/config/default.go): they tell of the host or act on it, and no namespace covers them.
"""

from __future__ import annotations

DEFAULT_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
)

DEFAULT_MASKED_GLOBS = ("/sys/devices/system/cpu/cpu*/thermal_throttle",)
"""Patterns, to be expanded against the host's /sys."""

DEFAULT_READONLY = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)
"""/proc/asound, which containers/common has here, is masked."""
