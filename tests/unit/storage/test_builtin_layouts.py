"""The built-in roots on machines unlike this one: their trees are made below a directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_elf import make_elf

from kokon.compile.assembly import Assembly
from kokon.errors import OptionError
from kokon.storage import assembler, interpreter, python_root
from kokon.storage.dynamic_loader import read_bytes
from kokon.storage.host_root import host_root

Machine = Callable[[str], Assembly]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A function that makes a tree and puts ``@host`` together on it.

    Each line of the tree is ``path/`` (a directory), ``path`` (a file of 5000 bytes), ``path !``
    (one that only its owner reads), ``path = text`` or ``path -> target``.
    """

    def build(tree: str) -> Assembly:
        for line in filter(None, map(str.strip, tree.splitlines())):
            name, _, target = line.partition(" -> ")
            name, _, text = name.partition(" = ")
            path = tmp_path / name.strip(" !/")
            (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
            if target:
                path.symlink_to(target)
            elif not name.endswith("/"):
                path.write_text(text or "x" * 5000)
                path.chmod(0o600 if line.endswith(" !") else 0o644)

        def inside(call: Callable[[str], object]) -> Callable[[str], object]:
            return lambda path: call(f"{tmp_path}{path}")

        shim = SimpleNamespace(
            path=os.path, readlink=inside(os.readlink), lstat=inside(os.lstat), stat=inside(os.stat)
        )
        monkeypatch.setattr(assembler, "os", shim)
        monkeypatch.setattr(assembler, "read_bytes", lambda path: read_bytes(f"{tmp_path}{path}"))
        return host_root("/home/user")

    return build


def binds(assembly: Assembly) -> dict[str, str]:
    return {bind.destination: bind.source for bind in assembly.binds}


def test_fedora_shows_certificates_and_no_keys(machine: Machine) -> None:
    assembly = machine("""
        bin -> usr/bin
        lib64 -> usr/lib64
        usr/bin/sh
        usr/lib64/
        usr/share/crypto-policies/openssl.txt
        etc/crypto-policies/openssl.config -> /usr/share/crypto-policies/openssl.txt
        etc/ssl/certs -> ../pki/tls/certs
        etc/ssl/private/key.pem
        etc/pki/tls/certs/ca-bundle.crt -> /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem
        etc/pki/tls/cert.pem -> /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem
        etc/pki/tls/private/localhost.key
        etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem
        etc/pki/entitlement/1-key.pem
        etc/pki/consumer/key.pem
        etc/services !
        etc/shadow !
        etc/nsswitch.conf = hosts: files
        home/anna/.ssh/id
        var/lib/secret
    """)  # fmt: skip
    assert binds(assembly) == {
        path: path
        for path in (
            "/etc/crypto-policies", "/etc/pki/ca-trust", "/etc/pki/tls/certs", "/usr",
        )
    }  # fmt: skip
    links = dict(assembly.links)
    assert links["/etc/ssl/certs"] == "../pki/tls/certs"
    assert links["/etc/pki/tls/cert.pem"] == "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"
    assert (links["/bin"], links["/lib64"]) == ("usr/bin", "usr/lib64")
    assert ("/etc/nsswitch.conf", b"hosts: files", 0o644) in assembly.files


def test_links_that_lead_out_are_shown_where_they_stand(machine: Machine) -> None:
    """openSUSE's certificates lie in /var, and a local time may lie anywhere."""
    assembly = machine("""
        usr/bin/sh
        var/lib/ca-certificates/pem/a.pem
        etc/ssl/certs -> /var/lib/ca-certificates/pem
        var/lib/ca-certificates/ca-bundle.pem
        etc/ssl/ca-bundle.pem -> /var/lib/ca-certificates/ca-bundle.pem
        srv/zone = TZif
        etc/localtime -> ../srv/zone
        etc/alternatives -> /missing
    """)
    assert binds(assembly) == {
        "/etc/ssl/certs": "/var/lib/ca-certificates/pem",
        "/etc/ssl/ca-bundle.pem": "/var/lib/ca-certificates/ca-bundle.pem",
        "/usr": "/usr",
    }
    assert ("/etc/localtime", b"TZif", 0o644) in assembly.files
    named = str(assembly.to_dict() | {"binds": None})
    assert "/var" not in named and "/srv" not in named and "missing" not in named


def test_places_behind_links_are_made_behind_them(machine: Machine) -> None:
    assembly = machine("""
        usr/bin/sh
        etc/tls/openssl.cnf
        etc/ssl -> tls
        opt/certificates/a.pem
        etc/tls/certs -> /opt/certificates
    """)
    assert binds(assembly)["/etc/tls/certs"] == "/opt/certificates"
    assert ("/etc/ssl", "tls") in assembly.links
    assert "/etc/ssl/certs" not in binds(assembly)


def test_directories_that_are_not_merged_are_bound(machine: Machine) -> None:
    assembly = machine("""
        bin/sh
        sbin/init
        lib/ld-musl-x86_64.so.1
        libexec -> usr/libexec
        usr/libexec/
        usr/bin/env
        etc/ld-musl-x86_64.path = /lib
        library/private
    """)
    assert set(binds(assembly)) == {"/bin", "/sbin", "/lib", "/usr"}
    assert ("/libexec", "usr/libexec") in assembly.links
    assert ("/etc/ld-musl-x86_64.path", b"/lib", 0o644) in assembly.files


def test_nixos_has_its_store_and_current_system(machine: Machine) -> None:
    assembly = machine("""
        nix/store/1-system/sw/bin/sh
        nix/store/2-etc/etc/ssl/certs/ca-certificates.crt
        nix/store/2-etc/etc/nsswitch.conf
        bin/sh -> /nix/store/1-system/sw/bin/sh
        usr/bin/env -> /nix/store/1-system/sw/bin/env
        run/current-system -> /nix/store/1-system
        etc/static -> /nix/store/2-etc/etc
        etc/ssl/certs/ca-certificates.crt -> /etc/static/ssl/certs/ca-certificates.crt
        etc/nsswitch.conf -> /etc/static/nsswitch.conf
    """)
    assert set(binds(assembly)) == {"/bin", "/etc/ssl/certs", "/nix/store", "/usr"}
    links = dict(assembly.links)
    assert links["/run/current-system"] == "/nix/store/1-system"
    assert links["/etc/nsswitch.conf"] == "/etc/static/nsswitch.conf"
    assert links["/etc/static"] == "/nix/store/2-etc/etc"


def test_guix_reaches_its_store_through_var(machine: Machine) -> None:
    assembly = machine("""
        gnu/store/1-system/profile/bin/sh
        var/guix/profiles/system-1-link -> /gnu/store/1-system
        run/current-system -> /var/guix/profiles/system-1-link
        usr/bin/env -> /run/current-system/profile/bin/env
    """)
    assert set(binds(assembly)) == {"/gnu/store", "/usr"}
    assert ("/run/current-system", "/gnu/store/1-system") in assembly.links
    assert not [path for path, _ in assembly.directories if path.startswith("/var")]


def test_circles_are_not_followed(machine: Machine) -> None:
    assembly = machine("""
        usr/bin/sh
        etc/localtime -> localtime
        etc/alternatives -> /etc/ssl
        etc/ssl -> alternatives
    """)
    assert set(binds(assembly)) == {"/usr"}


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prefix as conda makes it: libraries and Python side by side, found by $ORIGIN/../lib."""
    prefix = tmp_path / "real"
    (tmp_path / "prefix").symlink_to("real")
    needed = ("libssl.so.3", "libz.so.1", "libffi.so.8")
    for name in needed:
        make_elf(prefix / "lib" / name)
    make_elf(prefix / "bin/python3.12", "libz.so.1", rpath="$ORIGIN/../lib")
    (prefix / "bin/python3").symlink_to("python3.12")
    library = prefix / "lib/python3.12"
    make_elf(library / "lib-dynload/_ssl.so", *needed, rpath="$ORIGIN/../../")
    (library / "os.py").write_text("")
    (library / "site-packages").mkdir()
    base = str(tmp_path / "prefix")
    sys = SimpleNamespace(
        executable=f"{base}/bin/python3", base_prefix=base, base_exec_prefix=base, platlibdir="lib"
    )
    shim = SimpleNamespace(
        path=os.path, listdir=os.listdir, environ={}, __file__=f"{base}/lib/python3.12/os.py"
    )
    for module in (interpreter, python_root):
        monkeypatch.setattr(module, "sys", sys)
        monkeypatch.setattr(module, "os", shim)
    return prefix


def test_conda_libraries_come_as_one_directory(prefix: Path, tmp_path: Path) -> None:
    assembly = python_root.python_root("/home/user", False)
    own = [path for path in binds(assembly) if path.startswith(str(tmp_path))]
    assert own == [f"{prefix}/bin/python3.12", f"{prefix}/lib"]
    assert assembly.empty == (f"{prefix}/lib/python3.12/site-packages",)
    links = dict(assembly.links)
    assert links[f"{tmp_path}/prefix"] == "real"
    assert links["/usr/bin/python3"] == f"{prefix}/bin/python3.12"
    assert not [path for path in links if path.startswith(f"{tmp_path}/prefix/")]


def test_few_libraries_come_as_files(prefix: Path) -> None:
    for name in ("libssl.so.3", "libffi.so.8"):
        (prefix / "lib" / name).unlink()
    found = binds(python_root.python_root("/home/user", False))
    assert f"{prefix}/lib/libz.so.1" in found
    assert f"{prefix}/lib" not in found


def test_many_libraries_beside_private_files_come_as_files(
    prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that is no library directory of the system or the prefix is never bound."""
    (prefix / "lib").rename(prefix / "project")
    (prefix / "lib").mkdir()
    (prefix / "project/python3.12").rename(prefix / "lib/python3.12")
    make_elf(
        prefix / "lib/python3.12/lib-dynload/_ssl.so",
        "libssl.so.3", "libz.so.1", "libffi.so.8", runpath="$ORIGIN/../../../project",
    )  # fmt: skip
    found = binds(python_root.python_root("/home/user", False))
    assert f"{prefix}/project/libssl.so.3" in found
    assert f"{prefix}/project" not in found


def test_homes_follow_the_links_of_the_machine(prefix: Path, tmp_path: Path) -> None:
    """Where /home is a link to var/home, the container's home is behind it too."""
    assembly = python_root.python_root(f"{tmp_path}/prefix/me", False)
    assert dict(assembly.writable)[f"{prefix}/me"] == 0o755
    with pytest.raises(OptionError, match="is part of what @python shows"):
        python_root.python_root(f"{tmp_path}/prefix/lib/python3.12/me", False)
