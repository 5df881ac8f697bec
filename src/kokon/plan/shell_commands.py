"""What each op is to the shell: commands, a part of the last command, or a word why not."""

from __future__ import annotations

from kokon.kernel import constants
from kokon.plan import ops
from kokon.plan import shell_process as process
from kokon.plan.explain import device, flags
from kokon.plan.shell_words import content, quote, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from kokon.plan.op import Op
    from kokon.plan.shell_steps import Inside

CLEARED = {
    "rw": constants.MOUNT_ATTR_RDONLY,
    "suid": constants.MOUNT_ATTR_NOSUID,
    "dev": constants.MOUNT_ATTR_NODEV,
    "exec": constants.MOUNT_ATTR_NOEXEC,
    "diratime": constants.MOUNT_ATTR_NODIRATIME,
    "symfollow": constants.MOUNT_ATTR_NOSYMFOLLOW,
}
"""mount(8)'s words for attributes that are taken away."""

KERNEL = "/proc/sys/kernel"

NOT_MAPPED = (
    "ids of mounts are not mapped, so files of the host belong to nobody inside: mount(8) of"
    " util-linux 2.39 could, with -o bind,X-mount.idmap=/proc/PID/ns/user, from outside of it"
)
NOT_MADE = "devices are binds of the host's: a node that is made in a user namespace does not open"


def commands(inside: Inside, op: Op) -> None:
    """Adds what one op is to the script."""
    _COMMANDS[type(op)](inside, op)


def _remark(text: str) -> Callable[[Inside, Any], None]:
    """For an op that needs no command here."""
    return lambda inside, op: inside.say(text)


def _missing(text: str) -> Callable[[Inside, Any], None]:
    """For an op that no tool does."""
    return lambda inside, op: inside.lacks(text)


# --- namespaces ---------------------------------------------------------------------------


def _await_parent(inside: Inside, op: ops.AwaitParent) -> None:
    inside.unshare.append("--map-root-user --map-auto")
    inside.say("unshare --map-auto in step 1 runs newuidmap and newgidmap")
    inside.inexact("the ids are those that --map-auto finds in /etc/subuid and /etc/subgid")


def _id_map(inside: Inside, op: ops.IdMap) -> None:
    if op.file == "setgroups":
        inside.unshare.append("--map-root-user")
    elif "--map-root-user" not in inside.unshare:
        kind = "users" if op.file == "uid_map" else "groups"
        first, outside, count = op.content.split()[:3]
        inside.unshare.append(f"--map-{kind}={outside},{first},{count}")
        file = "subuid" if kind == "users" else "subgid"
        inside.inexact(f"newuidmap(1) wants the line root:{outside}:{count} in /etc/{file}")
    inside.say(f"unshare {inside.unshare[-1]} in step 1 does it")


def _unshare(inside: Inside, op: ops.Unshare) -> None:
    if op.namespaces & constants.CLONE_NEWCGROUP:
        inside.start.append("unshare --cgroup")
        inside.say("the last command does it: first the group, then the namespace that hides it")
    if op.namespaces & constants.CLONE_NEWTIME:
        inside.unshare.append("--time")
        inside.say("unshare --time in step 1 does it")


# --- file systems and mounts --------------------------------------------------------------


def _filesystem(inside: Inside, op: ops.Filesystem) -> None:
    if op.slot in inside.for_proc:
        inside.say("this script uses the /proc of the host")
        return
    options = flags(op.attributes, constants.MOUNT_ATTRIBUTES)
    read_only = "ro" in options
    options = [word for word in options if word != "ro"] + _own_options(inside, op)
    place = inside.place(op.slot, op.about)
    words = f"-o {quote(','.join(options))} " if options else ""
    inside.do(f"mkdir {place}")
    inside.do(f"mount -t {quote(op.type)} {words}{quote(op.type)} {place}")
    if read_only:
        # Given to the mount above it would make the file system read-only, not this mount of it.
        inside.do(f"mount -o remount,bind,ro {place}")


def _own_options(inside: Inside, op: ops.Filesystem) -> list[str]:
    """The options of the file system itself, in one word for each."""
    options: list[str] = []
    lowers = []
    for key, value in zip(op.options[::2], op.options[1::2], strict=True):
        if key in ("lowerdir", "lowerdir+") and value:
            lowers += [inside.staged(part) for part in value.split(":")]
        elif key in ("upperdir", "workdir") and value:
            options.append(f"{key}={inside.staged(value)}")
        elif key in ("uid", "gid") and inside.user_namespace and not inside.released:
            inside.say(f"without {key}={value}, which is an id of the outside")
        else:
            options.append(f"{key}" if value is None else f"{key}={value}")
    # A comma separates options, unless the value is quoted (mount(8)).
    options = [word.replace("=", '="', 1) + '"' if "," in word else word for word in options]
    return [*(["lowerdir=" + ":".join(lowers)] if lowers else []), *options]


def _clone_mount(inside: Inside, op: ops.CloneMount) -> None:
    place = inside.place(op.slot, op.path)
    how = "--rbind" if op.recursive else "--bind"
    if op.base >= 0:
        inside.do(f"take {how} {inside.path(op.base, op.path)} {place}")
    elif op.slot == inside.writes:
        inside.do(f'take {how} "$work/writes" {place}')
        inside.say("a directory of this script's own")
    else:
        inside.do(f"take {how} {quote(op.path)} {place}")


def _mount_attributes(inside: Inside, op: ops.MountAttributes) -> None:
    words = flags(op.set, constants.MOUNT_ATTRIBUTES)
    words += [name for name, bit in CLEARED.items() if op.clear & bit]
    if op.clear & constants.MOUNT_ATTR_ATIME and not op.set & constants.MOUNT_ATTR_ATIME:
        words.append("relatime")
    if op.set & constants.MOUNT_ATTR_IDMAP:
        inside.say("the ids stay as they are")
        inside.inexact(NOT_MAPPED)
    place, mount = quote(inside.places[op.slot]), "mount"
    if inside.pivoted:
        place, mount = "/", f"$tool ./{inside.tool('mount')} --no-mtab"
    if words and op.recursive:
        inside.do(f"attributes {','.join(words)} {place}")
    elif words:
        inside.do(f"{mount} -o remount,bind,{','.join(words)} {place}")
    for name in flags(op.propagation, constants.PROPAGATION):
        inside.do(f"{mount} --make-{'r' if op.recursive else ''}{name} {place}")


def _attach_anywhere(inside: Inside, op: ops.AttachAnywhere) -> None:
    inside.staged_at[op.path] = inside.places[op.slot]
    inside.say(f"it stays on the stage, as {inside.places[op.slot]}, which goes with the old root")


def _attach(inside: Inside, op: ops.Attach) -> None:
    if op.slot in inside.without:
        inside.say("left out with the terminal")
        return
    root, target = inside.places[op.root], op.target.strip("/")
    kind = ("there", "directory", "file")[op.create]
    inside.do(f"put {quote(inside.places[op.slot])} {quote(root)} {quote(target)} {kind}")
    inside.places[op.slot] = f"{root}/{target}"


def _check_filesystem(inside: Inside, op: ops.CheckFilesystem) -> None:
    path = inside.path(op.root, op.path)
    inside.do(f'[ "$(stat -f -c %t {path})" = {op.magic:x} ] || exit 125')


def _mask(inside: Inside, op: ops.Mask) -> None:
    covers = quote(inside.places[op.templates])
    target = op.target[op.skip :].strip("/")
    inside.do(f"hide {quote(inside.places[op.root])} {quote(target)} {covers}")


def _read_only(inside: Inside, op: ops.ReadOnly) -> None:
    target = op.target[op.skip :].strip("/")
    inside.do(f"read_only {quote(inside.places[op.root])} {quote(target)}")


def _pivot(inside: Inside, op: ops.Pivot) -> None:
    root = quote(f"../{inside.places[op.root]}")
    inside.do("cd tools")
    inside.do(f"pivot_root {root} {root}")
    inside.do("$tool ./umount --no-mtab --lazy /")
    inside.pivoted = True


# --- files --------------------------------------------------------------------------------


def _parents(inside: Inside, root: int, path: str) -> str:
    """The quoted path, after a command that makes what is above it."""
    above = path.strip("/").rpartition("/")[0]
    if above:
        inside.do(f"mkdir -p {inside.path(root, above)}")
    return inside.path(root, path)


def _directory(inside: Inside, op: ops.Directory) -> None:
    inside.do(f"mkdir -p -m {op.mode:o} {inside.path(op.root, op.path)}")


def _link(inside: Inside, op: ops.Link) -> None:
    path = _parents(inside, op.root, op.path)
    inside.do(f"ln -s -- {quote(op.target)} {path}")


def _file(inside: Inside, op: ops.File) -> None:
    path = _parents(inside, op.root, op.path)
    inside.do(f"{content(op.content)} > {path}" if op.content else f": > {path}")
    if op.mode != 0o644:
        inside.do(f"chmod {op.mode:o} {path}")


def _node(inside: Inside, op: ops.Node) -> None:
    path = _parents(inside, op.root, op.path)
    if inside.user_namespace:
        inside.do(f": > {path}")
        inside.do(f"mount --bind {quote('/dev/' + op.path)} {path}")
        inside.inexact(NOT_MADE)
        return
    kind, major, minor = device(op)
    numbers = "" if kind == "p" else f" {major} {minor}"
    inside.do(f"mknod -m {op.mode & 0o7777:o} {path} {kind}{numbers}")
    if op.uid or op.gid:
        inside.do(f"chown {op.uid}:{op.gid} {path}")


# --- what the namespaces own --------------------------------------------------------------


def _hostname(inside: Inside, op: ops.Hostname) -> None:
    if inside.user_namespace:
        # The file is for the host's root alone; sethostname(2) is for the namespace's.
        inside.do(f"hostname {quote(op.name)}")
    else:
        inside.do(write(op.name, f"{KERNEL}/hostname"))


def _write_proc(inside: Inside, op: ops.WriteProc) -> None:
    if not op.own:
        inside.do(write(op.content, f"/proc/{op.path}"))
    elif op.path == "timens_offsets":
        clock, seconds, _ = op.content.split()
        inside.unshare.append(f"--{clock} {seconds}")
        inside.say(f"unshare {inside.unshare[-1]} in step 1 does it")
    else:
        kind = "apparmor-profile" if op.content.startswith("exec ") else "selinux-label"
        process.right(inside, f"--{kind}={quote(op.content.removeprefix('exec '))}")


# --- the terminal -------------------------------------------------------------------------


def _terminal(inside: Inside, op: ops.Terminal) -> None:
    inside.without.add(op.slot)
    inside.start = [word for word in inside.start if word != "setsid"]
    inside.lacks("the program uses the caller's own terminal, without a session of its own")


def _clone_descriptor(inside: Inside, op: ops.CloneDescriptor) -> None:
    inside.without.add(op.slot)
    inside.say("left out with the terminal")


_COMMANDS: dict[type[Op], Callable[[Any, Any], None]] = {
    ops.AwaitParent: _await_parent,
    ops.Open: _missing("systemd makes that group: systemd-run --user --scope could"),
    ops.AwaitStart: _remark("a script runs the program at once"),
    ops.FindProgram: _remark("a script runs the program at once"),
    ops.Join: _missing("nsenter(1) enters namespaces that something keeps"),
    ops.HandOver: _missing("a shell cannot keep namespaces that no process is in"),
    ops.Transfer: _missing("cp(1) in the container does the same"),
    ops.IdMap: _id_map,
    ops.UserNamespace: _remark("it is needed for mounts with mapped ids only"),
    ops.WriteChild: lambda inside, op: inside.do(write(op.content, f"/proc/self/{op.file}")),
    ops.RaiseLimit: _missing("prlimit(1) could, by root"),
    ops.MapNamespace: _remark("it is needed for mounts with mapped ids only"),
    ops.Hook: _missing("a hook wants the state of a container, which this script is not"),
    ops.TakeMode: _missing("the new file system keeps its own mode"),
    ops.CopyUp: _missing("the new file system stays empty: cp -a could fill it"),
    ops.Personality: _missing("setarch(8) could"),
    ops.Scheduler: _missing("chrt(1) could"),
    ops.IoPriority: _missing("ionice(1) could"),
    ops.CpuAffinity: _missing("taskset(1) could"),
    ops.MemoryPolicy: _missing("numactl(8) could"),
    ops.Release: _remark("this shell has not waited"),
    ops.JoinCgroup: lambda inside, op: inside.enter(inside.plan.inherited[op.tasks], "tasks"),
    ops.Unshare: _unshare,
    ops.Propagation: _remark("unshare --propagation in step 1 has done it"),
    ops.Filesystem: _filesystem,
    ops.CloneMount: _clone_mount,
    ops.MountAttributes: _mount_attributes,
    ops.AttachAnywhere: _attach_anywhere,
    ops.Attach: _attach,
    ops.CheckFilesystem: _check_filesystem,
    ops.Mask: _mask,
    ops.ReadOnly: _read_only,
    ops.Pivot: _pivot,
    ops.Directory: _directory,
    ops.Link: _link,
    ops.File: _file,
    ops.Node: _node,
    ops.Hostname: _hostname,
    ops.Domainname: lambda inside, op: inside.do(write(op.name, f"{KERNEL}/domainname")),
    ops.Loopback: lambda inside, op: inside.do("ip link set lo up"),
    ops.WriteProc: _write_proc,
    ops.Keyring: _missing("the program has the caller's session keyring (see keyctl session)"),
    ops.Terminal: _terminal,
    ops.CloneDescriptor: _clone_descriptor,
    ops.StandardStreams: _remark("left out with the terminal"),
    ops.Owner: _remark("left out with the terminal"),
    ops.Session: process.session,
    ops.Signals: _remark("the last command does it: env --default-signal"),
    ops.Dumpable: process.dumpable,
    ops.ResourceLimit: process.resource_limit,
    ops.Umask: process.umask,
    ops.WorkingDirectory: process.working_directory,
    ops.BoundingSet: lambda inside, op: process.right(
        inside, f"--bounding-set={process.capability_words(op.mask)}"
    ),
    ops.Groups: process.groups,
    ops.User: process.user,
    ops.NoNewPrivileges: lambda inside, op: process.right(inside, "--no-new-privs"),
    ops.Capabilities: process.capabilities,
    ops.Ambient: lambda inside, op: process.right(
        inside, f"--ambient-caps={process.capability_words(op.mask)}"
    ),
    ops.ParentDeath: process.parent_death,
    ops.SendListener: _missing("nobody is asked about the program's system calls"),
    ops.Seccomp: _missing("the program may make every system call that its rights allow"),
    ops.Landlock: _missing("Landlock's rules are not set: what the mounts show is in reach"),
    ops.CloseDescriptors: process.close_descriptors,
    ops.Reap: process.reap,
    ops.Execute: process.execute,
}
