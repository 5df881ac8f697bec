"""A box: the namespaces of one container, kept, and entered by one program after another.

It has no process of its own: descriptors keep it, so it is gone with this process, whatever ends
that.  Each program has processes of its own in it (``compile/box.py``).
"""

from __future__ import annotations

import os

from kokon.compile.box import compile_program
from kokon.compile.inputs import Launch
from kokon.compile.process import execution
from kokon.engine import limits, plans
from kokon.engine.run import Prepared, prepare, surroundings, taken_back
from kokon.errors import RequestError
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
    from kokon.security.ladder import Guarantees


class Box:
    """The kept namespaces.  Threads may share it.

    :ivar prepared: the run that made them: its options, limits and what is to be taken back.
    :raises KokonError: as a run; nothing is left.
    """

    def __init__(
        self, options: Options, progress: Callable[[int, int], object] | None = None
    ) -> None:
        self._options = options
        self._plans: dict[object, Plan] = {}
        self._programs: list[Program] = []
        self._descriptors: list[int] = []
        self.prepared = prepare(options, progress=progress, box=True)
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def _make(self) -> None:
        """Performs the plan; what it hands over comes by a message."""
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            process = self.prepared.start((nothing, nothing, nothing))
        finally:
            os.close(nothing)
        try:
            self._descriptors = process.spawned.await_descriptors()
            process.wait()
            if process.spawned.failed or not self._descriptors:
                raise self.prepared.refused(process.spawned.failed)
        finally:
            process.close()

    def program(
        self, options: Options, *, terminal: bool = False, transfer: Transfer | None = None
    ) -> Prepared:
        """A program that is ready to run in the box.

        :param options: the box's, with the program's own arguments, environment, user and limits.
        :param transfer: a file to be moved in place of a program.
        :raises KokonError: the request is at fault, or the box is closed.
        """
        return taken_back(lambda undo: self._program(options, terminal, transfer, undo))

    def _program(
        self, options: Options, terminal: bool, transfer: Transfer | None, undo: Undo
    ) -> Prepared:
        if not self._descriptors:
            raise RequestError("the box is closed", remedy="make another")
        box = self.prepared
        around = surroundings(options, box.found, box.mappings, terminal)
        recipe = plans.recipe(options, box.host, around)
        configuration = recipe.configuration.running(options.args)
        placed = limits.place_below(box.limits, options, configuration, undo)
        launch = Launch(
            reaper=bool(options.init),
            tasks=placed.tasks,
            cgroup_directory=placed.directory,
            map_by_parent=bool(box.mappings and box.mappings.by_parent),
            transfer=transfer is not None,
        )
        key = recipe, launch.key()
        common = self._plans.get(key)
        if common is None:
            common = compile_program(configuration.spec, box.host, launch)
            check.check(common)
            common.template = Template(common)
            plans.keep(self._plans, key, common)
        last = transfer or execution(options.args, configuration.spec.process.env)
        plan = Plan((*common.ops[:-1], last), common.inherited, common.notes, common.template)
        placed.descriptors += self._descriptors
        return Program(
            self, plan, configuration, box.host, placed, None, placed.notes, undo, box.found,
            options,
        )  # fmt: skip

    def enter(self, program: Program) -> None:
        """Notes a program, to be ended with the box."""
        self._programs.append(program)

    def leave(self, program: Program) -> None:
        """Forgets a program that has ended."""
        if program in self._programs:
            self._programs.remove(program)

    def close(self) -> list[Exception]:
        """Ends every program and takes back everything that was made.  May be called twice."""
        for program in tuple(self._programs):
            program.kill()
        descriptors, self._descriptors = self._descriptors, []
        for fd in descriptors:
            os.close(fd)
        return self.prepared.close()


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
        """As :meth:`Prepared.start`."""
        self._box.enter(self)
        self._process = super().start(streams)
        return self._process

    def kill(self) -> None:
        """Ends it, if it runs."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> list[Exception]:
        """As :meth:`Prepared.close`."""
        self._box.leave(self)
        return super().close()
