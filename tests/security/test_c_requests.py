"""Rows C8, C9, C12 and C15: words that are no option, a switch or a template, and what is kept."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from harness import attempt, make_root, run

import kokon
from kokon.kernel import capabilities

SEEN = {
    "C8": "a switch is on when it is `false`, in letters (it was so: found here)",
    "C9": "options are looked for behind ROOT too",
    "C12": "a tarball is known by its size and time; a plan's key leaves out what the user is",
    "C15": "words are formatted twice",
}

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("contained")]
Mode = dict[str, Any]
CONFINED = "grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status"
ODD = (-1, 99, "", "HOST", "Host", "host ", "host\n", "host,private", "true", 2.5)


def is_confined(out: str) -> bool:
    words = dict(line.split(":") for line in out.splitlines())
    bounding = int(words["CapBnd"], 16)
    return (
        not bounding & ~capabilities.DEFAULT_MASK
        and words["NoNewPrivs"].strip() == "1"
        and words["Seccomp"].strip() == "2"
    )


@pytest.mark.parametrize("name", ["network", "userns", "pid", "ipc", "uts", "cgroupns", "limits"])
def test_c8_a_choice_that_is_none(root: Path, name: str) -> None:
    for value in ODD:
        with pytest.raises((kokon.OptionError, TypeError, ValueError, AttributeError)):
            kokon.run(["/bin/true"], root=root, **{name: value})


@pytest.mark.parametrize("name", ["privileged", "read_only", "rw", "init", "packages"])
def test_c8_a_switch_that_is_no_bool(root: Path, name: str) -> None:
    """What came from a file of settings is text: ``"false"`` must not switch anything on."""
    for value in ("false", "no", "0", "", "true", -1, 99, [], ["x"]):
        with pytest.raises(kokon.OptionError, match="neither True nor False"):
            kokon.run(["/bin/true"], root=root, **{name: value})


@pytest.mark.parametrize("options", [
    {"security_opt": ["seccomp=Unconfined"]}, {"security_opt": ["seccomp"]},
    {"security_opt": ["seccomp="]}, {"security_opt": ["no-new-privileges=False"]},
    {"security_opt": ["no-new-privileges=0"]}, {"security_opt": ["unconfined"]},
    {"security_opt": [""]}, {"security_opt": ["privileged=true"]},
    {"cap_add": [""]}, {"cap_add": ["-1"]}, {"cap_add": ["99"]}, {"cap_add": ["ALL,"]},
    {"cap_add": ["CAP_"]}, {"cap_add": [99]}, {"user": -1}, {"user": "4294967296"},
], ids=str)  # fmt: skip
def test_c8_words_that_would_give_more(root: Path, mode: Mode, options: Mode) -> None:
    out = attempt(root, ["/bin/sh", "-c", CONFINED], **options, **mode)
    assert isinstance(out, kokon.RequestError), out


def command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kokon", "run", *words], cwd=cwd, capture_output=True, text=True,
        timeout=30, env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip


def test_c9_names_that_begin_like_an_option(root: Path, tmp_path: Path) -> None:
    for name in ("--privileged", "-v", "--user=0"):
        os.rename(root, tmp_path / name)
        root = tmp_path / name
        done = command(f"./{name}", "/bin/sh", "-c", CONFINED, "--privileged", cwd=tmp_path)
        assert is_confined(done.stdout), done
        done = command(name, "/bin/sh", "-c", CONFINED, cwd=tmp_path)
        assert done.returncode == 125 and "CapBnd" not in done.stdout, done
        out = attempt(root, ["/bin/sh", "-c", CONFINED], env={"--privileged": "1", "-v": "/:/h"},
                      volumes=[f"{root}:/--privileged"])  # fmt: skip
        assert isinstance(out, str) and is_confined(out)
    done = command(f"./{name}", "--privileged", "/bin/true", cwd=tmp_path)
    assert done.returncode == 125 and "write options before" in done.stderr


def test_c12_a_tarball_of_equal_size_and_time(root: Path, tmp_path: Path) -> None:
    archive = tmp_path / "root.tar"

    def pack(word: str) -> None:
        (root / "word").write_text(word)
        with tarfile.open(archive, "w") as tar:
            tar.add(root, ".")

    pack("first")
    before = archive.stat()
    assert run(archive, "cat /word") == "first"
    for word in ("other", "again"):
        pack(word)
        os.utime(archive, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert archive.stat().st_size == before.st_size
        assert run(archive, "cat /word") == word


def test_c12_a_root_that_changes_between_runs(root: Path, mode: Mode) -> None:
    """Plans are kept by a process: what they were made of is looked at every time."""
    home = "root:x:0:0::/first:/bin/sh\n"
    (root / "etc/passwd").write_text(home)
    assert run(root, "echo $HOME", user="root", **mode) == "/first\n"
    (root / "etc/passwd").write_text(home.replace("first", "other"))
    assert run(root, "echo $HOME", user="root", **mode) == "/other\n"
    if os.geteuid() == 0:
        for uid in (1000, 0, 1001):
            (root / "etc/passwd").write_text(f"who:x:{uid}:{uid}::/:/bin/sh\n")
            assert run(root, "id -u; id -g", user="who", **mode) == f"{uid}\n{uid}\n"


def test_c12_privileges_do_not_stay(root: Path, mode: Mode, tmp_path: Path) -> None:
    """Runs that differ in one option take turns; none gets what another one was given."""
    (tmp_path / "X").mkdir()
    more: list[Mode] = [
        {"cap_add": ["ALL"]}, {"security_opt": ["seccomp=unconfined"]},
        {"security_opt": ["no-new-privileges=false"]}, {"volumes": [f"{tmp_path / 'X'}:/tmp"]},
        {"env": {"A": "1"}}, {"cap_drop": ["ALL"]},
    ]  # fmt: skip
    if os.geteuid() == 0:
        more.append({"privileged": True, **mode})
    for options in more * 2:
        attempt(root, ["/bin/true"], **{**mode, **options})
        assert is_confined(run(root, CONFINED, **mode)), options
        assert run(root, "echo $A; ls /tmp", **mode) == "\n"


TEMPLATES = (
    "{{ 7 * 7 }}", "{% include '/etc/passwd' %}", "%(x)s %s %d", "{0.__class__} {target} {}",
    "${HOME} $(id) `id`", "%n%h \\x41 \\u0041",
)  # fmt: skip


@pytest.mark.parametrize("word", TEMPLATES)
def test_c15_values_are_verbatim(root: Path, mode: Mode, tmp_path: Path, word: str) -> None:
    done = kokon.run(["/bin/sh", "-c", 'echo "$V"; echo "$1"; cat; pwd', "sh", word], root=root,
                     env={"V": word}, input=word + "\n", cwd="/" + word.replace("/", "_"),
                     capture_output=True, text=True, **mode)  # fmt: skip
    assert done.stdout.splitlines() == [word] * 3 + ["/" + word.replace("/", "_")]
    shown = tmp_path / word.replace("/", "_")
    shown.mkdir()
    (shown / "here").touch()
    assert run(root, "ls /v", volumes=[f"{shown}:/v"], **mode) == "here\n"


@pytest.mark.parametrize("word", TEMPLATES)
def test_c15_messages_say_it_as_it_is(root: Path, mode: Mode, tmp_path: Path, word: str) -> None:
    name = word.replace("/", "_")
    make_root(tmp_path / name)
    (tmp_path / name / "proc").rmdir()
    (tmp_path / name / "proc").symlink_to("x")
    (root / "target").symlink_to("/tmp")
    for where, options in (
        (root, {"args": [f"/{name}"]}), (root, {"user": name}), (root, {"cap_add": [name]}),
        (root, {"volumes": [f"{root}/{name}:/v"]}), (root, {"network": name}),
        (root, {"tmpfs": [f"/target/{name}"]}), (tmp_path / f"{name}2", {}),
        (root, {"sysctls": [f"kernel.{name}=1"]}),
    ):  # fmt: skip
        error = attempt(where, **{"args": ["/bin/true"], **mode, **options})
        assert isinstance(error, kokon.KokonError), (options, error)
        assert name in str(error) or repr(name)[1:-1] in str(error), (options, str(error))
