"""Plans of this process, made once.

``configure``, ``compile_container`` and ``check`` are pure: of the same values they make the same
plan.  So a configuration is kept by the options and surroundings that it was made of, and its plans
by how the root is made and how the run is launched.  Only the program and its arguments may differ:
they are the last op.
"""

from __future__ import annotations

from kokon.compile.container import compile_container
from kokon.compile.mounts import is_bind
from kokon.compile.process import execution
from kokon.config.container import Configuration, configure
from kokon.errors import KokonError
from kokon.plan import check
from kokon.plan.plan import Plan
from kokon.plan.wire import Template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kokon.compile.inputs import Launch, RootFacts
    from kokon.config.container import Surroundings
    from kokon.config.options import Options
    from kokon.kernel.facts import HostFacts

MOST = 32
"""Configurations, and plans of each, that are kept."""


class Recipe:
    """What runs with the same options in the same surroundings have in common.

    :ivar configuration: its program is that of the first run.
    """

    __slots__ = ("_host", "_plans", "configuration")

    def __init__(self, configuration: Configuration, host: HostFacts) -> None:
        self.configuration = configuration
        self._host = host
        self._plans: dict[object, tuple[Plan, RootFacts]] = {}

    def plan(self, options: Options, root: RootFacts, launch: Launch) -> Plan:
        """The plan for the program of ``options``.

        :raises KokonError: in the words of the option that asked for what cannot be.
        """
        key = root.key(), launch.key()
        found = self._plans.get(key)
        if found is None:
            made = self._compile(root, launch)
            made.template = Template(made)
            found = made, root
            keep(self._plans, key, found)
        common, _ = found
        if launch.box:
            return common
        last = execution(options.args, self.configuration.spec.process.env)
        ops = (*common.ops[:-1], last)
        return Plan(ops, common.inherited, common.notes, common.template)

    def _compile(self, root: RootFacts, launch: Launch) -> Plan:
        from kokon.plan.provenance import asked_by

        try:
            plan = compile_container(self.configuration.spec, self._host, root, launch)
        except KokonError as error:
            error.where = asked_by(error.where, self.configuration.asked)
            raise
        if launch.without:
            from kokon.compile import lacks

            plan = lacks.without(plan, launch.without, self._host.architecture)
        check.check(plan)
        return plan


_recipes: dict[object, Recipe] = {}


def recipe(options: Options, host: HostFacts, around: Surroundings) -> Recipe:
    """The recipe of a run, made where it is not there yet.

    :raises KokonError: the options cannot be meant, or this machine cannot give what they ask.
    """
    key = options.key(), host, around.key()
    try:
        found = _recipes.get(key)
    except TypeError:  # a value without a hash: ``configure`` says what is wrong with it
        return Recipe(configure(options, host, around), host)
    if found is None:
        found = Recipe(configure(options, host, around), host)
        if _is_whole(options, around, found.configuration):
            keep(_recipes, key, found)
    return found


def _is_whole(options: Options, around: Surroundings, configuration: Configuration) -> bool:
    """Whether options and surroundings are all that a configuration depends on: not what is at the
    path of a bind, nor a variable that is taken from the caller's environment by its name."""
    return not (
        around.environment_files
        or any("=" not in entry for entry in options.env)
        or any(is_bind(mount) for mount in configuration.spec.mounts)
    )


def keep(values: dict[object, Any], key: object, value: object) -> None:
    """Adds a value, and lets all go when there are too many: a caller with so many kinds of runs
    gains nothing."""
    if len(values) >= MOST:
        values.clear()
    values[key] = value
