"""What the ops of the process are to the shell: most are a part of the script's last command."""

from __future__ import annotations

from struct import unpack

from kokon.kernel.capabilities import names
from kokon.plan.explain import limit
from kokon.plan.shell_words import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.plan import ops
    from kokon.plan.shell_steps import Inside


def session(inside: Inside, op: ops.Session) -> None:
    inside.start.insert(0, "setsid")
    inside.say("the last command does it: setsid")


def dumpable(inside: Inside, op: ops.Dumpable) -> None:
    if not op.value:
        inside.lacks("another process of the same user may look into this one until it has begun")


def resource_limit(inside: Inside, op: ops.ResourceLimit) -> None:
    inside.limits.append(f"--{op.name}={limit(op.soft)}:{limit(op.hard)}")
    inside.say(f"the last command does it: prlimit {inside.limits[-1]}")


def umask(inside: Inside, op: ops.Umask) -> None:
    inside.do(f"umask {op.mask:04o}")


def working_directory(inside: Inside, op: ops.WorkingDirectory) -> None:
    inside.directory = op.path
    if op.create and op.path != "/":
        path = quote(op.path)
        inside.do(f"[ -d {path} ] || $tool ./{inside.tool('mkdir')} -p {path}")
    inside.say(f"the last command does it: env --chdir={op.path}")


def right(inside: Inside, words: str) -> None:
    """Words for the last command's setpriv(1)."""
    inside.rights.append(words)
    inside.say(f"the last command does it: setpriv {words}")


def capability_words(mask: int) -> str:
    """A set of capabilities in setpriv's words."""
    return ",".join(("-all", *(f"+{name.lower()}" for name in names(mask))))


def groups(inside: Inside, op: ops.Groups) -> None:
    ids = unpack(f"<{len(op.groups) // 4}I", op.groups)
    right(inside, f"--groups {','.join(map(str, ids))}" if ids else "--clear-groups")


def user(inside: Inside, op: ops.User) -> None:
    if not inside.is_last(op):
        inside.unshare.append("--setuid 0 --setgid 0")
        inside.say("unshare --setuid 0 --setgid 0 in step 1 does it")
        return
    groups = "" if any("groups" in words for words in inside.rights) else " --keep-groups"
    right(inside, f"--reuid {op.uid} --regid {op.gid}{groups}")


def capabilities(inside: Inside, op: ops.Capabilities) -> None:
    right(inside, f"--inh-caps={capability_words(op.inheritable)}")
    inside.say("execve(2) gives root what the bounding set leaves, and others nothing")


def parent_death(inside: Inside, op: ops.ParentDeath) -> None:
    right(inside, f"--pdeathsig {'KILL' if op.signal == 9 else op.signal}")


def close_descriptors(inside: Inside, op: ops.CloseDescriptors) -> None:
    for descriptor in inside.joined:
        inside.do(f"echo 0 >&{descriptor}")
    inside.do("exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-")
    inside.say("a shell cannot name those above 9")


def reap(inside: Inside, op: ops.Reap) -> None:
    inside.reaper = True
    inside.say("the last command does it: a shell that waits, but forwards no signals")


def execute(inside: Inside, op: ops.Execute) -> None:
    tools = list(inside.start)
    if inside.limits:
        tools.append(f"prlimit {' '.join(inside.limits)}")
    tools.append(" \\\n        ".join(("setpriv", *inside.rights)))
    if inside.reaper:
        # A shell whose directory has no path complains, unless it is told of one.
        tools += ["env PWD=/proc/self/cwd", "sh -c '\"$@\"; exit $?' sh"]
    tools.append(f"env -i --default-signal --chdir={quote(inside.directory)}")
    for tool in tools:
        inside.tool(tool.split()[0])
    # bash would take a relative path after exec for one below the $PWD of before pivot_root.
    words = [f"/proc/self/cwd/$tool ./{tools[0]}", *(f"$tool ./{tool}" for tool in tools[1:])]
    words += [quote(variable) for variable in op.environment if variable]
    words.append(" ".join(quote(word) for word in op.arguments if word is not None))
    inside.do("exec " + " \\\n    ".join(words))
