"""What a plan says to reading, writing, making and executing a file, and to opening a device."""

from __future__ import annotations

from kokon.kernel import constants
from kokon.plan import ops, why_calls, why_landlock
from kokon.plan.answer import ALLOWED, DENIED, UNDECIDED, Answer, Entry
from kokon.plan.why_mounts import MADE_UP, Mount, Walked
from kokon.plan.why_rights import EXECUTE, READ, WRITE, Rights
from kokon.plan.why_tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.plan.answer import Known
    from kokon.plan.plan import Plan

RDONLY, NOEXEC, NODEV = (
    constants.MOUNT_ATTR_RDONLY, constants.MOUNT_ATTR_NOEXEC, constants.MOUNT_ATTR_NODEV,
)  # fmt: skip
READ_ONLY, NO_EXECUTION, NO_DEVICES = "is read-only", "is noexec", "is nodev"

ALWAYS_OPEN = frozenset((1, minor) for minor in (3, 5, 7, 8, 9))
"""null, zero, full, random, urandom: their drivers refuse nobody."""


class Case:
    """One question about a path: where it leads, and what holds there."""

    def __init__(self, plan: Plan, known: Known, action: str, path: str) -> None:
        self.plan = plan
        self.action = action
        self.path = path
        self.rights = Rights(plan, known)
        self.tree = Tree(plan, self.rights, known)
        self.walked = self._walk()
        self.mount: Mount = self.walked.place[0]

    def _walk(self) -> Walked:
        def search(directory: Entry) -> Answer | None:
            answer = self.rights.may(directory, EXECUTE)
            if answer.allowed:
                return None
            return Answer(
                answer.verdict, f"of a directory on the way {answer.sentence}", *answer.numbers
            )

        # To make a file anew (O_EXCL) is not to follow a link at the end.
        return self.tree.walk(self.path, follow=self.action != "create", search=search)

    def flag(self, flag: int) -> bool:
        """Whether a mount's flag holds for what the path leads to."""
        return bool(self.mount.flags(self.walked.entry) & flag)

    def refused_by(self, flag: int, words: str) -> Answer:
        """A mount's flag denies, whatever modes say."""
        step = self.mount.setters.get(flag, 0)
        if step and not self.walked.entry.below:
            return Answer(DENIED, f"the mount that {self.path} is on {words}", step)
        return Answer(
            DENIED, f"the mount that {self.path} is on {words}, as this machine has it",
            step or self.mount.step,
        )  # fmt: skip


def judge(plan: Plan, known: Known, action: str, path: str) -> Answer:
    """The answer for a path.

    :param action: read, write (to a file, or a new one; in a directory: make files), create,
        execute, or device (open the device that is there).
    """
    names = {"execute": ("execve", (None, None, None)), "device": ("openat", (None, None, 0))}
    call, arguments = names.get(action, ("openat", ()))
    through = why_calls.needed(plan, known, (call, arguments))
    if through is not None and through.verdict == DENIED:
        return through
    case = Case(plan, known, action, path)
    answer = _decide(case)
    if not answer.allowed:
        return answer
    refusal = why_landlock.path(plan, case.tree, case.walked, action)
    if refusal is not None:
        return refusal
    if through is not None:
        return through
    if case.walked.guessed:
        return Answer(UNDECIDED, "what the root holds on the way is not known")
    if case.rights.labelled:
        return Answer(UNDECIDED, "a security module's label decides", case.rights.labelled)
    return Answer(
        ALLOWED, answer.sentence, *answer.numbers, case.mount.step, case.mount.attached
    )  # fmt: skip


def _decide(case: Case) -> Answer:
    walked = case.walked
    if walked.end == "hidden":
        return Answer(DENIED, f"{case.path} is hidden: what is seen there is empty and kokon's own",
                      case.mount.attached)  # fmt: skip
    if walked.end == "refused":
        assert walked.refusal is not None
        return walked.refusal
    if walked.end == "unknown":
        return Answer(UNDECIDED, walked.entry.target)
    if walked.end == "loop":
        if case.flag(constants.MOUNT_ATTR_NOSYMFOLLOW):
            return case.refused_by(constants.MOUNT_ATTR_NOSYMFOLLOW, "follows no links")
        return Answer(UNDECIDED, "it runs through too many links")
    if walked.entry.kind == "kernel":
        return _made_up(case)
    if walked.end == "missing":
        return _missing(case)
    if walked.entry.kind in ("character", "block"):
        return _device(case)
    if case.action == "device":
        return Answer(UNDECIDED, f"a {walked.entry.kind} is there, and no device")
    if case.action == "create":
        return Answer(DENIED, "something is there already", case.mount.attached)
    return _ordinary(case)


def _made_up(case: Case) -> Answer:
    """A file that the kernel makes up: only what holds for all of its mount is known.

    The links of a whole /proc (/proc/self/root, /proc/self/fd/…) lead away from it.
    """
    files = case.mount.files
    if files.type != "proc" or case.mount.base:
        if case.action in ("write", "create") and case.flag(RDONLY):
            return case.refused_by(RDONLY, READ_ONLY)
        if case.action == "execute" and case.flag(NOEXEC):
            return case.refused_by(NOEXEC, NO_EXECUTION)
    return Answer(UNDECIDED, "the kernel makes this file up, and has rules of its own for it")


def _missing(case: Case) -> Answer:
    walked = case.walked
    if case.action in ("write", "create"):
        if case.flag(RDONLY):
            return case.refused_by(RDONLY, READ_ONLY)
        if len(walked.rest) > 1 or walked.entry.kind != "directory" or walked.rest[0] == "..":
            return Answer(UNDECIDED, "a directory on the way is not there")
        return _changed(case, WRITE | EXECUTE, "a file can be made there")
    if case.action == "execute" and case.flag(NOEXEC):
        return case.refused_by(NOEXEC, NO_EXECUTION)
    if case.action == "device" and case.flag(NODEV):
        return case.refused_by(NODEV, NO_DEVICES)
    return Answer(UNDECIDED, "there is no such file now")


def _device(case: Case) -> Answer:
    """Opening a device: a read-only mount does not matter to it."""
    entry = case.walked.entry
    if case.action == "create":
        return Answer(DENIED, "something is there already", case.mount.attached)
    if case.action == "execute":
        return Answer(DENIED, "a device is there, and no program", case.mount.attached)
    if case.flag(NODEV):
        return case.refused_by(NODEV, NO_DEVICES)
    if case.mount.files.foreign:
        return Answer(
            DENIED, "no device opens on a file system of the container's own user namespace",
            case.rights.clone, case.mount.step,
        )  # fmt: skip
    answer = case.rights.may(entry, {"read": READ, "write": WRITE}.get(case.action, READ))
    if answer.allowed and (entry.kind == "block" or entry.device not in ALWAYS_OPEN):
        return Answer(UNDECIDED, "the device's driver and its control group decide")
    return answer


def _ordinary(case: Case) -> Answer:
    """A file, a directory, or something like a file."""
    entry = case.walked.entry
    directory = entry.kind == "directory"
    if case.action == "write":
        if entry.kind in ("file", "directory") and case.flag(RDONLY):
            return case.refused_by(RDONLY, READ_ONLY)
        if _runs(case):
            return Answer(UNDECIDED, "it is the program itself, which cannot be changed while it"
                          " runs")  # fmt: skip
        made = "files can be made in it" if directory else "it can be written to"
        return _opened(case, _changed(case, WRITE | (EXECUTE if directory else 0), made))
    if case.action == "execute":
        if entry.kind != "file":
            return Answer(DENIED, f"a {entry.kind} is there, and no program", case.mount.attached)
        if case.flag(NOEXEC):
            return case.refused_by(NOEXEC, NO_EXECUTION)
        if _is_foreign_below(case) and not entry.mode & READ:
            return Answer(UNDECIDED, "the overlay may not be able to read a file of that owner")
        return _trusted(case, case.rights.may(entry, EXECUTE))
    return _opened(case, _trusted(case, case.rights.may(entry, READ)))


def _changed(case: Case, mask: int, words: str) -> Answer:
    """Whether a file may be written to, or a directory be added to."""
    entry = case.walked.entry
    if case.mount.files.type in MADE_UP:
        return Answer(UNDECIDED, "the kernel makes these files up, and has rules of its own")
    if entry.fixed:
        return Answer(UNDECIDED, "an attribute of the file (chattr(1)) restricts changes")
    answer = _trusted(case, case.rights.may(entry, mask))
    if not answer.allowed:
        return answer
    if _is_foreign_below(case):
        return Answer(UNDECIDED, "the overlay may not be able to copy a file of that owner")
    if case.mount.files.type == "overlay":
        words += ", in a layer of the container's own"
    return Answer(ALLOWED, f"{words}: {answer.sentence}", *answer.numbers)


def _is_foreign_below(case: Case) -> bool:
    """Whether it is of an overlay's layer and its owner has no id inside: the overlay opens and
    copies a file with the rights that the container's root had."""
    entry = case.walked.entry
    mapped = (case.rights.inside_uid(entry.uid), case.rights.inside_gid(entry.gid))
    return case.mount.files.type == "overlay" and None in mapped


def _trusted(case: Case, answer: Answer) -> Answer:
    if answer.allowed and case.walked.entry.remote:
        return Answer(UNDECIDED, "its file system has rules of its own")
    return answer


def _opened(case: Case, answer: Answer) -> Answer:
    """What is there may answer an open(2) for itself."""
    if answer.allowed and case.walked.entry.kind in ("fifo", "socket"):
        return Answer(UNDECIDED, f"a {case.walked.entry.kind} is there")
    return answer


def _runs(case: Case) -> bool:
    """Whether the path leads to the program that the plan executes (ETXTBSY)."""
    execute = case.plan.ops[-1]
    assert isinstance(execute, ops.Execute)
    here, at = case.walked.place
    for path in execute.paths:
        walked = case.tree.walk(path or "")
        if walked.end == "found":
            mount, below = walked.place
            return mount.files is here.files and (mount.base, below) == (here.base, at)
    return False
