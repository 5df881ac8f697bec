"""One write to a control group's file, and the table that collects them (pure)."""

from __future__ import annotations

from kokon.errors import HostError, OptionError, RequestError, SpecError
from kokon.plan.provenance import asked_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokon.kernel.cgroups import CgroupLayout, Hierarchy


class Write:
    """One value for one file.

    :ivar controller: the controller, ``cgroup`` for the core files of version 2.
    :ivar file: the file's name in the group's directory.
    :ivar value: what is written, without a newline.
    :ivar why: the option or JSON pointer that asked for it.
    :ivar alternatives: ``(file, value)`` to try, in order, where the kernel has no ``file``.
    :ivar may_lack: whether the write may be left out where no such file exists, because the
        value is what the kernel does anyway.
    :ivar note: what a person should be told about it, or empty.
    """

    __slots__ = ("alternatives", "controller", "file", "may_lack", "note", "value", "why")

    def __init__(
        self,
        controller: str,
        file: str,
        value: str,
        why: str,
        *,
        alternatives: tuple[tuple[str, str], ...] = (),
        may_lack: bool = False,
        note: str = "",
    ) -> None:
        self.controller = controller
        self.file = file
        self.value = value
        self.why = why
        self.alternatives = alternatives
        self.may_lack = may_lack
        self.note = note

    def __repr__(self) -> str:
        return f"<Write {self.file} = {self.value!r} ({self.why})>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Write):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in Write.__slots__)

    def __hash__(self) -> int:
        return hash((self.file, self.value, self.why))


class Table:
    """The writes for one machine, in the order in which the kernel takes them.

    :param layout: the machine's hierarchies.
    :param asked: JSON pointer to the option that set it, for ``why`` and errors.
    """

    __slots__ = ("layout", "asked", "writes")

    def __init__(self, layout: CgroupLayout, asked: Mapping[str, str]) -> None:
        self.layout = layout
        self.asked = asked
        self.writes: list[Write] = []

    def why(self, pointer: str) -> str:
        """The option behind a JSON pointer, else the pointer."""
        return asked_by(pointer, self.asked)

    def add(
        self,
        controller: str,
        file: str,
        value: str | int,
        pointer: str,
        *,
        alternatives: tuple[tuple[str, str], ...] = (),
        may_lack: bool = False,
        note: str = "",
    ) -> None:
        """Append a write."""
        self.writes.append(
            Write(
                controller,
                file,
                str(value),
                self.why(pointer),
                alternatives=alternatives,
                may_lack=may_lack,
                note=note,
            )
        )

    def hierarchy(
        self, names: tuple[str, ...], asked: tuple[tuple[str, object], ...]
    ) -> Hierarchy | None:
        """The hierarchy with one of the controllers, or None when nothing is asked of it.

        :param names: the controller's names (``blkio`` and ``io`` are one).
        :param asked: ``(pointer, value)`` of every field that the controller answers.
        :raises HostError: something is asked and the machine has no such controller.
        """
        wanted = [(pointer, value) for pointer, value in asked if value is not None]
        if not wanted:
            return None
        for name in names:
            hierarchy = self.layout.of(name)
            if hierarchy is not None:
                return hierarchy
        for pointer, value in wanted:
            # -1 is "no limit", which a machine without the controller gives.
            if value and value != -1:
                raise self.lacks(pointer, f"this machine has no {' or '.join(names)} controller")
        return None

    def lacks(self, pointer: str, what: str, remedy: str = "") -> HostError:
        """The error for what this machine cannot do."""
        return HostError(
            what,
            where=self.why(pointer),
            remedy=remedy or "leave it out, or use a host that has it",
        )

    def wrong(self, pointer: str, what: str, remedy: str = "") -> RequestError:
        """The error for a value that no machine takes."""
        kind = SpecError if self.why(pointer) == pointer else OptionError
        return kind(what, where=self.why(pointer), remedy=remedy)

    def within(self, pointer: str, value: int, low: int, high: int) -> int:
        """``value``, when it is between the bounds.

        :raises RequestError: it is not.
        """
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(pointer, f"{value!r} is not a whole number from {low} to {high}")
        return value
