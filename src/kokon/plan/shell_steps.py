"""The part of a shell script that runs inside the new namespaces, while it is being written."""

from __future__ import annotations

from kokon.kernel import constants
from kokon.plan import ops
from kokon.plan.explain import flags, sentence
from kokon.plan.provenance import asked_by
from kokon.plan.shell_commands import commands
from kokon.plan.shell_words import comment, quote, visible, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokon.plan.op import Op
    from kokon.plan.plan import Plan

FUNCTIONS = {
    "take": """\
take() {  # take --bind|--rbind SOURCE MOUNT: what the host has there, as a mount on the stage
    if [ -d "$2" ]; then mkdir "$3"; else : > "$3"; fi
    mount "$1" "$2" "$3"
}""",
    "attributes": """\
attributes() {  # attributes OPTIONS MOUNT: for a mount and all that is mounted below it
    findmnt --list --noheadings --submounts --output TARGET --mountpoint "$2" |
        while IFS= read -r mount; do
            mount -o "remount,bind,$1" "$mount"
        done
}""",
    "beneath": """\
beneath() {  # beneath ROOT PATH: mount(8) would follow a link of the root out of it
    place=$1 rest=$2/
    while [ -n "$rest" ]; do
        place=$place/${rest%%/*} rest=${rest#*/}
        if [ -L "$place" ]; then echo "$2 runs through a link in the root" >&2; exit 125; fi
    done
}""",
    "put": """\
put() {  # put MOUNT ROOT PATH directory|file|there: moves a mount onto a path of the root
    beneath "$2" "$3"
    if [ "$4" = directory ]; then
        mkdir -p "$2/$3"
    elif [ "$4" = file ] && ! [ -e "$2/$3" ]; then
        mkdir -p "$(dirname "$2/$3")"
        : > "$2/$3"
    fi
    mount --move "$1" "$2/$3"
}""",
    "hide": """\
hide() {  # hide ROOT PATH COVERS: an empty file or directory over it, where there is something
    beneath "$1" "$2"
    if [ -d "$1/$2" ]; then
        mount --bind "$3/empty-directory" "$1/$2"
    elif [ -e "$1/$2" ]; then
        mount --bind "$3/empty-file" "$1/$2"
    fi
}""",
    "read_only": """\
read_only() {  # read_only ROOT PATH: a read-only mount of it over itself
    beneath "$1" "$2"
    if [ -e "$1/$2" ]; then
        mount --rbind "$1/$2" "$1/$2"
        attributes ro "$1/$2"
    fi
}""",
}
"""Functions of the script; one is printed where a step needs it."""

NEEDS = {"put": ("beneath",), "hide": ("beneath",), "read_only": ("beneath", "attributes")}

TOOLS = r"""
# After pivot_root no program of the host can be reached: these wait here with their libraries,
# and the dynamic loader starts them by their place. They go away with the old root.
mkdir tools
for tool in {tools}; do
    program=$(command -v $tool)
    cp -L "$program" $(ldd "$program" | sed -n 's,.*[[:space:]]\(/[^ ]*\) (0x.*,\1,p') tools
done
loader=$(ldd "$program" | sed -n 's,^[[:space:]]*\(/[^ ]*\) (0x.*,\1,p')
tool="./${{loader##*/}} --library-path ."
"""

FLAGS = {
    "user": "--user", "mount": "--mount", "pid": "--pid", "ipc": "--ipc", "uts": "--uts",
    "network": "--net", "cgroup": "--cgroup", "time": "--time",
}  # fmt: skip

FREE = range(4, 10)
"""Descriptors for the script's own use: dash knows one digit, and 3 is the script."""


class Inside:
    """The steps, in the new namespaces.

    :ivar unshare: the options of unshare(1) for step 1.
    :ivar missing: what no tool does, to the numbers of its steps.
    :ivar differences: why the script is not exact; empty where it is.
    :ivar places: slot to the path of its mount, seen from the stage.
    :ivar staged_at: path that a mount is attached to in the plan, to its place on the stage.
    :ivar start: tools that the last command begins with; ``limits`` and ``rights`` are the words
        of its prlimit and setpriv.
    :ivar writes: the slot of an overlay's writes, where they are dropped at the end, else -1.
    """

    def __init__(self, plan: Plan, asked: Mapping[str, str], groups: Mapping[str, str]) -> None:
        self.plan = plan
        self.asked = asked
        self.groups = groups
        self.number = 0
        self.lines: list[str] = []
        self.functions: set[str] = set()
        self.tools = ["umount"]
        self.places: dict[int, str] = {}
        self.staged_at: dict[str, str] = {}
        self.without: set[int] = set()
        self.joined: list[int] = []
        self.start: list[str] = []
        self.limits: list[str] = []
        self.rights: list[str] = []
        self.directory = "/"
        self.reaper = self.released = self.pivoted = False
        self.missing: dict[str, list[int]] = {}
        self.differences: list[str] = []
        self.writes = _dropped_writes(plan)
        self.for_proc = {op.proc for op in plan.ops if isinstance(op, ops.WriteProc)}
        clone = next(op for op in plan.ops if isinstance(op, ops.Clone))
        self.user_namespace = bool(clone.namespaces & constants.CLONE_NEWUSER)
        self.unshare = _namespaces(plan, clone)

    def perform(self) -> None:
        """Goes through the plan."""
        for number, op in enumerate(self.plan.ops, 1):
            self.number = number
            if isinstance(op, ops.Clone):
                # Its unshare is what starts this part; see shell.py.
                if op.cgroup in range(len(self.plan.inherited)):
                    self.lines.append(comment(f"{number}  ... and its control group"))
                    self.enter(self.plan.inherited[op.cgroup], "cgroup.procs")
                continue
            self.lines.append(self.heading(number))
            commands(self, op)
            self.released = self.released or isinstance(op, ops.Release)

    def heading(self, number: int) -> str:
        """A step's number, its words and who asked for it."""
        op = self.plan.ops[number - 1]
        return comment(f"{number}  {sentence(op)}  [{asked_by(op.why, self.asked)}]")

    def text(self) -> str:
        """The whole part, after :meth:`perform`."""
        used = {need for name in self.functions for need in (name, *NEEDS.get(name, ()))}
        parts = [
            "umask 022",
            'mount() { command mount --no-mtab "$@"; }  # the host is to note nothing in its /run',
            'mount -t tmpfs -o mode=755 stage "$work/stage"',
            'mount --make-unbindable "$work/stage"',
            'cd "$work/stage"',
            *(f"\n{text}" for name, text in FUNCTIONS.items() if name in used),
            TOOLS.format(tools=" ".join(self.tools)),
            *self.lines,
        ]
        return "\n".join(parts) + "\n"

    # --- for the commands of one op --------------------------------------------------------

    def do(self, line: str) -> None:
        """A command; its first word may be one of FUNCTIONS."""
        self.functions.update(FUNCTIONS.keys() & {line.partition(" ")[0]})
        self.lines.append(line)

    def say(self, text: str) -> None:
        """A remark on the step."""
        self.lines.append(f"#   {visible(text)}")

    def lacks(self, text: str) -> None:
        """No tool does the step: what that means."""
        self.missing.setdefault(text, []).append(self.number)
        self.say(f"missing: {text}")

    def inexact(self, text: str) -> None:
        """Something is done in another way than kokon does it."""
        if text not in self.differences:
            self.differences.append(text)

    def tool(self, name: str) -> str:
        """A program of the host that is needed after pivot_root."""
        if name not in self.tools:
            self.tools.append(name)
        return name

    def place(self, slot: int, about: str) -> str:
        """A new place on the stage for a slot, named for its reader."""
        last = about.rstrip("/").replace(" ", "/").rpartition("/")[2]
        name = "".join(c for c in last if c.isascii() and (c.isalnum() or c in "._-"))
        self.places[slot] = f"{slot}-{name}"
        return self.places[slot]

    def path(self, slot: int, path: str) -> str:
        """A path beneath a slot's place, quoted."""
        return quote(f"{self.places[slot]}/{path.lstrip('/')}")

    def staged(self, path: str) -> str:
        """Where a path of the plan lies whose mount stays on the stage."""
        for attached, place in self.staged_at.items():
            if path.startswith(f"{attached}/"):
                return place + path[len(attached) :]
        return path

    def is_last(self, op: Op) -> bool:
        """Whether no op of its kind follows."""
        return all(type(other) is not type(op) for other in self.plan.ops[self.number :])

    def enter(self, handed: str, file: str) -> None:
        """Opens a control group's file; it is entered last, so that the program alone counts."""
        if handed not in self.groups:
            self.lacks("this script was made without its control groups")
            return
        path = f"{self.groups[handed]}/{file}"
        if len(self.joined) == len(FREE):
            self.do(write("0", path))
            return
        self.joined.append(FREE[len(self.joined)])
        self.do(f"exec {self.joined[-1]}> {quote(path)}")
        self.say("written to just before the last command: what this script runs does not count")


def _namespaces(plan: Plan, clone: ops.Clone) -> list[str]:
    words = [FLAGS[name] for name in flags(clone.namespaces, constants.NAMESPACES)]
    for op in plan.ops:
        if isinstance(op, ops.Propagation):
            names = flags(op.propagation, constants.PROPAGATION)
            words += [f"--propagation {name}" for name in names]
    return words


def _dropped_writes(plan: Plan) -> int:
    mounted: dict[str, int] = {}
    for op in plan.ops:
        if isinstance(op, ops.Attach):
            mounted[op.target] = op.slot
        if isinstance(op, ops.Filesystem) and op.type == "overlay" and "volatile" in op.options:
            upper = op.options[op.options.index("upperdir") + 1] or ""
            return mounted[upper.split("/")[-2]]
    return -1
