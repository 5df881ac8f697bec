"""What a machine can do for kokon, what is missing, what follows, and the line that mends it.

Pure: a :class:`Machine` is all that was read and tried; :func:`diagnose` judges it, area by area.
``kokon.engine.doctor`` reads and tries.
"""

from __future__ import annotations

from dataclasses import replace

from kokon.config.diagnosis import limits, namespaces, system
from kokon.config.diagnosis.findings import (
    MISSING,
    OK,
    PARTIAL,
    UNKNOWN,
    Finding,
    Machine,
    Probe,
    Report,
)

__all__ = [
    "MISSING",
    "OK",
    "PARTIAL",
    "UNKNOWN",
    "Finding",
    "Machine",
    "Probe",
    "Report",
    "diagnose",
]


def diagnose(machine: Machine) -> Report:
    """Judges a machine; each line is one area."""
    judges = (
        system.kernel,
        system.container,
        system.programs_in_memory,
        system.open_files,
        namespaces.user_namespaces,
        namespaces.namespaces,
        namespaces.loopback,
        namespaces.proc,
        namespaces.filesystems,
        namespaces.overlay,
        namespaces.idmapped_mounts,
        namespaces.subordinate_ids,
        namespaces.newuidmap,
        limits.control_groups,
        limits.limits,
        system.seccomp,
        system.landlock,
        system.security_module,
        system.tracing,
        system.places,
        system.run_of_host,
        system.run_of_directory,
        system.run_at_best,
    )
    findings = [judge(machine) for judge in judges]
    if machine.is_root and machine.facts.maps_all_ids:
        findings = [
            replace(each, remedy=tuple(line.replace("sudo ", "") for line in each.remedy))
            for each in findings
        ]
    return Report(tuple(findings), machine)
