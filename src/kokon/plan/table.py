"""The one table of ops: from it come ``ops.py`` (Python classes) and ``init/plan.h`` (C structs).

Run ``make generate`` after a change; a test sees that both are fresh.  A field has a kind:

    slot    number of a place in init's table of descriptors, -1 for none
    num     unsigned or signed number of 64 bits
    text    str, NUL-terminated on the wire
    data    bytes with a length, aligned to 8
    list    tuple of str (None stands for a null pointer), null-terminated on the wire
    words   str for explain and errors only; it never reaches the wire

An op's ``place`` says where it may run: ``host`` is stage 1 (outside), ``container`` is stage 2
(inside the new namespaces), ``either`` is both.  ``text`` is the op in a person's words, a format
over its fields; ``steps`` names the system calls behind the detail numbers that init reports.
"""

from __future__ import annotations


class Field:
    """One argument of an op."""

    __slots__ = ("default", "kind", "name")

    def __init__(self, name: str, kind: str, default: str | None = None) -> None:
        self.name = name
        self.kind = kind
        self.default = default


class Row:
    """One op: its class name, place, arguments, words, and the calls it makes."""

    __slots__ = ("doc", "fields", "name", "place", "steps", "text")

    def __init__(self, name: str, place: str, fields: str, text: str, steps: str, doc: str) -> None:
        self.name = name
        self.place = place
        self.fields = tuple(_field(word) for word in fields.split())
        self.text = text
        self.steps = tuple(steps.split())
        self.doc = doc


def _field(word: str) -> Field:
    """``name:kind`` or ``name:kind=default``."""
    declaration, equals, default = word.partition("=")
    name, _, kind = declaration.partition(":")
    return Field(name, kind, default if equals else None)


TABLE = (
    # --- the choreography -----------------------------------------------------------------
    Row("Clone", "host", "namespaces:num cgroup:slot=-1 adopt:num=1 legacy:num=0",
        "clone the container's first process into {namespaces_words}",
        "pidfd_open pipe2 clone3 clone",
        "Makes stage 2 (clone(2)). ``adopt``: CLONE_PARENT, so that the caller can wait for it;"
        " ``cgroup``: CLONE_INTO_CGROUP; ``legacy``: clone(2) where clone3 answers ENOSYS."),
    Row("AwaitParent", "host", "",
        "wait until kokon has done its part outside",
        "write read",
        "Reports READY and waits for one byte: kokon runs newuidmap and hooks meanwhile."),
    Row("Open", "either", "slot:slot path:text about:words",
        "open {about}",
        "openat",
        "A directory (O_PATH): one that kokon holds open, by /proc/PID/fd/N, or our own root."),
    Row("Release", "host", "linger:num=0",
        "let the container's first process go on",
        "unshare write read",
        "The end of stage 1. With ``linger`` it stays until kokon lets its reply go: a process that"
        " keeps systemd's scope alive while the usage is read."),
    # --- user namespace -------------------------------------------------------------------
    Row("IdMap", "host", "file:text content:text",
        "write {file} of the user namespace: {content_words}",
        "open write",
        "Writes /proc/PID/{setgroups,uid_map,gid_map} of stage 2 (user_namespaces(7))."),
    Row("WriteChild", "host", "file:text content:text about:words",
        "set {about} to {content}",
        "open write",
        "Writes /proc/PID/FILE of stage 2 with the rights of outside (oom_score_adj below zero);"
        " before Clone that of stage 1, which stage 2 inherits."),
    Row("UserNamespace", "host", "slot:slot",
        "open the container's user namespace",
        "open",
        "A descriptor of stage 2's user namespace, for id-mapped mounts."),
    Row("MapNamespace", "host", "slot:slot users:text groups:text about:words",
        "make a user namespace for the ids of {about}",
        "clone open write open(ns)",
        "A user namespace whose maps are those of one id-mapped mount; its process is gone, the"
        " descriptor holds it."),
    # --- cgroups and late namespaces ------------------------------------------------------
    Row("JoinCgroup", "container", "tasks:slot controller:words",
        "join the cgroup of controller {controller}",
        "write",
        "Writes 0 to an inherited v1 ``tasks`` file (cgroup.procs would wait for RCU)."),
    Row("Unshare", "container", "namespaces:num",
        "unshare {namespaces_words}",
        "unshare",
        "unshare(2): the cgroup namespace, after the cgroup was joined; the time namespace."),
    # --- a box: namespaces that are kept, and entered by one program after another ---------
    Row("Join", "either", "slot:slot namespace:num about:words",
        "enter the box's {about} namespace",
        "setns",
        "setns(2); the user namespace first: it gives the right to the others."),
    Row("HandOver", "container", "proc:slot names:list slots:data about:words",
        "hand {about} over to kokon, and end",
        "openat2 sendmsg",
        "Descriptors of our own /proc/PID files, then those in ``slots`` (u32 each), by SCM_RIGHTS:"
        " namespaces live as long as somebody holds them."),
    Row("Transfer", "container", "path:text direction:num mode:num=0o644",
        "{direction_words} {path}, and end",
        "mkdirat openat fstat read write",
        "A file from (0) or to (1) the standard streams, with the program's own rights and paths."),
    # --- the OCI life cycle -----------------------------------------------------------------
    Row("AwaitStart", "container", "listener:slot",
        "say that the container is created, and wait until it is started",
        "write accept4 dup3",
        "Reports CREATED and accepts one connection on a socket in the container's state"
        " directory: what follows is reported there, and its end says that the program runs."),
    Row("Hook", "container",
        "state:slot path:text arguments:list environment:list kind:words timeout:num=0",
        "run the {kind} hook {path}",
        "lseek pipe2 rt_sigprocmask clone execve wait4",
        "A hook with the container's state on its standard input (config.md, Hooks); its wait"
        " status is the detail of ECHILD, ``timeout`` is in seconds."),
    # --- file systems and mounts ----------------------------------------------------------
    Row("Propagation", "container", "propagation:num",
        "make every mount {propagation_words}",
        "mount_setattr",
        "The whole tree private or slave, so that nothing reaches the host (mount_namespaces(7))."),
    Row("Filesystem", "either",
        "slot:slot type:text options:list attributes:num about:words",
        "make a file system of type {type} for {about}{options_words}",
        "fsopen fsconfig fsconfig(create) fsmount",
        "fsopen, fsconfig (pairs of key and value, null for a flag), fsmount: detached."),
    Row("CloneMount", "either", "slot:slot base:slot path:text recursive:num=0",
        "take the mount of {path}{recursive_words}",
        "open_tree",
        "open_tree(OPEN_TREE_CLONE): a detached copy of a mount, or of a tree of them."),
    Row("MountAttributes", "either",
        "slot:slot set:num clear:num propagation:num recursive:num user_namespace:slot"
        " about:words",
        "set {attributes_words} on the mount for {about}",
        "mount_setattr",
        "mount_setattr(2) on a detached mount; with ``user_namespace``: MOUNT_ATTR_IDMAP."),
    Row("AttachAnywhere", "container", "slot:slot path:text about:words",
        "attach {about} out of the way, over the old {path}",
        "move_mount",
        "A mount that other steps clone from; it goes away with the old root."),
    Row("Attach", "container",
        "slot:slot root:slot target:text create:num=0 resolve:num=0 nofollow:num=0 about:words=",
        "mount {about} on {target}",
        "mkdirat openat openat2 move_mount",
        "Resolves the target beneath the root (openat2), makes a missing mount point"
        " (create: 1 directory, 2 file), and move_mount, from descriptor to descriptor;"
        " ``nofollow``: onto a link at the end of the target, not onto what it names."),
    Row("TakeMode", "container", "slot:slot root:slot target:text",
        "give it the mode of {target}",
        "openat2 fstat openat fchmod",
        "The new file system's root gets the mode of the directory that it will cover, if that is"
        " there."),
    Row("CopyUp", "container", "slot:slot root:slot target:text",
        "copy what is in {target} into it",
        "openat2 copy",
        "Files, directories and links with their owners and modes: what a new file system would"
        " hide."),
    Row("CheckFilesystem", "container", "root:slot path:text magic:num type:words",
        "see that {path} is a real {type}",
        "openat2 fstatfs compare",
        "fstatfs: no impostor in the place of proc or sysfs."),
    Row("Mask", "container", "root:slot target:text templates:slot skip:num=0",
        "hide {target}",
        "openat2 fstat open_tree move_mount",
        "Our own empty file or read-only directory over the target; absent only for ENOENT. The"
        " first ``skip`` bytes of the target lead to ``root``, when that is a mount and not /."),
    Row("ReadOnly", "container", "root:slot target:text skip:num=0",
        "make {target} read-only",
        "openat2 open_tree mount_setattr move_mount",
        "A read-only copy of the target's mount over itself; absent only for ENOENT. ``skip`` as"
        " for Mask."),
    Row("Pivot", "container", "root:slot",
        "make it the root and let the old root go",
        "fchdir pivot_root umount2 chdir",
        "pivot_root(\".\", \".\"), umount2(MNT_DETACH), chdir(\"/\") (pivot_root(2), NOTES)."),
    # --- files made in our own file systems -----------------------------------------------
    Row("Directory", "either", "root:slot path:text mode:num=0o755",
        "make the directory {path}",
        "mkdirat openat fchmod",
        "Component by component, never through a link."),
    Row("Link", "either", "root:slot path:text target:text",
        "make the link {path} to {target}",
        "mkdirat openat symlinkat",
        "symlinkat(2)."),
    Row("File", "either", "root:slot path:text content:data mode:num=0o644",
        "write {path}",
        "mkdirat openat write fchmod",
        "O_CREAT|O_EXCL|O_NOFOLLOW: it cannot exist before."),
    Row("Node", "either", "root:slot path:text mode:num device:num uid:num=0 gid:num=0",
        "make the device {path} ({device_words})",
        "mkdirat openat mknodat fchownat fchmodat",
        "mknodat(2): a device on a tmpfs of the initial user namespace."),
    # --- what the namespaces own ----------------------------------------------------------
    Row("Hostname", "container", "name:text",
        "set the host name {name}", "sethostname", "sethostname(2)."),
    Row("Domainname", "container", "name:text",
        "set the NIS domain name {name}", "setdomainname", "setdomainname(2)."),
    Row("Loopback", "container", "",
        "bring the loopback device up",
        "socket ioctl(SIOCGIFFLAGS) ioctl(SIOCSIFFLAGS)",
        "SIOCSIFFLAGS on lo (netdevice(7))."),
    Row("WriteProc", "container", "proc:slot own:num path:text content:text about:words",
        "set {about} to {content}",
        "openat2 write",
        "A write through our own procfs, to a file of our own process when ``own``."),
    Row("Keyring", "container", "may_lack:num=0",
        "take a new session keyring", "keyctl",
        "keyctl(KEYCTL_JOIN_SESSION_KEYRING); ``may_lack``: a kernel without keyrings is no"
        " failure."),
    # --- the terminal ---------------------------------------------------------------------
    Row("Terminal", "container",
        "root:slot slot:slot rows:num=0 columns:num=0 path:text=ptmx across:num=0"
        " plain:num=0",
        "open a terminal in the container's devpts",
        "openat2 ioctl(TIOCSPTLCK) ioctl(TIOCGPTPEER) ioctl(TIOCSWINSZ) sendmsg fstatfs"
        " ioctl(TCSETS)",
        "The master goes to kokon by SCM_RIGHTS, the peer into the slot; ``across``: the path may"
        " lead over mounts, for one that a running container has made; ``plain``: newlines go out"
        " as they are written."),
    Row("CloneDescriptor", "container", "slot:slot source:slot about:words",
        "take the mount of {about}",
        "open_tree",
        "open_tree(AT_EMPTY_PATH|OPEN_TREE_CLONE) of a descriptor."),
    Row("StandardStreams", "container", "slot:slot",
        "use the terminal as standard input, output and error",
        "dup3 ioctl(TIOCSCTTY)",
        "dup3 onto 0, 1, 2 and TIOCSCTTY."),
    Row("Owner", "container", "slot:slot uid:num gid:num about:words",
        "give {about} to user {uid}, group {gid}", "fchown", "fchown(2) of what we made."),
    Row("Session", "container", "",
        "start a new session", "setsid", "setsid(2): no terminal of the caller."),
    # --- the process ----------------------------------------------------------------------
    Row("Signals", "container", "",
        "reset signal handlers and mask",
        "rt_sigaction rt_sigprocmask",
        "What Python ignores (SIGPIPE, SIGXFSZ) would be inherited."),
    Row("ParentDeath", "container", "signal:num=9",
        "die with the caller",
        "prctl poll",
        "prctl(PR_SET_PDEATHSIG); cleared by a change of ids, so after it."),
    Row("Dumpable", "either", "value:num=0",
        "{value_words}", "prctl", "prctl(PR_SET_DUMPABLE)."),
    Row("RaiseLimit", "host", "resource:num hard:num name:words",
        "let {name} be limited to {hard_words} at most",
        "prlimit64",
        "Raises stage 1's own hard limit, which stage 2 inherits, where it is below: from a user"
        " namespace there is no right to."),
    Row("ResourceLimit", "container", "resource:num soft:num hard:num name:words",
        "limit {name} to {soft_words} (hard {hard_words})", "prlimit64", "prlimit(2)."),
    Row("Umask", "container", "mask:num", "set the umask {mask:#o}", "umask", "umask(2)."),
    Row("WorkingDirectory", "container", "path:text create:num=0",
        "go to {path}",
        "mkdirat openat openat2 fchdir getcwd",
        "openat2 beneath the root, fchdir; getcwd must begin with /."),
    Row("Personality", "container", "domain:num name:words",
        "take the personality {name}", "personality", "personality(2)."),
    Row("Scheduler", "either",
        "policy:num flags:num nice:num priority:num runtime:num deadline:num period:num"
        " name:words",
        "schedule it by {name}",
        "sched_setattr",
        "sched_setattr(2), from outside of stage 2: what is better than the caller's own needs"
        " CAP_SYS_NICE of the first user namespace."),
    Row("IoPriority", "either", "value:num name:words",
        "give it the I/O priority {name}", "ioprio_set", "ioprio_set(2); of stage 2 from outside."),
    Row("CpuAffinity", "either", "mask:data cpus:words",
        "run it on the CPUs {cpus}", "sched_setaffinity", "sched_setaffinity(2) of itself."),
    Row("MemoryPolicy", "container", "mode:num nodes:data name:words",
        "take memory by {name}", "set_mempolicy", "set_mempolicy(2)."),
    Row("Groups", "container", "groups:data",
        "set the supplementary groups: {groups_words}", "setgroups", "setgroups(2), u32 each."),
    Row("BoundingSet", "container", "mask:num",
        "drop every capability from the bounding set but {mask_words}",
        "prctl",
        "prctl(PR_CAPBSET_DROP)."),
    Row("User", "container", "uid:num gid:num keep:num",
        "become user {uid}, group {gid}",
        "prctl(PR_SET_KEEPCAPS) setresgid setresuid prctl(PR_CLEAR_KEEPCAPS)",
        "Keeps the capabilities over the change where ``keep``; Capabilities follows."),
    Row("Capabilities", "container", "effective:num permitted:num inheritable:num",
        "keep only the capabilities {permitted_words}", "capset", "capset(2)."),
    Row("Ambient", "container", "mask:num",
        "set the ambient capabilities {mask_words}",
        "prctl(PR_CAP_AMBIENT_CLEAR_ALL) prctl(PR_CAP_AMBIENT_RAISE)",
        "prctl(PR_CAP_AMBIENT)."),
    Row("NoNewPrivileges", "container", "",
        "forbid new privileges by execve", "prctl", "prctl(PR_SET_NO_NEW_PRIVS)."),
    Row("Landlock", "container",
        "files:num network:num scopes:num paths:list accesses:data ports:data",
        "{landlock_words}",
        "landlock_create_ruleset openat landlock_add_rule landlock_restrict_self",
        "landlock(7): of the handled ``files`` and ``network`` rights only those of the rules stay,"
        " nothing beyond ``scopes`` is reached. An access of 64 bits for each path, its highest bit"
        " where the path may be missing; ports are pairs of access and port."),
    Row("SendListener", "container", "socket:slot state:slot",
        "have the listener of the filter, and the container's state, sent to who asked for it",
        "lseek mmap clone sendmsg",
        "A thread that stays outside of the filter, which may refuse or ask about any call: it"
        " waits for Seccomp, sends what that has made (SCM_RIGHTS), and ends."),
    Row("Seccomp", "container", "program:data flags:num=0",
        "load the system call filter ({program_words})", "seccomp",
        "seccomp(2); with SECCOMP_FILTER_FLAG_NEW_LISTENER it goes on when SendListener has sent."),
    Row("CloseDescriptors", "container", "preserved:num=0",
        "close every descriptor but 0, 1 and 2{preserved_words}",
        "close_range",
        "close_range(2); the report goes at execve. Before it: a path of the program, or of a file"
        " that is moved, could lead through one that is open."),
    Row("Reap", "container", "all:num=0",
        "stay as process 1 that reaps and forwards signals{all_words}; go on in its child",
        "rt_sigprocmask clone prctl prctl(PR_SET_CHILD_SUBREAPER) kill(scope)",
        "The program becomes process 2; its wait status is reported to kokon. With ``all`` whatever"
        " is left is ended by kill(-1): beneath a Landlock scope only, which that cannot leave."),
    Row("FindProgram", "container", "paths:list",
        "see that the program is there", "newfstatat faccessat",
        "What cannot run is said when the container is made, as engines expect it; whether its user"
        " may run it is seen later. Its details are those of Execute."),
    Row("Execute", "container", "paths:list arguments:list environment:list",
        "run {arguments_words}",
        "execve",
        "execve(2) of the first path that exists."),
)  # fmt: skip
