"""What a known difference between runtimes is: a field, who has it otherwise, and why."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from runtimes import Outcome

Config = dict[str, Any]


LINKS = {"/link": "/real", "/up": "/real", "/dangling": "/made/by/mount"}
"""Of the root: see ``World.root``."""


def plain(path: str) -> str:
    """A path as it is inside, where none of its parts is a link."""
    path = "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
    for link, target in LINKS.items():
        if f"{path}/".startswith(f"{link}/"):
            return target + path[len(link) :]
    return path


class Case:
    """One field of one configuration.

    :ivar values: by runtime, of those that ran it.
    :ivar name: of the runtime that is asked about; :ivar mine: what it has there.
    """

    def __init__(self, config: Config, field: str, outcomes: dict[str, Outcome]) -> None:
        self.config = config
        self.field = field
        self.outcomes = outcomes
        ran = [name for name, each in outcomes.items() if each.fields["outcome"] == "ran"]
        # What the others do without kokon is not ours to explain.
        wanted = outcomes if field in ("outcome", "groups-left") else ran if "kokon" in ran else ()
        self.values = {name: outcomes[name].fields.get(field) for name in wanted}
        self.name = ""

    @property
    def mine(self) -> Any:
        return self.values[self.name]

    @property
    def text(self) -> str:
        return "" if self.mine is None else str(self.mine)

    @property
    def said(self) -> str:
        return self.outcomes[self.name].said

    @property
    def process(self) -> Config:
        found: Config = self.config["process"]
        return found

    @property
    def linux(self) -> Config:
        found: Config = self.config["linux"]
        return found

    @property
    def path(self) -> str:
        """The place of the mount or path that the field is about."""
        return self.field.partition(":")[2].partition(" ")[0].rstrip("'")

    @property
    def users(self) -> bool:
        return "user" in self.kinds

    @property
    def kinds(self) -> list[str]:
        return [each["type"] for each in self.linux["namespaces"]]

    def mounts(self, path: str = "") -> list[Config]:
        """Of the configuration, those at a path or above it."""
        here = plain(path or self.path) + "/"
        found = self.config["mounts"]
        return [each for each in found if here.startswith(plain(each["destination"]) + "/")]

    @property
    def volume(self) -> bool:
        """Whether it is about a bind, or what is mounted below its source."""
        return any(mount.get("type") in ("bind", "none", None) for mount in self.mounts())

    def words(self, path: str = "") -> list[str]:
        return [word for mount in self.mounts(path) for word in mount.get("options", ())]

    def resources(self, kind: str) -> Config:
        found: Config = self.linux.get("resources", {}).get(kind, {})
        return found


class Known:
    """A row: ``runtime`` has something of its own in ``field``, where ``when`` is true."""

    def __init__(
        self,
        field: str,
        runtime: str,
        reason: str,
        when: Callable[[Case], object] = lambda case: True,
    ) -> None:
        self.field = field
        self.runtime = runtime
        self.reason = reason
        self.when = when

    def explains(self, case: Case) -> bool:
        """Whether this is what the runtime does here."""
        if self.runtime not in case.values or not fnmatchcase(case.field, self.field):
            return False
        case.name = self.runtime
        return bool(self.when(case))


def refuses(runtime: str, words: str, reason: str) -> Known:
    """A row for a refusal in these words."""
    pattern = re.compile(words)
    return Known(
        "outcome", runtime, reason,
        lambda case: case.mine == "refused" and pattern.search(case.said),
    )  # fmt: skip
