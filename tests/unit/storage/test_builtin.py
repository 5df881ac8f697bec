"""The built-in roots as programs see them: assembled by bubblewrap, entered for real."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import kokon
from kokon.compile.assembly import Assembly
from kokon.errors import OptionError, RootError
from kokon.storage import builtin

SOURCE = str(Path(kokon.__file__).parent.parent)


def bubblewrap_works() -> bool:
    if not shutil.which("bwrap"):
        return False
    return (
        subprocess.run(["bwrap", "--ro-bind", "/", "/", "true"], capture_output=True).returncode
        == 0
    )


needs_bubblewrap = pytest.mark.skipif(
    not bubblewrap_works(), reason="bubblewrap is missing or may not make namespaces"
)


def enter(assembly: Assembly, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Carry an assembly out in the order that its docstring gives, and run a command in it."""
    words = ["bwrap", "--unshare-all", "--unshare-user", "--uid", "0", "--gid", "0"]
    words += ["--die-with-parent", "--clearenv"]
    files: list[int] = []
    for path, mode in assembly.writable:
        words += ["--perms", f"{mode:04o}", "--tmpfs", path]
    for path, mode in assembly.directories:
        words += ["--perms", f"{mode:04o}", "--dir", path]
    for path, target in assembly.links:
        words += ["--symlink", target, path]
    for path, content, mode in assembly.files:
        files.append(os.memfd_create("content", 0))
        os.write(files[-1], content)
        os.lseek(files[-1], 0, os.SEEK_SET)
        words += ["--perms", f"{mode:04o}", "--file", str(files[-1]), path]
    for bind in assembly.binds:
        assert bind.read_only and bind.nosuid and bind.nodev and bind.why
        words += ["--ro-bind", bind.source, bind.destination]
    for path in assembly.empty:
        words += ["--tmpfs", path, "--remount-ro", path]
    words += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/"]
    variables = {"PATH": "/usr/bin:/bin", "HOME": "/home/user"} | assembly.environment
    for name, value in variables.items():
        words += ["--setenv", name, value]
    try:
        return subprocess.run(
            [*words, "--", *command], capture_output=True, text=True, pass_fds=files, timeout=60
        )
    finally:
        for descriptor in files:
            os.close(descriptor)


def output(assembly: Assembly, *command: str) -> str:
    done = enter(assembly, list(command))
    assert done.returncode == 0, done.stderr
    return done.stdout


def assembled_by(python: str, *options: str, **arguments: object) -> Assembly:
    """The assembly of ``@python`` as another interpreter puts it together."""
    code = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {SOURCE!r})
        from kokon.storage import builtin
        text = builtin.assemble("@python", **{arguments!r}).to_text()
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    """)
    done = subprocess.run([python, *options, "-c", code], capture_output=True, check=True)
    return Assembly.from_text(done.stdout.decode("utf-8", "surrogateescape"))


def interpreters() -> list[str]:
    """Every Python of this machine that kokon runs on, each once."""
    places = ("~/.pyenv/versions/*/bin/python3", "~/.local/share/uv/python/*/bin/python3")
    candidates = [sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"]
    candidates += [
        path for place in places for path in sorted(glob.glob(os.path.expanduser(place)))
    ]
    found: dict[str, str] = {}
    for path in candidates:
        done = (
            subprocess.run(
                [path, "-c", "import sys; raise SystemExit(sys.version_info < (3, 11))"],
                capture_output=True,
            )
            if os.access(path, os.X_OK)
            else None
        )
        if done and done.returncode == 0:
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


EXTENSIONS = """if True:
    import os, sys
    directory = [p for p in sys.path if p.endswith("lib-dynload")][0]
    for name in sorted(os.listdir(directory)):
        try:
            __import__(name.partition(".")[0])
        except ImportError as error:
            print(name, "is missing")
        else:
            print(name)
"""

DEMANDING = """if True:
    import ctypes, errno, hashlib, importlib.util, os, pwd, socket, sqlite3, ssl, sys, threading
    import zoneinfo
    assert ssl.create_default_context().get_ca_certs(), "no certificates"
    assert sqlite3.connect(":memory:").execute("select 1").fetchone() == (1,)
    assert ctypes.CDLL(None).getpid() == os.getpid()
    ctypes.CDLL("libgcc_s.so.1")
    assert zoneinfo.ZoneInfo("Europe/Berlin").key
    assert hashlib.sha256(b"").hexdigest().startswith("e3b0")
    assert pwd.getpwuid(os.getuid()).pw_dir == os.environ["HOME"]
    socket.getaddrinfo("127.0.0.1", 80)
    thread = threading.Thread(target=lambda: None); thread.start(); thread.join()
    for path in ("/new", os.path.dirname(os.__file__) + "/new", "/etc/new", "/usr/bin/new"):
        try:
            open(path, "a")
        except OSError as error:
            assert error.errno == errno.EROFS, (path, error)
        else:
            raise AssertionError(path + " can be written")
    for path in (os.environ["HOME"], "/tmp"):
        open(path + "/new", "w")
    for name in ("pip", "setuptools", "pytest", "kokon"):
        assert importlib.util.find_spec(name) is None, name + " is visible"
    print(sys.base_prefix)
"""


@needs_bubblewrap
@pytest.mark.parametrize("python", interpreters())
def test_python_is_whole_and_alone(python: str) -> None:
    assembly = assembled_by(python)
    assert len(assembly.binds) + len(assembly.empty) <= 12
    here = subprocess.run(
        [python, "-I", "-c", "import sys; print(sys.base_prefix)"], capture_output=True, text=True
    )
    for name in ("python3", "python", "/usr/bin/python3", python):
        assert output(assembly, name, "-c", DEMANDING) == here.stdout
    imported = subprocess.run([python, "-I", "-c", EXTENSIONS], capture_output=True, text=True)
    assert output(assembly, "python3", "-c", EXTENSIONS) == imported.stdout


@needs_bubblewrap
def test_python_shows_nothing_else() -> None:
    assembly = builtin.assemble("@python")
    code = "import os; print(*os.listdir('/'), *os.listdir('/etc'), *os.listdir('/home'))"
    seen = set(output(assembly, "python3", "-c", code).split())
    places = [bind.destination for bind in assembly.binds]
    places += [path for path, *_ in (*assembly.links, *assembly.files, *assembly.writable)]
    allowed = {path.split("/")[n] for path in places for n in (1, 2) if path.count("/") >= n}
    assert seen <= allowed | {"proc", "dev"}
    assert not seen & {"shadow", "var", "opt", "srv", "boot", "sys"}


@needs_bubblewrap
def test_python_below_the_home_directory() -> None:
    """An interpreter of pyenv or uv may lie where the container's home is."""
    prefix = os.path.dirname(sys.base_prefix)
    home = prefix if prefix != "/" else "/home/user"
    assembly = builtin.assemble("@python", home=home)
    code = f"open({home!r} + '/new', 'w'); import ssl, os; print(os.path.expanduser('~root'))"
    assert output(assembly, "python3", "-c", code) == f"{home}\n"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment with a package, a directory on a path and an editable install."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    site = next(venv.glob("lib/python*/site-packages"))
    (site / "kokon_inner.py").write_text("")
    for name in ("kokon_path", "kokon_mapped"):
        (tmp_path / name / name).mkdir(parents=True)
        (tmp_path / name / name / "__init__.py").write_text("")
    (tmp_path / "kokon_mapped" / "secret").write_text("")
    (site / "path.pth").write_text(f"# comment\n{tmp_path}/kokon_path\n/nowhere\n")
    (site / "__editable__.x.pth").write_text("import __editable___x; __editable___x.install()\n")
    package = str(tmp_path / "kokon_mapped" / "kokon_mapped")
    (site / "__editable___x.py").write_text(
        f"MAPPING: dict[str, str] = {{'kokon_mapped': {package!r}}}\n"
        "def install():\n"
        "    import sys\n"
        "    for path in MAPPING.values():\n"
        "        sys.path.append(path.rpartition('/')[0])\n"
    )
    return venv


@needs_bubblewrap
def test_packages_of_a_virtual_environment(environment: Path, tmp_path: Path) -> None:
    python = f"{environment}/bin/python"
    code = "import kokon_inner, kokon_path, kokon_mapped, sys; print(sys.prefix)"
    assembly = assembled_by(python, packages=True)
    # kokon's own commands run without site: they must find the same.
    assert assembly == assembled_by(python, "-I", "-S", packages=True)
    for name in ("python3", python):
        assert output(assembly, name, "-c", code) == f"{environment}\n"
    code = f"import os; print(os.path.exists({str(tmp_path / 'kokon_mapped' / 'secret')!r}))"
    assert output(assembly, "python3", "-c", code) == "False\n"

    without = assembled_by(python)
    assert assembly.empty == without.empty
    for name in ("kokon_inner", "kokon_path", "kokon_mapped"):
        assert "ModuleNotFoundError" in enter(without, ["python3", "-c", f"import {name}"]).stderr
        assert "ModuleNotFoundError" in enter(without, [python, "-c", f"import {name}"]).stderr


@needs_bubblewrap
def test_packages_of_the_system_where_the_environment_asks(environment: Path) -> None:
    python = f"{environment}/bin/python"
    config = environment / "pyvenv.cfg"
    config.write_text(config.read_text().replace("packages = false", "packages = true"))
    assert not assembled_by(python, packages=True).empty
    listing = [python, "-c", "import sys; print([p for p in sys.path if '-packages' in p])"]
    here = subprocess.run(listing, capture_output=True, text=True, env={"HOME": "/nonexistent"})
    assert output(assembled_by(python, packages=True), "python3", *listing[1:]) == here.stdout


@needs_bubblewrap
def test_host_has_programs_and_no_data() -> None:
    assembly = builtin.assemble("@host")
    assert output(assembly, "/bin/sh", "-c", "id -un; echo ~root").split() == [
        "root",
        "/home/user",
    ]
    absent = (
        "/root /var /srv /opt /boot /mnt /media /etc/shadow /etc/gshadow /etc/sudoers "
        "/etc/ssh /etc/ssl/private /etc/pki/tls/private /etc/machine-id /etc/hostname /etc/fstab"
    )
    code = f"ls -A /home /home/*; for p in {absent}; do test -e $p || test -L $p && echo $p; done"
    code += "; true"
    assert output(assembly, "/bin/sh", "-c", code).split() == ["/home:", "user", "/home/user:"]
    accounts = output(assembly, "cat", "/etc/passwd", "/etc/group").splitlines()
    assert {line.partition(":")[0] for line in accounts} == {"root", "user", "nobody"}
    code = "for d in /home/user /tmp / /usr /etc /home; do echo x > $d/x && echo $d; done; true"
    done = enter(assembly, ["/bin/sh", "-c", code])
    assert done.stdout.split() == ["/home/user", "/tmp"]
    assert done.stderr.count("Read-only file system") == 4


def test_unknown_root_and_impossible_home() -> None:
    with pytest.raises(RootError, match=r"@pyhton.*use @host or @python"):
        builtin.assemble("@pyhton")
    for home in ("home", "/", "//x", "/a/../b", "/a/", "", "/a:b", "/a\nr::0:0::/:", "/\udc80"):
        with pytest.raises(OptionError, match="no place for a home"):
            builtin.assemble("@host", home=home)
    with pytest.raises(OptionError, match="/usr/me is part of what @host shows"):
        builtin.assemble("@host", home="/usr/me")
    with pytest.raises(OptionError, match="packages: @host has no packages"):
        builtin.assemble("@host", packages=True)


def test_put_together_once_until_the_machine_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = builtin.assemble("@host")
    assert builtin.assemble("@host") is first
    assert builtin.assemble("@host", home="/home/other") is not first
    monkeypatch.setenv("LD_LIBRARY_PATH", "/elsewhere")
    assert builtin.assemble("@host") is not first
    assert builtin.assemble("@host") == first


def test_process_without_an_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("executable", "_base_executable"):
        monkeypatch.setattr(sys, name, "")
    with pytest.raises(RootError, match="without an interpreter of its own"):
        builtin.assemble("@python")
