"""What each op of a plan is to the shell: commands, a part of the last command, or a word why not."""

from __future__ import annotations

from kokon.kernel import constants
from kokon.plan import ops
from kokon.plan.explain import asked_by, sentence
from kokon.plan.shell_words import comment, quote, visible, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

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
        mount --bind "$3/directory" "$1/$2"
    elif [ -e "$1/$2" ]; then
        mount --bind "$3/file" "$1/$2"
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
"""Functions of the script, each before what uses it; one is printed where a step needs it."""

NEEDS = {"put": ("beneath",), "hide": ("beneath",), "read_only": ("beneath", "attributes")}

LIBRARIES = r"""# After pivot_root no program of the host can be reached: these wait here with their libraries,
# and the dynamic loader starts them by their place. This mount goes away with the old root.
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
"""Descriptors that a POSIX shell can name beside its own (dash knows one digit)."""

CLEARED = {
    constants.MOUNT_ATTR_RDONLY: "rw", constants.MOUNT_ATTR_NOSUID: "suid",
    constants.MOUNT_ATTR_NODEV: "dev", constants.MOUNT_ATTR_NOEXEC: "exec",
    constants.MOUNT_ATTR_NODIRATIME: "diratime", constants.MOUNT_ATTR_NOSYMFOLLOW: "symfollow",
}  # fmt: skip


class Inside:
    """The part of the script that runs in the new namespaces.

    :ivar unshare: the options of unshare(1) for step 1.
    :ivar missing: the numbers of steps that no tool does.
    :ivar inexact: why the script is not exact, in lines; empty where it is.
    :ivar writes: the slot of an overlay's writes that are dropped: the script makes a directory.
    """

    def __init__(self, plan: Plan, asked: Mapping[str, str], groups: Mapping[str, str]) -> None:
        self.plan = plan
        self.asked = asked
        self.groups = groups
        self.lines: list[str] = []
        self.number = 0
        self.places: dict[int, str] = {}
        self.aliases: dict[str, str] = {}
        self.joined: list[int] = []
        self.without: set[int] = set()
        self.tools = ["umount"]
        self.used: set[str] = set()
        # The last command, in the order in which its tools run.
        self.start: list[str] = []
        self.limits: list[str] = []
        self.rights: list[str] = []
        self.directory = "/"
        self.reaper = False
        clone = next(op for op in plan.ops if isinstance(op, ops.Clone))
        self.user_namespace = bool(clone.namespaces & constants.CLONE_NEWUSER)
        self.unshare = _namespaces(clone.namespaces)
        if clone.namespaces & constants.CLONE_NEWNS:
            self.unshare.append("--propagation slave")
        self.unshare.append("--fork --kill-child")
        self.missing: list[int] = []
        self.inexact: list[str] = []
        self.writes = _dropped_writes(plan)
        self.for_proc = {op.proc for op in plan.ops if isinstance(op, ops.WriteProc)}

    def perform(self) -> None:
        """Goes through the plan."""
        for number, op in enumerate(self.plan.ops, 1):
            self.number = number
            if isinstance(op, ops.Clone):
                self._enter_v2(op)
                continue
            self.lines.append(self.heading(number))
            COMMANDS[type(op)](self, op)

    def heading(self, number: int) -> str:
        """A step's number, its words and who asked."""
        op = self.plan.ops[number - 1]
        return comment(f"{number}  {sentence(op)}  [{asked_by(op.why, self.asked)}]")

    def text(self) -> str:
        """The whole part."""
        used = set(self.used)
        for name in self.used:
            used.update(NEEDS.get(name, ()))
        parts = [
            "exec 3<&-",
            "umask 022",
            'cd "$work/stage"',
            "mount -t tmpfs -o mode=755 stage .",
            "mount --make-unbindable .",
            "cd .",
            "",
            *(f"{text}\n" for name, text in FUNCTIONS.items() if name in used),
            LIBRARIES.format(tools=" ".join(self.tools)),
            *self.lines,
        ]
        return "\n".join(parts) + "\n"

    # --- what the handlers below say -------------------------------------------------------

    def do(self, line: str) -> None:
        """A command; its first word may be one of FUNCTIONS."""
        self.used.update(FUNCTIONS.keys() & {line.partition(" ")[0]})
        self.lines.append(line)

    def say(self, text: str) -> None:
        """A remark on the step."""
        self.lines.append(f"#   {visible(text)}")

    def lacks(self, text: str) -> None:
        """No tool does the step: what that means."""
        self.missing.append(self.number)
        self.say(f"missing: {text}")

    def place(self, slot: int, about: str) -> str:
        """A new place on the stage for a slot, named for its reader."""
        words = about.rstrip("/").replace(" ", "/").rpartition("/")[2]
        name = "".join(c for c in words if c.isascii() and (c.isalnum() or c in "._-"))
        self.places[slot] = f"{slot}-{name}"
        return self.places[slot]

    def path(self, slot: int, path: str) -> str:
        """A path beneath a slot's place, quoted."""
        return quote(f"{self.places[slot]}/{path.lstrip('/')}")

    def enter(self, handed: str, file: str) -> None:
        """Opens a control group's file: entered last, so that its limits are the program's alone."""
        if handed not in self.groups:
            self.lacks("the control group is not known to this script")
            return
        path = f"{self.groups[handed]}/{file}"
        if len(self.joined) == len(FREE):
            self.do(write("0", path))
            return
        self.joined.append(FREE[len(self.joined)])
        self.do(f"exec {self.joined[-1]}> {quote(path)}")
        self.say("0 is written to it before the last command: only the program counts")

    def _enter_v2(self, op: ops.Clone) -> None:
        if op.cgroup in range(len(self.plan.inherited)):
            self.lines.append(comment(f"{self.number}  … into its control group"))
            self.enter(self.plan.inherited[op.cgroup], "cgroup.procs")
        elif op.cgroup >= 0:
            self.lines.append(comment(f"{self.number}  … into its control group"))
            self.lacks("systemd makes that group: start the script with systemd-run --user --scope")


def _namespaces(flags: int) -> list[str]:
    return [FLAGS[name] for name, bit in constants.NAMESPACES.items() if flags & bit]


def _dropped_writes(plan: Plan) -> int:
    """The slot that an overlay's writes come from where they are dropped at the end, else -1."""
    stage: dict[str, int] = {}
    for op in plan.ops:
        if isinstance(op, ops.Attach):
            stage[op.target] = op.slot
        if isinstance(op, ops.Filesystem) and op.type == "overlay" and "volatile" in op.options:
            upper = op.options[op.options.index("upperdir") + 1] or ""
            return stage[upper.split("/")[-2]]
    return -1
