"""Every exception that kokon raises, sorted by what the caller may do next.

    KokonError                      the root of the tree
    ├── RequestError                mend the call: it can never work as it is
    │   ├── OptionError             an option or argument (``where`` names it)
    │   ├── SpecError               an OCI document (``where`` is a JSON pointer)
    │   ├── RootError               the root does not exist or is no root
    │   │   └── ArchiveError        a tarball that is cut short, hostile or too large
    │   ├── UserError               a user or group the root does not know
    │   └── CommandError            the program: not found (127), not executable (126)
    ├── HostError                   mend the machine, or ask for less: it lacks or refuses something
    │   └── StepError               a step of a plan was refused by the kernel
    ├── RetryError                  try again: something was busy or used up for the moment
    └── OutcomeUnknown              the program may or may not have run

How a program ended is no failure of kokon's.  Where it is raised, it is a subclass of subprocess's
exception with the whole ``result`` (``kokon.api.ends``):

    subprocess.SubprocessError
    ├── TimeoutExpired              give it more time, or none; it has been ended
    ├── CalledProcessError          with ``check=True``: its status is not 0
    └── OutputExceeded              with ``overflow="error"``: it printed more than ``max_output``

A message is one sentence in four parts: *where* (option, step or JSON pointer), *what* went
wrong, *the kernel's word* when it was the kernel that refused, and *what to do*.  Raise the most
specific class at the lowest place that knows; only ``kokon.cli`` turns one into text and a status.
"""

from __future__ import annotations

import os
from errno import EACCES, EAGAIN, EDQUOT, EMFILE, ENFILE, ENOMEM, ENOSPC, EROFS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """What a person may have meant: the shortest that begins so, else one much like it, if any."""
    from difflib import get_close_matches

    words = {name.lstrip("-"): name for name in known}
    word = word.lstrip("-")
    begun = [name for name in words if len(word) > 2 and name.startswith(word)]
    like = [min(begun, key=len)] if begun else get_close_matches(word, words, 1, 0.65)
    return words[like[0]] if like else ""


class KokonError(Exception):
    """The root of the tree; ``str()`` is the whole sentence.

    :param what: what went wrong, without a final full stop.
    :param where: option (``--memory``), step (``step 17 of 42``) or JSON pointer (``/mounts/3``).
    :param errno: the kernel's error number, or 0 when the kernel was not asked.
    :param remedy: what to do about it, as an imperative.
    """

    exit_status = 125
    """What the command line exits with (Docker's word for the engine's own failures)."""

    def __init__(self, what: str, *, where: str = "", errno: int = 0, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.errno = errno
        self.remedy = remedy

    def __reduce__(self) -> tuple[object, ...]:
        """For pickle: the classes below take other arguments."""
        return _restored, (type(self), self.what, self.__dict__)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.errno:
            text += f": {os.strerror(self.errno)}"
        if self.remedy:
            text += f"; {self.remedy}"
        return text


def _restored(kind: type[KokonError], what: str, values: dict[str, object]) -> KokonError:
    error = kind.__new__(kind, what)
    error.__dict__.update(values)
    return error


class RequestError(KokonError):
    """The call itself is at fault: change it."""


class OptionError(RequestError):
    """An option or argument has a value that cannot be meant."""


class SpecError(RequestError):
    """An OCI document breaks its specification; ``where`` is the JSON pointer."""


class RootError(RequestError):
    """The root file system that was named does not exist or cannot be one."""


class ArchiveError(RootError):
    """A tarball is damaged, hostile, or larger than its limits allow."""


class UserError(RequestError):
    """A user or group is not known to the root, or is no valid id."""


class CommandError(RequestError):
    """The program cannot be executed: 127 when it is not there, 126 when it cannot run."""

    def __init__(
        self, what: str, *, exit_status: int, where: str = "", errno: int = 0, remedy: str = ""
    ) -> None:
        super().__init__(what, where=where, errno=errno, remedy=remedy)
        self.exit_status = exit_status


class HostError(KokonError):
    """This machine lacks something or refuses it: mend the machine or ask for less."""


class StepError(HostError):
    """The kernel refused a step of a plan; everything before it has been undone.

    :param step: the step's number in the plan, from 1.
    :param steps: how many steps the plan has.
    :param why: the option or JSON pointer that asked for the step.
    """

    def __init__(
        self, what: str, *, step: int, steps: int, why: str = "", errno: int = 0, remedy: str = ""
    ) -> None:
        asked = f" (asked by {why})" if why else ""
        super().__init__(what, where=f"step {step} of {steps}{asked}", errno=errno, remedy=remedy)
        self.step = step
        self.steps = steps
        self.why = why


class RetryError(KokonError):
    """Something was busy or used up for the moment; the same call may work later."""


class OutcomeUnknown(KokonError):
    """kokon lost sight of the program: it may or may not have run to its end."""


_PLACE = "a place of your own: XDG_RUNTIME_DIR or KOKON_STORE"
_USED_UP = {
    EMFILE: "allow this process more open files (ulimit -n), or close some",
    ENFILE: "allow this machine more open files (sysctl fs.file-max), or close some",
    ENOMEM: "see that memory is left, in the control group around kokon too",
    EAGAIN: "allow more processes: ulimit -u, or the pids limit of the control group around kokon",
    ENOSPC: f"make room there, or set {_PLACE}",
    EDQUOT: f"make room within your quota, or set {_PLACE}",
}
_REMEDIES = {EACCES: f"set {_PLACE}", EROFS: f"set {_PLACE}"}


def refused(error: OSError) -> KokonError:
    """The sentence for what the kernel refused to kokon itself.

    It is here because a process that can open no more files cannot import either.
    """
    number = error.errno or 0
    name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    what = f"{name or 'what a run needs'} cannot be used"
    if number in (EMFILE, ENFILE):
        what = f"{name or 'what a run needs'} cannot be opened"
    if number in _USED_UP:
        return RetryError(what, errno=number, remedy=_USED_UP[number])
    return HostError(what, errno=number, remedy=_REMEDIES.get(number, ""))
