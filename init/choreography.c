/* Clone, Release and what stage 1 does in between for stage 2. */
#include "init.h"

struct pollfd {
    int fd;
    short events, revents;
};
enum { POLL_IN = 1 };

/* Stage 2: go on when stage 1 says so; end when stage 1 ended without saying so. The write end
 * of the pipe is in our own table too, so its closing could not be seen: hence the pidfd. */
static void wait_for_release(void)
{
    struct pollfd wait[2] = {{go_pipe[0], POLL_IN, 0}, {stage1_pidfd, POLL_IN, 0}};
    while (syscall5(__NR_ppoll, wait, 2, 0, 0, 8) == -EINTR)
        ;
    if (!(wait[0].revents & POLL_IN))
        exit_group(125);
    close_fd(go_pipe[0]);
    close_fd(go_pipe[1]);
    close_fd(stage1_pidfd);
}

int do_clone(const struct op_clone *op)
{
    TRY(0, stage1_pidfd = (int)syscall2(__NR_pidfd_open, syscall0(__NR_getpid), 0));
    TRY(1, syscall2(__NR_pipe2, go_pipe, O_CLOEXEC));
    uint64_t flags = op->namespaces | CLONE_FILES | (op->adopt ? CLONE_PARENT : 0);
    uint64_t signal = op->adopt ? 0 : 17 /* SIGCHLD */;
    if (op->legacy) {
        step = 3;
        child_pid = syscall5(__NR_clone, flags | signal, 0, 0, 0, 0);
    } else {
        step = 2;
        struct clone_args arguments = {.flags = flags, .exit_signal = signal};
        if (op->cgroup >= 0) {
            arguments.flags |= CLONE_INTO_CGROUP;
            arguments.cgroup = (uint64_t)slot_fd(op->cgroup);
        }
        child_pid = syscall2(__NR_clone3, &arguments, sizeof arguments);
    }
    if (child_pid < 0)
        return (int)child_pid;
    if (child_pid == 0) {
        in_container = 1;
        wait_for_release();
        /* It is a way to the host's files: what follows opens paths of the container. */
        if (op->cgroup >= 0)
            slot_set(op->cgroup, -1);
        return 0;
    }
    report(REPORT_PID, 0, 0, child_pid);
    return 0;
}

int do_await_parent(const struct op_await_parent *op)
{
    (void)op;
    char answer;
    report(REPORT_READY, 0, 0, child_pid);
    step = 1;
    for (;;) {
        long got = syscall3(__NR_read, REPLY_FD, &answer, 1);
        if (got == 1)
            return 0;
        if (got != -EINTR)
            return got ? (int)got : -EPIPE;
    }
}

int do_open(const struct op_open *op)
{
    int fd;
    TRY(0, fd = (int)syscall4(__NR_openat, AT_FDCWD, op->path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
    slot_set(op->slot, fd);
    return 0;
}

int do_release(const struct op_release *op)
{
    char end;
    int go = go_pipe[1];
    /* A table of our own first: what we close must stay open for stage 2. */
    if (op->linger)
        TRY(0, syscall1(__NR_unshare, CLONE_FILES));
    TRY(1, write_all(go, "", 1));
    if (op->linger) {
        syscall3(__NR_close_range, 0, REPLY_FD - 1, 0);
        syscall3(__NR_close_range, REPLY_FD + 1, ~0U, 0);
        while (syscall3(__NR_read, REPLY_FD, &end, 1) == -EINTR)
            ;
    }
    return 0;
}

/* /proc/PID/FILE, in the host's own /proc. */
static int write_process(long pid, const char *file, const char *content)
{
    char path[64];
    int fd = proc_path(path, pid, file);
    TRY(0, fd = (int)syscall4(__NR_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0));
    step = 1;
    long wrote = syscall3(__NR_write, fd, content, strlen(content));
    close_fd(fd);
    return wrote < 0 ? (int)wrote : 0;
}

int do_id_map(const struct op_id_map *op)
{
    return write_process(child_pid, op->file, op->content);
}

int do_write_child(const struct op_write_child *op)
{
    /* Before there is a stage 2 we set our own, which it inherits. */
    return write_process(child_pid ? child_pid : syscall0(__NR_getpid), op->file, op->content);
}

/* A process only makes the namespace: it waits for its end. */
int do_map_namespace(const struct op_map_namespace *op)
{
    char path[64];
    step = 0;
    long pid = syscall5(__NR_clone, CLONE_NEWUSER | 17 /* SIGCHLD */, 0, 0, 0, 0);
    if (pid < 0)
        return (int)pid;
    if (pid == 0)
        for (;;)
            syscall5(__NR_ppoll, 0, 0, 0, 0, 0);
    int result = write_process(pid, "uid_map", op->users);
    if (result >= 0)
        result = write_process(pid, "gid_map", op->groups);
    if (result < 0) {
        step++;
    } else {
        proc_path(path, pid, "ns/user");
        step = 3;
        result = (int)syscall4(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    }
    syscall2(__NR_kill, pid, 9);
    syscall4(__NR_wait4, pid, 0, 0, 0);
    if (result >= 0)
        slot_set(op->slot, result);
    return result < 0 ? result : 0;
}

int do_user_namespace(const struct op_user_namespace *op)
{
    char path[64];
    int fd = proc_path(path, child_pid, "ns/user");
    TRY(0, fd = (int)syscall4(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0));
    slot_set(op->slot, fd);
    return 0;
}

int do_join_cgroup(const struct op_join_cgroup *op)
{
    TRY(0, write_all(slot_fd(op->tasks), "0", 1));
    slot_set(op->tasks, -1);
    return 0;
}

int do_unshare(const struct op_unshare *op)
{
    TRY(0, syscall1(__NR_unshare, op->namespaces));
    return 0;
}
