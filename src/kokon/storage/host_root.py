"""The built-in root ``@host``: the programs of this machine, none of its data and secrets."""

from __future__ import annotations

from kokon.compile.assembly import Assembly
from kokon.storage.assembler import STORES, Assembler

PROGRAMS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/libexec")
"""All but the first are links into it on most machines, and stay what they are."""

CONFIGURATION = (
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld-musl-x86_64.path",
    "/etc/ld-musl-aarch64.path",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/nsswitch.conf",
    "/etc/protocols",
    "/etc/services",
    "/etc/mime.types",
    "/etc/os-release",
)
"""What programs of /usr expect in /etc and every user may know."""

CERTIFICATES = (
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates/extracted",
    "/etc/pki/ca-trust",
    "/etc/pki/java",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/pki/tls/ct_log_list.cnf",
    "/etc/crypto-policies",
)
"""Public certificates.  Of /etc/ssl and /etc/pki by name: beside these lie private keys
(/etc/ssl/private, /etc/pki/tls/private) and the machine's own identity (/etc/pki/entitlement,
/etc/pki/consumer)."""

CURRENT_SYSTEM = "/run/current-system"
"""On NixOS and Guix: the link to the system's programs in the store."""


def host_root(home: str) -> Assembly:
    """Put together ``@host``.

    :param home: where the empty home directory is.
    :raises OptionError: it cannot be there.
    """
    programs = (*STORES, *PROGRAMS, CURRENT_SYSTEM)
    assembler = Assembler("@host", (*programs, "/etc"), public=True)
    for path in programs:
        assembler.show(path, "the programs of this machine")
    for path in CONFIGURATION:
        assembler.show(path, "configuration that programs expect", copy=True)
    for path in CERTIFICATES:
        assembler.show(path, "public certificates", copy=True)
    assembler.links["/etc/mtab"] = "../proc/self/mounts"
    return assembler.finish(home)


def sources() -> list[str]:
    """What decides how ``@host`` looks: paths whose dates tell of a change."""
    return ["/", "/etc", CURRENT_SYSTEM, *CONFIGURATION, *CERTIFICATES]
