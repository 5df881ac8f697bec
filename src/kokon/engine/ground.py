"""The lowest rung: what a program without namespaces reaches of this machine, and a place of its
own."""

from __future__ import annotations

import os
from _signal import SIGKILL  # type: ignore[import-not-found]  # signal imports enum

from kokon import paths
from kokon.compile.inputs import Reach, Source
from kokon.compile.lowest import END_ALL
from kokon.compile.mounts import is_bind
from kokon.compile.process import DEFAULT_PATH
from kokon.config.container import Surroundings
from kokon.config.levels import NeedsNamespaces
from kokon.engine import owner, sources
from kokon.kernel.private import private_directory
from kokon.runtime.process import FirstProcess
from kokon.security import landlock
from kokon.storage.interpreter import base_executable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokon.compile.assembly import Assembly
    from kokon.config.container import Configuration
    from kokon.config.options import Options
    from kokon.engine.undo import Undo
    from kokon.kernel.facts import HostFacts

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
PEOPLE = ("/etc/passwd", "/etc/group")
"""Files of a built-in root that stand for others of this machine, which stay closed."""
OF_THE_NETWORK = ("/etc/hosts", "/etc/resolv.conf", "/etc/host.conf")


class Ground:
    """What a program stands on.

    :param assembly: the built-in root, whose pieces are shown where they are.
    """

    __slots__ = ("assembly", "environment", "home", "python", "temporary")

    def __init__(self, assembly: Assembly, packages: bool, undo: Undo) -> None:
        """Makes a home and a directory for temporary files, which go away with the program.

        :param packages: @python has packages.
        """
        self.assembly = assembly
        place = private_place(undo)
        self.home, self.temporary, self.python = f"{place}/home", f"{place}/tmp", ""
        os.mkdir(self.home, 0o700)
        os.mkdir(self.temporary, 0o700)
        self.environment = {"TMPDIR": self.temporary}
        if assembly.name == "@python" and "PATH" not in assembly.environment:
            # The name python3 may lead to another one on this machine.
            interpreter = os.path.realpath(base_executable())
            directory = os.path.dirname(interpreter)
            if not packages:
                self.python = f"{place}/python"
                directory = f"{self.python}/bin"
                bare_environment(self.python, interpreter)
            self.environment["PATH"] = f"{directory}:{DEFAULT_PATH}"

    def surroundings(self, options: Options, host: HostFacts, terminal: bool) -> Surroundings:
        """As :func:`kokon.engine.run.surroundings`; the program is its caller."""
        if terminal:
            raise NeedsNamespaces(
                "a terminal of its own cannot be had without namespaces",
                where="--tty",
                remedy="give --interactive alone, or --tty=false",
            )
        return Surroundings(
            uid=host.uid,
            gid=host.gid,
            groups=(),
            home=self.home,
            caller=os.environ,
            devices=sources.device_numbers(options),
            seccomp=sources.seccomp_text(options),
            environment_files=sources.environment_files(options),
            root_environment={**self.assembly.environment, **self.environment},
            root_working_directory=self.home,
            lowest=True,
        )

    def reach(
        self,
        options: Options,
        host: HostFacts,
        configuration: Configuration,
        known: Mapping[str, Source],
    ) -> Reach:
        """The rules: the root's pieces are seen, its own places and volumes changed.

        :raises NeedsNamespaces: a volume would have to appear in another place.
        """
        rules = landlock.Rules(host.landlock)
        listings: dict[str, dict[str, bool]] = {}
        for bind in self.assembly.binds:
            hidden = [
                bind.source + path[len(bind.destination) :]
                for path in self.assembly.empty
                if landlock.beneath(path, bind.destination)
            ]
            if not bind.directory:
                rules.allow(bind.source, landlock.SEE, directory=False)
                continue
            for way in landlock.on_the_way(bind.source, hidden):
                with os.scandir(way) as entries:
                    listings[way] = {entry.name: entry.is_dir() for entry in entries}
            rules.allow_around(bind.source, hidden, listings)
        for path, _, _ in self.assembly.files:
            if path not in PEOPLE:
                rules.allow(path, landlock.SEE, directory=False)
        for path in DEVICES:
            rules.allow(path, landlock.USE, directory=False)
        for path in OF_THE_NETWORK if options.network == "host" else ():
            rules.allow(path, landlock.SEE, directory=False)
        for path in (self.home, self.temporary):
            rules.allow(path, landlock.CHANGE)
        if self.python:
            rules.allow(self.python, landlock.SEE)
        for index, mount in enumerate(configuration.spec.mounts):
            words = configuration.asked.get(f"/mounts/{index}", mount.source)
            if not is_bind(mount) or mount.source != mount.destination.rstrip("/"):
                raise NeedsNamespaces(
                    "without namespaces a volume appears where it is, and nowhere else",
                    where=words,
                    remedy=f"write -v {mount.source}:{mount.source}",
                )
            rights = landlock.SEE if "rro" in mount.options else landlock.CHANGE
            if "rnoexec" in mount.options:
                rights &= ~landlock.RUN
            rules.allow(mount.source, rights, directory=known[mount.source].directory)
        return Reach(rules.paths, rules.accesses, options.network == "host")


class ReapedProcess(FirstProcess):
    """A first process that ends every other one of its own, by a signal that it can take."""

    __slots__ = ()

    def kill(self, signal: int = SIGKILL) -> None:
        """Sends a signal; in place of SIGKILL the one by which it ends them all."""
        super().kill(END_ALL if signal == SIGKILL else signal)


def bare_environment(path: str, interpreter: str) -> None:
    """A virtual environment without packages (PEP 405): those of the interpreter are beneath its
    library, where their names cannot be hidden, and importing one would be a PermissionError."""
    os.makedirs(f"{path}/bin", 0o700)
    for name in ("python3", "python"):
        os.symlink(interpreter, f"{path}/bin/{name}")
    with open(f"{path}/pyvenv.cfg", "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(f"home = {os.path.dirname(interpreter)}\n")
        file.write("include-system-site-packages = false\n")


def private_place(undo: Undo) -> str:
    """A directory of a run's own in the store; it is removed with all that is in it."""
    directory = private_directory(private_directory(paths.store()) + "/writes")
    us = owner.current()
    us.note(directory)
    name = us.name()
    parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def remove() -> None:
        from kokon.kernel.removal import remove_tree

        try:
            remove_tree(parent, name)
        finally:
            os.close(parent)
        us.names.append(name)

    undo.push(remove)
    os.mkdir(name, 0o700, dir_fd=parent)
    return f"{directory}/{name}"
