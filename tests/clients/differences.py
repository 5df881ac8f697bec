"""The differences between runC, crun and kokon that are known, each with who does so and why.

A field is explained if the runtimes that no row names agree on it.
"""

from __future__ import annotations

from known import Case, Known, refuses


def masked(case: Case) -> bool:
    return case.path in case.linux.get("maskedPaths", ())


def bound_device(case: Case) -> bool:
    """A device of a container that has its own users."""
    made = [device["path"] for device in case.linux.get("devices", ())]
    return case.users and (case.path in DEVICES or case.path in made)


DEVICES = [f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")]


def machines(case: Case) -> bool:
    """A file system of a namespace that is the machine's."""
    kinds = {"proc": "pid", "sysfs": "network", "mqueue": "ipc"}
    return any(
        kinds.get(mount.get("type"), "mount") not in case.kinds
        and (case.path + "/").startswith(mount["destination"] + "/")
        for mount in case.config["mounts"]
    )


def bare_tmpfs(case: Case) -> bool:
    """A tmpfs whose mode is not given."""
    return any(
        mount.get("type") == "tmpfs"
        and not any(word.startswith("mode=") for word in mount.get("options", ()))
        for mount in case.mounts()
    )


RECURSIVE = {"rro", "rrw", "rnodev", "rnosuid", "rnoexec", "rnoatime"}


def undone(case: Case) -> bool:
    """Words that take earlier ones back."""
    words = case.words()
    times = {"strictatime", "noatime", "relatime"} & set(words)
    return len(times) > 1 or any(
        {"rw", "ro"} <= set(words) or f"no{word}" in words for word in words
    )


KNOWN = (
    # --- the process ---
    Known(
        "groups", "kokon",
        "The user's group is among the groups too, or who gives it up by a set-group-id program "
        "would get what is closed to the group (CVE-2022-2989).",
        lambda c: c.mine == sorted({c.process["user"]["gid"],
                                    *c.process["user"].get("additionalGids", ())}),
    ),
    Known(
        "groups", "crun", "A group that is there twice stays twice.",
        lambda c: len(set(c.mine)) < len(c.mine),
    ),
    Known(
        "keyring", "kokon", "A keyring without a name: one with a name can be joined by who knows "
        "it (keyctl(2), KEYCTL_JOIN_SESSION_KEYRING).", lambda c: c.text.endswith(";_ses"),
    ),
    Known("keyring", "crun", "The keyring's name is the container's.",
          lambda c: c.text.endswith(";ID")),
    Known("fd:[012]", "runc", "Its run copies what it was given through pipes of its own.",
          lambda c: c.text.startswith("10000 ")),
    Known(
        "environment", "crun", "HOME stays empty; runC and kokon take it from passwd.",
        lambda c: "HOME=" in c.mine,
    ),
    Known(
        "environment", "crun", "There is no HOME for who is not in passwd; for the others it is /.",
        lambda c: not any(word.startswith("HOME=") for word in c.mine),
    ),
    Known(
        "scheduler", "runc", "It knows no scheduler before 1.2.",
        lambda c: "scheduler" in c.process,
    ),
    Known(
        "scheduler", "crun", "It knows no scheduler before 1.9.",
        lambda c: "scheduler" in c.process,
    ),
    Known(
        "io-priority", "runc", "It knows no I/O priority before 1.2.",
        lambda c: "ioPriority" in c.process,
    ),
    Known(
        "io-priority", "crun", "It knows no I/O priority before 1.9.",
        lambda c: "ioPriority" in c.process,
    ),
    *(Known("call:setpriority", name, "The same: what may be was nice before.",
            lambda c: c.process.get("scheduler", {}).get("nice")) for name in ("runc", "crun")),
    Known("domain-name", "runc", "It knows no domain name before 1.2.",
          lambda c: "domainname" in c.config),
    Known("personality", "runc", "It knows no personality before 1.2.",
          lambda c: "personality" in c.linux),
    Known("machine", "runc", "It knows no personality before 1.2.",
          lambda c: "personality" in c.linux),
    # --- what is refused ---
    refuses("kokon", "/process/cwd: .* is no absolute path",
            "The specification: cwd MUST be an absolute path."),
    refuses("runc", "Cwd must be an absolute path", "The specification says so."),
    refuses("kokon", "/process/env/[0-9]+: .* is not NAME=VALUE",
            "The specification: the semantics of environ, and an error for what is invalid."),
    refuses("runc", "invalid environment variable|name can't be empty", "As kokon."),
    refuses("kokon", "/process/rlimits/1/type: .* is there twice",
            "The specification: a type that is there twice MUST be an error."),
    refuses("kokon", "join the cgroup of controller cpu: write: Invalid argument; what runs",
            "Version 1 lets nobody who runs in real time into a group without time for it, and the "
            "others do not know the scheduler."),
    refuses("kokon", "/mounts/4/destination: .* has .. in it",
            "A name that says where it leads only when it is followed is not needed."),
    refuses("kokon", "is no mount option of bind",
            "What is not understood is refused; the kernel passes over data of a bind."),
    refuses("kokon", "a tmpfs mount onto /proc could stand in", "Rows M3 and M4 of security.md."),
    refuses("runc", "open /proc/self/fd: no such file", "It needs its /proc then."),
    refuses("kokon", "mount tmpfs on /real/missing: mkdirat: Read-only file system",
            "The mount point cannot be made; mounts are made in their order."),
    refuses("runc", "mkdir .*/real/missing: read-only file system", "As kokon."),
    refuses("kokon", "/linux/uidMappings: a new user namespace needs them",
            "Nobody would be root inside."),
    refuses("runc", "no uid mappings found", "As kokon."),
    refuses("kokon", "/linux/uidMappings: there is no user namespace to have them",
            "They would be passed over, and the container's root would be the machine's."),
    refuses("kokon", "/linux/namespaces/[0-9]+/type: .* is there twice",
            "The specification: a namespace that is there twice MUST be an error."),
    refuses("runc", "duplicated ns", "The specification says so."),
    refuses("kokon", "there is no mount namespace: mounts would be made on the machine",
            "The others make them there."),
    refuses("kokon", "/linux/maskedPaths/0.* Too many levels of symbolic links",
            "What is hidden would be where the image's link leads (row M5 of security.md)."),
    refuses("kokon", "/linux/devices/0/path: a device at .* is not below /dev",
            "Nodes are made in a /dev of the container's own, and nowhere else."),
    refuses("kokon", "is no sysctl in dotted form", "One name for one sysctl."),
    refuses("kokon", "/linux/seccomp/defaultErrnoRet: SCMP_ACT_LOG takes no errno",
            "The specification: an action that has no errno MUST be an error with one."),
    refuses("crun", "errno value specified for action", "The specification says so."),
    refuses("runc", r'namespace \{\\?"time', "It knows no time namespace before 1.2."),
    refuses("crun", "write to sync socket", "A time namespace without a user's fails."),
    refuses("runc", "stat ../sources/.*: no such file", "The type alone makes it a bind, of which "
            "the source is not taken from the bundle."),
    refuses("crun", "mount `../sources/tree` to `real`: No such device",
            "The type alone does not make it a bind."),
    refuses("crun", "openat2 `dangling`", "A link in the root that leads to nothing yet."),
    refuses("runc", r"error mounting .*(proc|sysfs).* to rootfs.*operation not permitted",
            "It cannot show what belongs to the machine in a user namespace."),
    refuses("crun", "mount `proc` to `proc`: Operation not permitted",
            "It cannot show the machine's processes in a user namespace."),
    refuses("runc", "error reopening /dev/null inside", "A document's /dev/null has no rule."),
    refuses("runc", "error creating device nodes: mount /dev/.* no such file",
            "In a user namespace it can only bind what the machine has."),
    refuses("crun", "writing file `pids.max`: Invalid argument", "It writes -1 as it is."),
    refuses("runc", "minimum allowed cpu-shares is 2", "The kernel takes 1 and makes it 2."),
    refuses("runc", "seccomp flags are not yet supported", "It knows none before 1.1.6."),
    refuses("runc", "flags: 0x5000: invalid argument",
            "A root that is unbindable cannot be bound, which it does first."),
    # --- mounts ---
    Known("mount:* data", "runc", "It passes ro on to the file system too.",
          lambda c: "ro" in c.words() and "ro" in c.text.split()),
    Known("path-writable:*", "runc", "The same: a file system that is read-only says so first.",
          lambda c: c.mine == -30 and "ro" in c.words()),
    Known(
        "mount:*", "runc", "Of two words of times it gives both, and the kernel takes strictatime.",
        lambda c: len({"strictatime", "noatime", "relatime"} & set(c.words())) > 1,
    ),
    Known("mount:*", "crun", "Words take nothing back: ro, noexec and others stay.", undone),
    Known("path-writable:*", "crun", "The same.", undone),
    Known("mount:*", "runc", "A word that allows is no change of its own: a bind keeps what its "
          "source forbids.", lambda c: {"rw", "exec", "suid"} & set(c.words())
          and c.volume),
    Known("mount:* shared", "crun", "Of a volume it makes all or nothing what its words say.",
          lambda c: c.volume),
    Known("mount:*", "crun", "A volume has the flags of its words, and no longer its source's.",
          lambda c: c.volume and c.words() and c.mine is None),
    Known("mount:*", "crun", "The machine's queues, which are mounted, get all the words.",
          lambda c: c.path == "/dev/mqueue" and "ipc" not in c.kinds),
    *(Known(field, "kokon", "The last word wins, be it for the whole tree or for its top.",
            lambda c: c.volume and RECURSIVE & set(c.words()))
      for field in ("mount:*", "path-writable:*")),
    *(Known(field, "runc", "Words for the whole tree come last, wherever they stand.",
            lambda c: c.volume and RECURSIVE & set(c.words()))
      for field in ("mount:*", "path-writable:*")),
    Known("mount:*", "crun", "In a user namespace times are locked: words with one are lost.",
          lambda c: c.users and c.volume and {"noatime", "strictatime"} & set(c.words())),
    refuses("runc", "error mounting .*/sources/.*: operation not permitted",
            "In a user namespace times are locked; kokon's words are set before it is entered."),
    refuses("crun", "mount_setattr .*: Invalid argument", "A word for the times of a whole tree."),
    refuses("crun", "mount_setattr .*: Operation not permitted",
            "In a user namespace what forbids is locked; kokon's words are set before."),
    refuses("runc", "data: .*defaults", "It gives a tmpfs that word too."),
    Known("path*:*", "crun", "A tmpfs has mode 1777, and not that of what it covers.", bare_tmpfs),
    Known("path*:*", "runc", "A tmpfs has the mode of what it covers, whatever its option says.",
          lambda c: any(word.startswith("mode=") for word in c.words())),
    Known("left:*", "crun", "Mount points are made with mode 1755, files with 0700.",
          lambda c: c.text.startswith(("drwxr-xr-t", "-rwx------"))),
    Known("left:*", "runc", "Mount points of files may be executed.",
          lambda c: c.text.startswith("-rwxr-xr-x")),
    Known("mount:/ shared", "runc", "Its root is private in the end.",
          lambda c: c.linux.get("rootfsPropagation") == "shared"),
    Known("*:/dev/mqueue", "crun", "It makes the namespace as the container's root.",
          lambda c: c.users),
    # --- control groups as files ---
    Known("*:/sys/fs/cgroup*", "kokon", "The directory of groups is read-only and as small as can "
          "be.", lambda c: bool(c.mounts("/sys/fs/cgroup"))),
    Known("*:/sys/fs/cgroup*", "crun", "Its directory of groups may be written, and the groups are "
          "named by their path.", lambda c: bool(c.mounts("/sys/fs/cgroup"))),
    Known("mount:/sys*", "kokon", "The machine's own is shown to nobody but to be read.",
          lambda c: c.users and machines(c)),
    # --- masks ---
    Known("mount:*", "kokon", "What covers is one read-only tmpfs, of which nothing is the "
          "container's or the machine's own.", masked),
    Known("path*", "kokon", "The same: a file that is empty, and no device; a directory that only "
          "can be read.", masked),
    Known("mount:*", "crun", "What covers is a tmpfs each, or the machine's /dev/null.", masked),
    Known("path-writ*", "crun", "What covers may be written where what is above is read-only.",
          lambda c: masked(c) and any(
              c.path.startswith(f"{path}/") for path in c.linux.get("readonlyPaths", ()))),
    Known("mount:*'*", "kokon", "A path that is there twice is covered once.",
          lambda c: c.mine is None and (
              case_paths(c).count(c.path) > 1 or "/link" in case_paths(c))),
    *(Known(field, "kokon", "What is mounted below a read-only path is read-only too.",
            lambda c: any(c.path.startswith(f"{path}/") for path in read_only_paths(c)))
      for field in ("mount:* ro", "mount:* rw", "path-writ*")),
    # --- devices ---
    Known("tree:/dev/core", "crun", "It makes a link to /proc/kcore."),
    Known("*:/dev/*", "kokon", "In a user namespace nodes are made, with the right owner; the "
          "others bind the machine's.", bound_device),
    Known("*:/dev/*", "crun", "In a user namespace its binds have more flags, its nodes mode 0644 "
          "and no right to be opened.", bound_device),
    Known("tree:/dev/*", "kokon", "A directory above a device of a user namespace is nobody's.",
          lambda c: c.users and "65534:65534" in c.text),
    Known("file:*devices.list", "runc", "/dev/net/tun may be opened unasked."),
    Known("file:*devices.list", "crun", "Without rules every device may be opened."),
    Known("opens:*", "crun", "Without rules every device may be opened.",
          lambda c: c.mine == 0 and not c.resources("devices")),
    # --- resources ---
    Known("groups-left", "crun", "It leaves the groups of a container that it could not make.",
          lambda c: c.outcomes["crun"].fields["outcome"] == "refused"),
    *(Known("file:*pids.max", name, "0 is no limit for it; the specification: it SHOULD be one.",
            lambda c: c.resources("pids").get("limit") == 0) for name in ("runc", "crun")),
    *(Known("call:*", name, "The same: none of the probe's children may be there.",
            lambda c: c.resources("pids").get("limit") == 0) for name in ("runc", "crun")),
    *(Known("file:*cpu.cfs_burst_us", name, "It knows no burst.",
            lambda c: "burst" in c.resources("cpu")) for name in ("runc", "crun")),
    Known("file:*cpu.idle", "runc", "It knows no idle group on version 1.",
          lambda c: "idle" in c.resources("cpu")),
    Known("file:*cpu.shares", "runc", "The same: an idle group has 3.",
          lambda c: "idle" in c.resources("cpu")),
    Known("file:/groups/*", "crun", "In a user namespace its bind of the groups has none below.",
          lambda c: c.users and c.mine == -2),
    Known("group:*", "kokon", "Without a path the group is kokon-ID: no other's name is taken.",
          lambda c: "cgroupsPath" not in c.linux and "/kokon-" in c.text),
    Known("group:*", "crun", "Without a path it is below the root, not below the caller's.",
          lambda c: not c.linux.get("cgroupsPath", "").startswith("/")),
    Known("group:*", "runc", "A relative path is below the caller's group.",
          lambda c: not c.linux.get("cgroupsPath", "/").startswith("/")),
    Known("file:/groups/*", "kokon", "Without a path it is elsewhere, as its name.",
          lambda c: "cgroupsPath" not in c.linux),
    Known("file:/groups/*", "runc", "A relative path is below the caller's group.",
          lambda c: not c.linux.get("cgroupsPath", "/").startswith("/")),
    Known("file:/groups/*", "crun", "Without a path it is elsewhere.",
          lambda c: "cgroupsPath" not in c.linux),
)  # fmt: skip


def read_only_paths(case: Case) -> list[str]:
    found: list[str] = case.linux.get("readonlyPaths", [])
    return found


def case_paths(case: Case) -> list[str]:
    return [*case.linux.get("maskedPaths", ()), *case.linux.get("readonlyPaths", ())]
