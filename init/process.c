/* What the process itself is: ids, capabilities, limits, signals; and its execve. */
#include "init.h"

enum {
    PR_PDEATHSIG = 1, PR_DUMPABLE = 4, PR_KEEPCAPS = 8, PR_CAPBSET_READ_ = 23,
    PR_CAPBSET_DROP_ = 24, PR_SUBREAPER = 36, PR_NNP = 38, PR_AMBIENT = 47, AMBIENT_RAISE = 2,
    AMBIENT_CLEAR = 4, LAST_CAPABILITY = 63,
};

#define prctl(option, value) syscall5(__NR_prctl, option, value, 0, 0, 0)

int do_hostname(const struct op_hostname *op)
{
    TRY(0, syscall2(__NR_sethostname, op->name, strlen(op->name)));
    return 0;
}

int do_domainname(const struct op_domainname *op)
{
    TRY(0, syscall2(__NR_setdomainname, op->name, strlen(op->name)));
    return 0;
}

/* struct ifreq: the name, then the flags. */
struct interface_flags {
    char name[16];
    short flags;
    char rest[22];
};

int do_loopback(const struct op_loopback *op)
{
    (void)op;
    struct interface_flags request = {.name = "lo"};
    int fd;
    TRY(0, fd = (int)syscall3(__NR_socket, 2 /* AF_INET */, 2 | O_CLOEXEC /* SOCK_DGRAM */, 0));
    step = 1;
    long result = syscall3(__NR_ioctl, fd, 0x8913 /* SIOCGIFFLAGS */, &request);
    if (result >= 0) {
        request.flags |= 1 /* IFF_UP */;
        step = 2;
        result = syscall3(__NR_ioctl, fd, 0x8914 /* SIOCSIFFLAGS */, &request);
    }
    close_fd(fd);
    return (int)result;
}

/* Beneath our own detached procfs, so that nothing in the container can stand in its way. */
int do_write_proc(const struct op_write_proc *op)
{
    int base = slot_fd(op->proc), fd;
    /* The link and not getpid(): in another container's processes our number is another one. */
    if (op->own)
        TRY(0, base = openat2(base, "self", O_PATH | O_DIRECTORY,
                              RESOLVE_BENEATH | RESOLVE_NO_XDEV));
    step = 0;
    fd = openat2(base, op->path, O_WRONLY, RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS);
    if (op->own)
        close_fd(base);
    if (fd < 0)
        return fd;
    step = 1;
    long wrote = syscall3(__NR_write, fd, op->content, strlen(op->content));
    close_fd(fd);
    return wrote < 0 ? (int)wrote : 0;
}

int do_keyring(const struct op_keyring *op)
{
    /* Without a name: one with that name, made by another, would be joined. */
    int result = (int)syscall2(__NR_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, 0);
    return result == -ENOSYS && op->may_lack ? 0 : result;
}

int do_session(const struct op_session *op)
{
    (void)op;
    TRY(0, syscall0(__NR_setsid));
    return 0;
}

/* struct sigaction of the kernel; all zero is SIG_DFL. */
struct signal_action {
    unsigned long handler, flags, restorer, mask;
};

int do_signals(const struct op_signals *op)
{
    (void)op;
    struct signal_action none = {0};
    uint64_t empty = 0;
    step = 0;
    for (int signal = 1; signal <= 64; signal++)
        if (signal != 9 && signal != 19)
            syscall4(__NR_rt_sigaction, signal, &none, 0, 8);
    TRY(1, syscall4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &empty, 0, 8));
    return 0;
}

/* In a new pid namespace getppid() is 0, so a caller that died before the prctl is seen by its
 * end of the report: nobody holds it any more. */
int do_parent_death(const struct op_parent_death *op)
{
    struct { int fd; short events, revents; } end = {REPORT_FD, 0, 0};
    struct { long seconds, nanoseconds; } now = {0, 0};
    TRY(0, prctl(PR_PDEATHSIG, op->signal));
    TRY(1, syscall5(__NR_ppoll, &end, 1, &now, 0, 8));
    if (end.revents)
        exit_group(125);
    return 0;
}

int do_dumpable(const struct op_dumpable *op)
{
    TRY(0, prctl(PR_DUMPABLE, op->value));
    return 0;
}

int do_resource_limit(const struct op_resource_limit *op)
{
    uint64_t limit[2] = {op->soft, op->hard};
    TRY(0, syscall4(__NR_prlimit64, 0, op->resource, limit, 0));
    return 0;
}

int do_raise_limit(const struct op_raise_limit *op)
{
    uint64_t limit[2];
    TRY(0, syscall4(__NR_prlimit64, 0, op->resource, 0, limit));
    if (limit[1] >= op->hard)
        return 0;
    limit[1] = op->hard;
    TRY(0, syscall4(__NR_prlimit64, 0, op->resource, limit, 0));
    return 0;
}

int do_umask(const struct op_umask *op)
{
    TRY(0, syscall1(__NR_umask, op->mask));
    return 0;
}

int do_groups(const struct op_groups *op)
{
    TRY(0, syscall2(__NR_setgroups, op->groups_size / 4, op->groups));
    return 0;
}

int do_bounding_set(const struct op_bounding_set *op)
{
    step = 0;
    for (int number = 0; number <= LAST_CAPABILITY; number++) {
        if (op->mask >> number & 1)
            continue;
        long held = prctl(PR_CAPBSET_READ_, number);
        if (held == -EINVAL)
            break; /* past the kernel's last capability */
        if (held < 0)
            return (int)held;
        if (held) /* what is not there needs no right to drop it */
            TRY(0, prctl(PR_CAPBSET_DROP_, number));
    }
    return 0;
}

int do_user(const struct op_user *op)
{
    if (op->keep)
        TRY(0, prctl(PR_KEEPCAPS, 1));
    TRY(1, syscall3(__NR_setresgid, op->gid, op->gid, op->gid));
    TRY(2, syscall3(__NR_setresuid, op->uid, op->uid, op->uid));
    if (op->keep)
        TRY(3, prctl(PR_KEEPCAPS, 0));
    return 0;
}

int do_capabilities(const struct op_capabilities *op)
{
    struct { uint32_t version; int pid; } header = {0x20080522, 0};
    struct { uint32_t effective, permitted, inheritable; } sets[2];
    for (int half = 0; half < 2; half++) {
        sets[half].effective = (uint32_t)(op->effective >> 32 * half);
        sets[half].permitted = (uint32_t)(op->permitted >> 32 * half);
        sets[half].inheritable = (uint32_t)(op->inheritable >> 32 * half);
    }
    TRY(0, syscall2(__NR_capset, &header, sets));
    return 0;
}

int do_ambient(const struct op_ambient *op)
{
    TRY(0, prctl(PR_AMBIENT, AMBIENT_CLEAR));
    for (int number = 0; number <= LAST_CAPABILITY; number++)
        if (op->mask >> number & 1)
            TRY(1, syscall5(__NR_prctl, PR_AMBIENT, AMBIENT_RAISE, number, 0, 0));
    return 0;
}

int do_no_new_privileges(const struct op_no_new_privileges *op)
{
    (void)op;
    TRY(0, prctl(PR_NNP, 1));
    return 0;
}

/* landlock_add_rule(2): what a rule is about. */
struct path_rule {
    uint64_t access;
    int32_t parent;
} __attribute__((packed));
struct port_rule {
    uint64_t access, port;
};
enum { PATH_RULE = 1, PORT_RULE = 2 };

static int allow_path(int rules, const char *path, uint64_t access)
{
    const uint64_t optional = 1ULL << 63;
    int fd = (int)syscall4(__NR_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC, 0);
    step = 1;
    if (fd < 0)
        return access & optional ? 0 : fd;
    struct path_rule rule = {access & ~optional, fd};
    step = 2;
    long result = syscall4(__NR_landlock_add_rule, rules, PATH_RULE, &rule, 0);
    close_fd(fd);
    return (int)result;
}

int do_landlock(const struct op_landlock *op)
{
    /* Longer than an old kernel's: it takes that as long as what it does not know is 0. */
    uint64_t handled[3] = {op->files, op->network, op->scopes};
    const uint64_t *accesses = (const void *)op->accesses;
    const struct port_rule *ports = (const void *)op->ports;
    int rules, result;
    TRY(0, rules = (int)syscall3(__NR_landlock_create_ruleset, handled, sizeof handled, 0));
    for (uint64_t i = 0; op->paths[i]; i++) {
        if (i >= op->accesses_size / 8)
            return -EINVAL;
        if ((result = allow_path(rules, op->paths[i], accesses[i])) < 0)
            return result;
    }
    for (uint64_t i = 0; i < op->ports_size / sizeof *ports; i++)
        TRY(2, syscall4(__NR_landlock_add_rule, rules, PORT_RULE, &ports[i], 0));
    TRY(3, syscall2(__NR_landlock_restrict_self, rules, 0));
    close_fd(rules);
    return 0;
}

int do_close_descriptors(const struct op_close_descriptors *op)
{
    /* Not by execve: it looks the program up first, and /proc/self/fd/N/.. would lead out of the
     * root (row E3). The report stays, for what may still fail. */
    TRY(0, syscall3(__NR_close_range, 3 + op->preserved, REPORT_FD - 1, 0));
    TRY(0, syscall3(__NR_close_range, REPORT_FD + 1, ~0U, 0));
    return 0;
}

/* The signal by which kokon, or its death, ends all: one that a program does not get to send. */
enum { END_ALL = 64 };

/* SIGKILL to every process that a signal of ours reaches, which is our Landlock domain and no more:
 * never unless we have seen that our parent is out of reach. One pass is enough: who is being
 * forked is there already, or has a parent that cannot finish it. */
static void kill_all(void)
{
    long parent = syscall0(__NR_getppid);
    if (parent > 0 && syscall2(__NR_kill, parent, 0) == -EPERM)
        syscall2(__NR_kill, -1, 9);
}

/* ... and waits for them: they are ours, wherever they were forked. */
static void end_all(void)
{
    long result;
    kill_all();
    do
        result = syscall4(__NR_wait4, -1, 0, 0, 0);
    while (result > 0 || result == -EINTR);
}

static int64_t now(void)
{
    int64_t time[2] = {0, 0};
    syscall2(__NR_clock_gettime, 1 /* CLOCK_MONOTONIC */, time);
    return time[0] * 1000000000 + time[1];
}

/* Ends the others of our own pid namespace, as our end would, and waits for them: only then counts
 * what they used. Not for long: one that is set-uid may not hear us, and ends when we do. */
static void end_namespace(void)
{
    static const uint64_t child = 1 << (17 - 1); /* SIGCHLD */
    static const int64_t wait[2] = {0, 20000000};
    const int64_t until = now() + 100000000;
    syscall2(__NR_kill, -1, 9);
    for (;;) {
        long ended = syscall4(__NR_wait4, -1, 0, 1 /* WNOHANG */, 0);
        if (ended < 0 || now() > until)
            return;
        if (!ended)
            syscall4(__NR_rt_sigtimedwait, &child, 0, wait, 8);
    }
}

/* Process 1: reaps whatever ends, forwards signals to the program, ends with it. */
static __attribute__((noreturn)) void reap(long program, const uint64_t *all, int ends_all)
{
    /* The program has its own: what is held open here would only keep pipes from ending, and be
     * there for a tracer to take (row E1). */
    syscall3(__NR_close_range, 0, REPORT_FD - 1, 0);
    syscall3(__NR_close_range, REPORT_FD + 1, ~0U, 0);
    for (;;) {
        int status;
        long ended = syscall4(__NR_wait4, -1, &status, 1 /* WNOHANG */, 0);
        if (ended == program) {
            report(REPORT_STATUS, 0, 0, status);
            if (ends_all)
                end_all();
            else if (syscall0(__NR_getpid) == 1)
                end_namespace();
            exit_group(status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff);
        }
        if (ended > 0)
            continue;
        long signal = syscall4(__NR_rt_sigtimedwait, all, 0, 0, 8);
        if (signal == END_ALL && ends_all)
            kill_all();
        else if (signal > 0 && signal != 17 /* SIGCHLD */)
            syscall2(__NR_kill, program, signal);
    }
}

int do_reap(const struct op_reap *op)
{
    uint64_t all = ~0ULL, before;
    if (op->all) {
        /* What the program leaves behind comes to us. */
        TRY(3, prctl(PR_SUBREAPER, 1));
        /* A signal to all must not reach who has started us: without the scope nothing runs. */
        step = 4;
        if (syscall2(__NR_kill, syscall0(__NR_getppid), 0) != -EPERM)
            return -EINVAL;
    }
    TRY(0, syscall4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &all, &before, 8));
    step = 1;
    /* CLONE_VFORK: we go on when the program runs, and may say so. */
    long program = syscall5(__NR_clone, CLONE_VFORK | 17 /* SIGCHLD */, 0, 0, 0, 0);
    if (program < 0)
        return (int)program;
    if (program == 0) {
        /* Where process 1 is not the pid namespace's own, its end would not be the program's. */
        TRY(2, prctl(PR_PDEATHSIG, 9));
        TRY(0, syscall4(__NR_rt_sigprocmask, 2, &before, 0, 8));
        return 0;
    }
    report(REPORT_STARTED, 0, 0, program);
    reap(program, &all, op->all != 0);
}

/* Before there is a start; what it says of a path is what do_execute says. A path that may not be
 * looked at is left to that: the program's user may. */
int do_find_program(const struct op_find_program *op)
{
    int found = -ENOENT;
    struct stat_head status;
    for (int i = 0; op->paths[i]; i++) {
        long result = syscall4(__NR_newfstatat, AT_FDCWD, op->paths[i], &status, 0);
        if (result == -ENOENT || result == -ENOTDIR)
            continue;
        if (result < 0)
            return 0;
        step = 2 * i + 1;
        found = -EACCES;
        if ((status.mode & 0170000) != 0040000 /* a directory */ &&
            syscall3(__NR_faccessat, AT_FDCWD, op->paths[i], 1 /* X_OK */) >= 0)
            return 0;
    }
    return found;
}

/* The step says which path was tried last (times two), and whether a file was there (plus one):
 * ENOENT for a file that exists means that its interpreter is missing. */
int do_execute(const struct op_execute *op)
{
    int found = -ENOENT;
    char status[512];
    for (int i = 0; op->paths[i]; i++) {
        long result = syscall3(__NR_execve, op->paths[i], op->arguments, op->environment);
        int exists = !syscall4(__NR_newfstatat, AT_FDCWD, op->paths[i], status, 0);
        if ((result == -ENOENT && !exists) || result == -ENOTDIR)
            continue;
        step = 2 * i + exists;
        found = (int)result;
        if (result != -EACCES)
            break;
    }
    return found;
}
