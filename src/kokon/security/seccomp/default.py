"""kokon's default profile.

Which calls are allowed, and which need which capability, comes from the default profile of Docker
Engine (github.com/moby/profiles, seccomp/default.json at cd3bed80, Apache-2.0).  It differs in:

- Arguments that the kernel takes as an ``int`` are compared as 32 bits: ``socket((1 << 32) + 40)``
  is ``socket(40)`` for the kernel.
- Socket families are an allow-list.  AF_ALG and AF_VSOCK are not on it (the kernel's crypto, and a
  way past the network namespace), nor are the dozens of families whose modules a call would load.
  AF_PACKET needs CAP_NET_RAW, which it needs anyway.  socketpair(2) has the same list.
- ioctl(2) refuses TIOCSTI and TIOCLINUX, which type into the terminal that a caller shares.
- socketcall(2) of 32-bit x86 refuses socket and socketpair, whose family is behind a pointer.
- x32 calls answer ENOSYS.
- Every call that is known is on a list here; one that is not is newer than the profile and answers
  ENOSYS, so that a C library falls back.  The same goes for calls on :data:`ABSENT`.
"""

from __future__ import annotations

from kokon.kernel.capabilities import mask
from kokon.security.seccomp.compiler import SOCKETCALL
from kokon.security.seccomp.profile import ALLOW, ENOSYS, EPERM, ERRNO, Condition, Profile, Rule

ALLOWED = """
_llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir
chmod chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range
creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2
epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2
fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32
fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat
fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64
futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents
getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer
getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid
getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32
getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel
io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioprio_get
ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown
lchown32 lgetxattr link linkat listen listmount listxattr listxattrat llistxattr lremovexattr
lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret
mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr
mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap
name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe
pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2
prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace
pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg
recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2
restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max
sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64
send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address
setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid
setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32
setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown
sigaltstack signalfd signalfd4 sigprocmask sigreturn splice stat stat64 statfs statfs64 statmount
statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create
timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill
truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat
utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev

arch_prctl modify_ldt

arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2
"""
"""For everyone; the last two paragraphs exist on x86 and on ARM only."""

NEEDING = {
    "SYS_ADMIN": """
bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree open_tree_attr
perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare
""",
    "BPF": "bpf",
    "DAC_READ_SEARCH": "open_by_handle_at",
    "PERFMON": "perf_event_open",
    "SYSLOG": "syslog",
    "SYS_BOOT": "reboot",
    "SYS_CHROOT": "chroot",
    "SYS_MODULE": "delete_module finit_module init_module",
    "SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "SYS_PACCT": "acct",
    "SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "SYS_RAWIO": "ioperm iopl",
    "SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "SYS_TTY_CONFIG": "vhangup",
}
"""For those whose bounding set has the capability; refused otherwise."""

REFUSED = """
_sysctl add_key afs_syscall bdflush break create_module ftime get_kernel_syms get_tls getpmsg gtty
idle io_uring_enter io_uring_register io_uring_setup kexec_file_load kexec_load keyctl lock
migrate_pages move_pages mpx nfsservctl nice oldfstat oldlstat oldolduname oldstat olduname
pciconfig_iobase pciconfig_read pciconfig_write pivot_root prof profil putpmsg query_module readdir
request_key security sgetmask sigaction signal sigpending sigsuspend ssetmask stty swapoff swapon
sysfs tuxcall ulimit uselib userfaultfd usr26 usr32 ustat vm86 vm86old vserver
"""
"""For no one."""

ABSENT = "file_getattr file_setattr listns rseq_slice_yield uprobe"
"""Calls that every program can do without: refused with ENOSYS, as on a kernel that lacks them."""

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET = 1, 2, 10, 16, 17

PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
"""PER_LINUX, PER_LINUX32, each with UNAME26 too, and the question for the present one."""

TIOCSTI, TIOCLINUX = 0x5412, 0x541C

NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET (linux/sched.h)."""

ARCHITECTURES = {"x86_64": ("x86", "x32"), "aarch64": ("arm",)}


OTHERWISE = Condition(0, "GE", 0)
"""Holds always, and comes last in the order of rules."""


def word(index: int, value: int, operator: str = "MASKED_EQ") -> Condition:
    """An argument of 32 bits is, or is not, ``value``."""
    return Condition(index, operator, 0xFFFFFFFF, value)


def profile(arch: str, capabilities: int) -> Profile:
    """The default profile.

    :param arch: ``x86_64`` or ``aarch64``.
    :param capabilities: the bounding set, one bit for each (:mod:`kokon.kernel.capabilities`).
    """

    def holds(name: str) -> bool:
        return bool(capabilities & mask((name,)))

    allowed = ALLOWED.split()
    refused = REFUSED.split()
    for capability, names in NEEDING.items():
        (allowed if holds(capability) else refused).extend(names.split())
    granted = set(allowed)
    rules = [Rule(sorted(granted), ALLOW)]
    if not holds("SYS_ADMIN"):
        rules.append(Rule(("clone",), ALLOW, (Condition(0, "MASKED_EQ", NAMESPACES, 0),)))
        rules.append(Rule(("clone",), ERRNO | EPERM, (OTHERWISE,)))
        # A filter cannot see clone3's flags, which are behind a pointer: ENOSYS sends the C library
        # back to clone.
        granted |= {"clone", "clone3"}
        rules.append(Rule(("clone3",), ERRNO | ENOSYS))
    rules.append(Rule(sorted(set(refused) - granted), ERRNO | EPERM))
    rules += arguments(holds("NET_RAW"))
    return Profile(
        ERRNO | ENOSYS, rules, architectures=ARCHITECTURES.get(arch, ()), multiplexed=False
    )


def arguments(packets: bool) -> list[Rule]:
    """The rules that look at arguments; what they do not allow is refused."""
    families = [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, *([AF_PACKET] if packets else [])]
    creating = ("socket", "socketpair")
    rules = [Rule(creating, ALLOW, (word(0, family),)) for family in families]
    rules += [Rule(("personality",), ALLOW, (word(0, kind),)) for kind in PERSONALITIES]
    for name, index, hidden in (
        ("ioctl", 1, (TIOCSTI, TIOCLINUX)),
        ("socketcall", 0, (SOCKETCALL["socket"], SOCKETCALL["socketpair"])),
    ):
        rules.append(Rule((name,), ALLOW, [word(index, n, "MASKED_NE") for n in hidden]))
    named = (*creating, "personality", "ioctl", "socketcall")
    return [*rules, Rule(named, ERRNO | EPERM, (OTHERWISE,))]
