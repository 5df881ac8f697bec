"""The built-in root ``@python``: the interpreter that runs kokon and what it needs.

Whether it comes from a distribution, pyenv, uv or conda makes no difference: everything is found
from where the running interpreter says it is and from what the dynamic loader would load.
"""

from __future__ import annotations

import os
import sys

from kokon.compile.assembly import Assembly
from kokon.errors import RootError
from kokon.storage.assembler import Assembler
from kokon.storage.dynamic_loader import DynamicLoader
from kokon.storage.interpreter import base_executable, site_directories, standard_library

LOADED_BY_LIBC = (
    "libgcc_s.so.1",  # pthread_exit and pthread_cancel unwind the stack with it
    "libnss_files.so.2",
    "libnss_dns.so.2",
    "libresolv.so.2",
)
LOADED_BY_PACKAGES = ("libstdc++.so.6",)

AS_DIRECTORY = 3
"""From so many libraries on, their directory is bound in place of each file: a mount costs each
start about 25 microseconds."""

CERTIFICATE_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
OPENSSL_FILES = ("/usr/lib/ssl/cert.pem", "/etc/pki/tls/cert.pem", "/etc/ssl/cert.pem")
"""Where the OpenSSL of Debian, Fedora and others (also the one in uv's interpreters) looks."""

NSSWITCH = b"passwd: files\ngroup: files\nhosts: files dns\n"

CIPHERS = "/etc/crypto-policies/back-ends/openssl.config"
"""What Fedora's OpenSSL reads for its default list of ciphers."""


def python_root(home: str, packages: bool) -> Assembly:
    """Put together ``@python``.

    :param home: where the empty home directory is.
    :param packages: whether the packages that this interpreter can import are visible too.
    :raises RootError: the running process has no interpreter that could be started.
    :raises OptionError: the home cannot be there.
    """
    assembler = Assembler("@python")
    program = assembler.show(base_executable(), "the Python interpreter")
    library, dynamic = standard_library()
    why = "Python's standard library"
    if not program or not assembler.show(library, why):
        raise RootError(
            f"this process runs Python without an interpreter of its own ({sys.executable!r})",
            where="@python",
            remedy="run kokon with python3, or use @host",
        )
    for name in (sys.executable, "/usr/bin/python3", "/usr/bin/python"):
        directory = assembler.pass_links(os.path.dirname(name))
        place = f"{directory}/{os.path.basename(name)}"
        if place != program:
            assembler.links.setdefault(place, program)
    assembler.show(dynamic, why)
    environment = show_libraries(assembler, program, packages)
    if packages:
        from kokon.storage.python_packages import show_packages

        environment |= show_packages(assembler)
    else:
        assembler.hide(site_directories())
    show_certificates(assembler)
    for path in ("/usr/share/zoneinfo", f"{sys.base_prefix}/share/zoneinfo"):
        assembler.show(path, "time zones")
    assembler.show("/etc/localtime", "the time zone", copy=True)
    assembler.files["/etc/nsswitch.conf"] = (NSSWITCH, 0o644)
    return assembler.finish(home, environment)


def show_libraries(assembler: Assembler, program: str, packages: bool) -> dict[str, str]:
    """Show the shared libraries of the interpreter and of its extension modules.

    :returns: LD_LIBRARY_PATH, where the interpreter does not start without it.
    """
    library_path = [p for p in os.environ.get("LD_LIBRARY_PATH", "").split(":") if p]
    loader = DynamicLoader(program, tuple(library_path))
    dynamic = standard_library()[1]
    modules = os.listdir(dynamic) if os.path.isdir(dynamic) else []
    extensions = [f"{dynamic}/{name}" for name in modules if name.endswith(".so")]
    names = (*LOADED_BY_LIBC, *(LOADED_BY_PACKAGES if packages else ()))

    libraries: dict[str, list[str]] = {}
    for path in loader.closure([program, *extensions], names):
        directory = os.path.dirname(assembler.show(path, "a shared library"))
        libraries.setdefault(directory, []).append(path)
    known = {assembler.pass_links(path, keep=False) for path in loader.library_directories()}
    known |= {assembler.pass_links(f"{sys.base_prefix}/lib", keep=False)}
    for directory, paths in libraries.items():
        if len(paths) >= AS_DIRECTORY and directory in known:
            assembler.show(directory, "shared libraries")
    assembler.show(loader.configuration, "where the dynamic loader finds libraries", copy=True)
    if loader.used_library_path:
        return {"LD_LIBRARY_PATH": ":".join(dict.fromkeys(loader.used_library_path))}
    return {}


def show_certificates(assembler: Assembler) -> None:
    """Show one bundle of public certificates, under each name by which an OpenSSL looks for it."""
    why = "the bundle of public certificates"
    for path in (f"{sys.base_prefix}/ssl/cert.pem", f"{sys.base_prefix}/openssl/ssl/cert.pem"):
        assembler.show(path, why)  # conda's and pyenv's own OpenSSL
    bundle = next((p for path in CERTIFICATE_BUNDLES if (p := assembler.show(path, why))), "")
    for path in OPENSSL_FILES if bundle else ():
        if not assembler.show(path, why):
            assembler.links[path] = bundle
    assembler.show(CIPHERS, "the machine's choice of ciphers", copy=True)
