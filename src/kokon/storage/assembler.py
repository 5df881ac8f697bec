"""Make pieces of this machine visible at their own paths, through the same links, as an Assembly.

Files are looked at, nothing is executed and nothing is changed.
"""

from __future__ import annotations

import os
import stat

from kokon.compile.assembly import Assembly, AssemblyBind
from kokon.errors import OptionError, RootError
from kokon.storage.dynamic_loader import read_bytes

STORES = ("/nix/store", "/gnu/store")
"""Directories in which each file names others by path: one is taken whole or not at all."""

SMALL = 4096
"""Up to this size, in bytes, a file is written rather than bound: that is quicker than a mount."""

PASSWD = (
    "root:x:0:0:root:{home}:/bin/sh\n"
    "user:x:1000:1000:user:{home}:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/:/bin/false\n"
)
GROUP = "root:x:0:\nuser:x:1000:\nnobody:x:65534:\n"
"""The accounts of every built-in root: the names of this machine's people stay outside."""

MAX_LINKS = 40
"""The kernel's own limit on links in one path (path_resolution(7))."""


def beneath(path: str, ancestor: str) -> bool:
    """Whether ``path`` is ``ancestor`` or inside it; both are normal and absolute."""
    return path == ancestor or ancestor == "/" or path.startswith(ancestor + "/")


class Assembler:
    """Collects what a root shall hold.

    :param name: the name of the root.
    :param areas: the directories whose paths may appear in the root.  A path that leads out of
        them is shown where it was asked for, and the name of its real place stays outside.
    :param public: whether to leave out what not every user of this machine may read.
    """

    def __init__(self, name: str, areas: tuple[str, ...] = ("/",), *, public: bool = False) -> None:
        self.name = name
        self.areas = areas
        self.public = public
        self.targets: dict[str, str | None] = {}
        self.links: dict[str, str] = {}
        self.binds: dict[str, AssemblyBind] = {}
        self.files: dict[str, tuple[bytes, int]] = {}
        self.hidden: list[str] = []

    def follow(self, path: str) -> tuple[str, dict[str, str]]:
        """Resolve a path as the kernel does: the real path and the links passed on the way.

        :raises OSError: it does not exist or leads through too many links.
        """
        links: dict[str, str] = {}
        ahead = path.split("/")[::-1]
        real = ""
        passed = 0
        while ahead:
            part = ahead.pop()
            if part in ("", "."):
                continue
            if part == "..":
                real = real.rpartition("/")[0]
                continue
            step = f"{real}/{part}"
            target = self.target(step)
            if target is None:
                real = step
                continue
            passed += 1
            if passed > MAX_LINKS:
                raise OSError(f"too many links in {path}")
            links[step] = target
            if target.startswith("/"):
                real = ""
            ahead += target.split("/")[::-1]
        return real or "/", links

    def target(self, path: str) -> str | None:
        """Where a link leads, None for anything else; ``path``'s parent is no link."""
        if path not in self.targets:
            try:
                self.targets[path] = os.readlink(path)
            except OSError:
                os.lstat(path)  # raises when it is missing
                self.targets[path] = None
        return self.targets[path]

    def pass_links(self, path: str, *, keep: bool = True) -> str:
        """The real path of a directory, or itself when it does not exist.

        :param keep: whether the links that lead there are wanted in the root.
        """
        try:
            real, links = self.follow(path)
        except OSError:
            return path
        if keep:
            self.links.update(links)
        return real

    def hide(self, directories: list[str]) -> None:
        """Cover these directories of this machine wherever a bind brings them along."""
        self.hidden += [self.pass_links(path, keep=False) for path in directories]

    def show(self, path: str, why: str, *, copy: bool = False) -> str:
        """Make a file or directory of this machine visible, with the links that lead to it.

        :param copy: a small file may be copied, since nobody waits for it to change.
        :returns: its path inside the root, or an empty string when there is nothing to show: it
            is missing, not public, or neither a regular file nor a directory.
        """
        try:
            real, links = self.follow(path)
            status = os.stat(real)
        except OSError:
            return ""
        directory = stat.S_ISDIR(status.st_mode)
        if not (directory or stat.S_ISREG(status.st_mode)) or real == "/":
            return ""
        if self.public and not status.st_mode & stat.S_IROTH:
            return ""
        inside = all(any(beneath(p, area) for area in self.areas) for p in (real, *links))
        if inside:
            self.links.update(links)
        elif any(beneath(real, destination) for destination in self.binds):
            self.links[path] = real
            return real
        place = real if inside else path
        for store in STORES:
            if beneath(real, store):
                self.binds[store] = AssemblyBind(store, store, True, why="the package store")
                return real
        if place in self.binds or place in self.files:
            return place
        if copy and not directory and status.st_size <= SMALL:
            self.files[place] = (read_bytes(real), 0o644)
        else:
            self.binds[place] = AssemblyBind(real, place, directory, why=why)
        return place

    def finish(self, home: str, environment: dict[str, str] | None = None) -> Assembly:
        """What was collected, without what a bind of a directory brings by itself.

        :raises OptionError: the home cannot be where it is wanted.
        """
        check_home(home)
        self.files["/etc/passwd"] = (PASSWD.format(home=home).encode(), 0o644)
        self.files["/etc/group"] = (GROUP.encode(), 0o644)
        binds: list[AssemblyBind] = []
        for bind in self.binds.values():
            bind.destination = self.resolve(bind.destination, self.links)
        for bind in sorted(self.binds.values(), key=lambda bind: bind.destination):
            if not self.inside(bind.destination, binds):
                binds.append(bind)
        links = {p: t for p, t in self.links.items() if not self.inside(p, binds)}
        home = self.resolve(home, links)
        if self.inside(home, binds) or home in self.links:
            raise OptionError(
                f"{home} is part of what {self.name} shows of this machine",
                where="home",
                remedy="choose another path",
            )
        writable = {home: 0o755, self.resolve("/tmp", links): 0o1777}
        files = {self.resolve(path, links): file for path, file in self.files.items()}
        files = {path: file for path, file in files.items() if not self.inside(path, binds)}
        links = {self.resolve(path, links): target for path, target in links.items()}
        places = (*links, *files, *(bind.destination for bind in binds))
        directories = {p for place in places for p in parents(place)}
        return Assembly(
            self.name,
            writable=tuple(sorted(writable.items())),
            directories=tuple((p, 0o755) for p in sorted(directories) if p not in writable),
            links=tuple(sorted(links.items())),
            files=tuple((p, *files[p]) for p in sorted(files)),
            binds=tuple(binds),
            empty=tuple(p for p in sorted(set(self.hidden)) if self.inside(p, binds)),
            environment=environment,
        )

    @staticmethod
    def inside(path: str, binds: list[AssemblyBind]) -> bool:
        """Whether one of these binds has brought the path already."""
        return any(bind.directory and beneath(path, bind.destination) for bind in binds)

    @staticmethod
    def resolve(path: str, links: dict[str, str]) -> str:
        """The same place without links in its parents: what is made there must be found there."""
        for _ in range(MAX_LINKS):
            for link in parents(path):
                if link in links:
                    rest = path[len(link) :]
                    path = os.path.normpath(os.path.join(os.path.dirname(link), links[link])) + rest
                    break
            else:
                return path
        raise RootError(f"links of this machine lead in a circle at {path}")


def check_home(home: str) -> None:
    """Refuse what cannot be a home directory, or would break the line of passwd that names it.

    :raises OptionError: it is not absolute and normal, or holds a colon or control character.
    """
    normal = home.startswith("/") and home == os.path.normpath(home) and home.strip("/")
    if not normal or home.startswith("//") or ":" in home or not home.isprintable():
        raise OptionError(
            f"{home!r} is no place for a home directory",
            where="home",
            remedy="give an absolute path below / without . and .. and colons",
        )


def parents(path: str) -> list[str]:
    """The directories above a path, the outermost first, without ``/``."""
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(2, len(parts))]
