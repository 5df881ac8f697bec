"""A box: the namespaces of one container, kept, and entered by one program after another.

It has no process of its own: descriptors keep it, so it is gone with this process, whatever ends
that.  Each program has processes of its own in it (``compile/box.py``).
"""

from __future__ import annotations

import os
from _thread import get_ident
from time import monotonic, sleep

from kokon.compile import lacks
from kokon.compile.box import compile_program
from kokon.compile.inputs import Launch
from kokon.compile.process import execution
from kokon.engine import limits, plans
from kokon.engine.prepared import Prepared
from kokon.engine.run import prepare, surroundings, taken_back
from kokon.errors import KokonError, OptionError, RequestError
from kokon.plan import check
from kokon.plan.ops import Transfer
from kokon.plan.plan import Plan
from kokon.plan.wire import Template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from kokon.config.options import Options
    from kokon.engine.undo import Undo
    from kokon.runtime.process import FirstProcess
    from kokon.runtime.spawn import Report
    from kokon.security.ladder import Guarantees


PATIENCE = 5.0
"""Seconds to wait for the end of what was killed, and for threads that start something."""


class Box:
    """The kept namespaces.  Threads may share it.

    Its descriptors are closed when no thread is in the middle of a start any more: what had their
    numbers then would be handed to init in their place.

    :ivar maker: the process that has made it.
    :ivar prepared: the run that made them: its options, limits and what is to be taken back.
    :raises KokonError: as a run; nothing is left.
    """

    def __init__(
        self, options: Options, progress: Callable[[int, int], object] | None = None
    ) -> None:
        self._plans: dict[object, Plan] = {}
        self._programs: list[Program] = []
        self._descriptors: list[int] = []
        self._inside: list[int] = []
        self._keeper: FirstProcess | None = None
        self.maker = os.getpid()
        self.is_open = False
        if options.landlock:
            raise OptionError(
                "the programs of a box have no second wall", where="--landlock",
                remedy="leave it out, or use kokon.run",
            )  # fmt: skip
        self.prepared = prepare(options, progress=progress, box=True)
        try:
            self._make()
            self.is_open = True
        except BaseException:
            self.close()
            raise

    def _make(self) -> None:
        """Performs the plan, at the level ``best`` without what is refused."""
        while (process := self._perform()).spawned.failed or not self._descriptors:
            failed = process.spawned.failed
            error = self.prepared.refused(failed)
            if not self.prepared.goes_without(failed, error):
                raise error

    def _perform(self) -> FirstProcess:
        """Performs the plan; what it hands over comes by a message."""
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            process = self.prepared.start((nothing, nothing, nothing))
        finally:
            os.close(nothing)
        try:
            process.spawned.await_descriptors()
            # The same list: whoever is interrupted here, one of us closes them, and once.
            self._descriptors = process.spawned.received
            process.spawned.received = []
            process.wait()
        except BaseException:
            process.abandon()
            raise
        if self.prepared.limits.place_late:
            self._keeper = process  # its stage 1 keeps systemd's scope alive
        else:
            process.close()
        return process

    def program(
        self, options: Options, *, terminal: bool = False, transfer: Transfer | None = None
    ) -> Prepared:
        """A program that is ready to run in the box.

        :param options: the box's, with the program's own arguments, environment, user and limits.
        :param transfer: a file to be moved in place of a program.
        :raises KokonError: the request is at fault, or the box is closed.
        """
        try:
            self.enter()
            return taken_back(lambda undo: self._program(options, terminal, transfer, undo))
        except KokonError as error:
            if self.is_open:
                raise
            raise closed() from error
        finally:
            self.leave()

    def _program(
        self, options: Options, terminal: bool, transfer: Transfer | None, undo: Undo
    ) -> Prepared:
        box = self.prepared
        around = surroundings(options, box.found, box.mappings, terminal)
        recipe = plans.recipe(options, box.host, around)
        configuration = recipe.configuration.running(options.args)
        placed = limits.place_below(box.limits, options, configuration, undo)
        launch = Launch(
            reaper=bool(options.init),
            tasks=placed.tasks,
            cgroup_directory=placed.directory,
            admitted=placed.place_late is not None,
            resource_limits=placed.resource_limits,
            map_by_parent=bool(box.mappings and box.mappings.by_parent),
            transfer=transfer is not None,
            without=box.without,
        )
        key = recipe, launch.key()
        common = self._plans.get(key)
        if common is None:
            common = compile_program(configuration.spec, box.host, launch)
            if box.without:
                common = lacks.without(common, box.without, box.host.architecture)
            check.check(common)
            common.template = Template(common)
            plans.keep(self._plans, key, common)
        last = transfer or execution(options.args, configuration.spec.process.env)
        plan = Plan((*common.ops[:-1], last), common.inherited, common.notes, common.template)
        placed.descriptors += self._descriptors
        return Program(
            self, plan, configuration, box.host, placed, None, placed.notes, undo, box.found,
            options, box.root,
        )  # fmt: skip

    def enter(self) -> None:
        """This thread prepares or starts a program now: what that needs stays, until it leaves.

        :raises RequestError: the box is closed, or another process has made it.
        """
        if self.maker != os.getpid():
            raise RequestError(
                "the box belongs to the process that this one was forked from",
                remedy="make another in this process",
            )
        self._inside.append(get_ident())
        if not self.is_open:
            raise closed()

    def leave(self) -> None:
        """The end of :meth:`enter`, also of one that was interrupted."""
        if get_ident() in self._inside:
            self._inside.remove(get_ident())
        if not self.is_open:
            self._let_go()

    def add(self, program: Program) -> None:
        """Notes a program, to be ended with the box."""
        self._programs.append(program)

    def remove(self, program: Program) -> None:
        """Forgets a program that has ended."""
        if program in self._programs:
            self._programs.remove(program)

    def close(self) -> list[Exception]:
        """Ends every program and takes back everything that was made.  May be called twice.

        A forked child lets go what it has a copy of, and ends nothing.
        """
        self.is_open = False
        if self.maker != os.getpid():
            self._inside.clear()
            self._let_go()
            return []
        for program in tuple(self._programs):
            program.kill()
        # Who is in the middle of a start sees then that the box is closed, and ends it.
        until = monotonic() + PATIENCE
        while any(thread != get_ident() for thread in self._inside) and monotonic() < until:
            sleep(0.001)
        for program in tuple(self._programs):
            program.end()
        if self._keeper is not None:
            self._keeper.close()
        errors = self.prepared.close()
        self._let_go()
        return errors

    def __del__(self) -> None:
        # An interrupt came before anybody had it who would close it, or while a thread left.
        if self._descriptors:
            self._inside.clear()
            self.close()

    def _let_go(self) -> None:
        """Closes the descriptors, unless a thread is inside: the last one does it then."""
        if not self._inside:
            descriptors, self._descriptors = self._descriptors, []
            while descriptors:
                os.close(descriptors.pop())


def closed() -> RequestError:
    """The box is closed."""
    return RequestError("the box is closed", remedy="make another")


class Program(Prepared):
    """A program of a box."""

    __slots__ = ("_box", "_process")

    def __init__(self, box: Box, *prepared: Any) -> None:
        super().__init__(*prepared)
        self._box = box
        self._process: FirstProcess | None = None

    @property
    def guarantees(self) -> Guarantees:
        """Those of the box."""
        return self._box.prepared.guarantees

    def start(self, streams: tuple[int, int, int]) -> FirstProcess:
        """As :meth:`Prepared.start`.

        :raises RequestError: the box is closed.
        """
        try:
            self._box.enter()
            self._box.add(self)
            self._process = super().start(streams)
            if not self._box.is_open:
                self.kill()  # too late for the box to see it
            return self._process
        finally:
            self._box.leave()

    def kill(self) -> None:
        """Ends it, if it runs."""
        if self._process is not None:
            self._process.kill()

    def end(self) -> None:
        """Ends it, and waits for its end, if it runs."""
        if self._process is not None:
            self._process.end(PATIENCE)

    def refused(self, report: Report | None) -> KokonError:
        """As :meth:`Prepared.refused`."""
        return super().refused(report) if self._box.is_open else closed()

    def close(self) -> list[Exception]:
        """As :meth:`Prepared.close`."""
        self._box.remove(self)
        return super().close()
