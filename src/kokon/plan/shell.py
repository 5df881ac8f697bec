"""A plan as a POSIX shell script of util-linux, coreutils and iproute2 that does the same.

The script has two parts.  Outside it makes the control groups and a working directory, and removes
them at the end.  Inside, in the new namespaces, it performs the plan step by step: what a slot is
to init, a directory on a tmpfs of its own (the stage) is to the script, because a shell cannot
hold a detached mount.  After pivot_root no program of the host can be reached any more, so those
that are needed wait on the stage with their libraries; it goes away with the old root.
"""

from __future__ import annotations

from kokon.plan import ops, shell_steps
from kokon.plan.provenance import asked_by
from kokon.plan.shell_words import comment, quote, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kokon.plan.plan import Plan
    from kokon.spec.runtime import Spec


class ControlGroup:
    """A control group that the script makes, enters and removes.

    :param handed: which of ``plan.inherited`` it stands for (``cgroup``, ``tasks:memory``).
    :param directory: its absolute path; it must not exist when the script begins.
    :param writes: (file, value, why) in order; the file is relative to the directory, so that
        ``../cgroup.subtree_control`` is the one of the group above; ``why`` as in an op.
    """

    __slots__ = ("directory", "handed", "writes")

    def __init__(
        self, handed: str, directory: str, writes: Sequence[tuple[str, str, str]] = ()
    ) -> None:
        self.handed = handed
        self.directory = directory
        self.writes = tuple(writes)


def script(
    plan: Plan, spec: Spec, asked: Mapping[str, str], cgroups: Sequence[ControlGroup] = ()
) -> str:
    """The script, exact where the plan has no user namespace of its own; else it says so.

    Names that are no UTF-8 keep their bytes as surrogates: encode it with ``surrogateescape``.

    :param asked: JSON pointers of the spec to the options that set them.
    :param cgroups: the control groups of the plan, with their limits.
    """
    inside = shell_steps.Inside(plan, asked, {group.handed: group.directory for group in cgroups})
    inside.perform()
    parts = (
        _title(plan, spec, inside),
        _outside(cgroups, asked, inside),
        _enter(plan, inside),
    )
    return "\n".join(parts)


def _title(plan: Plan, spec: Spec, inside: shell_steps.Inside) -> str:
    program = " ".join(quote(word) for word in spec.process.args)
    lines = [
        "#!/bin/sh",
        comment(f"Runs {program} in a container whose root is {spec.root.path}, as kokon does."),
        "# The numbers are the steps of `kokon explain`; in brackets is what asked for a step.",
        "#",
    ]
    if inside.differences:
        lines += [
            "# NOT EXACT: the container has a user namespace of its own, which these tools do not",
            "# prepare as kokon does (with --userns host the script is exact):",
            *(comment(f"  {line}") for line in inside.differences),
        ]
    if inside.missing:
        lines += [
            "# Missing, because no tool of the shell does it:",
            *(
                comment(f"  {text} (step {', '.join(map(str, numbers))})")
                for text, numbers in inside.missing.items()
            ),
        ]
    lines += [
        "# Needs util-linux (unshare, mount, setpriv and others), coreutils and iproute2.",
        "# Ctrl-C ends it.",
        "set -eu",
        "PATH=$PATH:/usr/sbin:/sbin",
    ]
    if not inside.user_namespace:
        lines.append('[ "$(id -u)" = 0 ] || { echo "this script needs root" >&2; exit 125; }')
    return "\n".join((*lines, ""))


def _outside(
    cgroups: Sequence[ControlGroup], asked: Mapping[str, str], inside: shell_steps.Inside
) -> str:
    """The working directory and the control groups, and their end."""
    unlock = []
    if inside.user_namespace and inside.writes >= 0:
        # Only root may enter the directory that overlayfs makes for itself.
        unlock = ['    chmod -R u+rwx "$work/writes"']
    lines = [
        "# ---- outside: what is removed at the end ----",
        "",
        "work=$(mktemp -d /var/tmp/kokon-XXXXXX)",
        "export work",
        "clean_up() {  # the arguments are the control groups that were made",
        "    for group; do",
        "        tries=0",
        '        until rmdir "$group" 2>/dev/null || [ $((tries += 1)) -gt 50 ]; do',
        "            sleep 0.1",
        "        done",
        "    done",
        *unlock,
        '    rm -rf --one-file-system "$work"',
        "}",
        "trap 'clean_up \"$@\"' EXIT",
        "trap 'exit 130' INT TERM",
        "set --",
        'mkdir "$work/stage"',
    ]
    if inside.writes >= 0:
        lines += [
            "# What the program writes is kept here, over the root, and dropped at the end.",
            'mkdir -m 755 "$work/writes" "$work/writes/upper"',
            'mkdir -m 700 "$work/writes/work"',
        ]
    for group in cgroups:
        lines += ["", f"mkdir {quote(group.directory)}", f'set -- {quote(group.directory)} "$@"']
        for file, value, why in group.writes:
            path = f"{group.directory}/{file}"
            lines.append(f"{write(value, path)}  {comment(f'[{asked_by(why, asked)}]')}")
    return "\n".join((*lines, ""))


def _enter(plan: Plan, inside: shell_steps.Inside) -> str:
    """The unshare of step 1 and, as its standard input, what happens inside."""
    body = inside.text()
    end = "INSIDE"
    while end in body.split("\n"):
        end += "_"
    number = next(n for n, op in enumerate(plan.ops, 1) if isinstance(op, ops.Clone))
    return "\n".join(
        (
            "# ---- inside: the steps, by a shell that is already in the new namespaces ----",
            "",
            "exec 4<&0",
            inside.heading(number),
            "#   the first shell stays outside; its child is process 1 inside, and dies with it",
            "#   (a subshell, because before Linux 6.3 only fork(2) enters a time namespace)",
            f"unshare {' '.join(inside.unshare)} \\",
            "    sh -c '(exec setpriv --pdeathsig KILL sh -eu /dev/fd/3); exit $?' \\",
            f"    <&4 4<&- 3<<'{end}' &",
            body + end,
            "trap 'kill -KILL $!; exit 130' INT TERM",
            "wait $!",
            "",
        )
    )
