/* The OCI life cycle: a container that waits to be started, and hooks inside it. */
#include "init.h"

/* Whoever connects starts the container, once; what follows is reported there. It is closed by
 * the execve, which says that the program runs. */
int do_await_start(const struct op_await_start *op)
{
    long caller;
    report(REPORT_CREATED, 0, 0, 0);
    step = 1;
    do
        caller = syscall4(__NR_accept4, slot_fd(op->listener), 0, 0, 0x80000 /* SOCK_CLOEXEC */);
    while (caller == -EINTR);
    if (caller < 0)
        return (int)caller;
    TRY(2, syscall3(__NR_dup3, caller, REPORT_FD, O_CLOEXEC));
    close_fd(caller);
    slot_set(op->listener, -1);
    return 0;
}

/* The hook's own part: the state is its standard input, and no descriptor of ours is left, through
 * which a path could lead out of the root (row E3). What execve says goes to the pipe. */
static __attribute__((noreturn)) void become_hook(const struct op_hook *op, int said,
                                                  const uint64_t *mask)
{
    long error = syscall0(__NR_setsid);
    syscall4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, mask, 0, 8);
    if (error >= 0)
        error = syscall3(__NR_dup3, slot_fd(op->state), 0, 0);
    if (error >= 0 && said != 3)
        error = syscall3(__NR_dup3, said, 3, O_CLOEXEC);
    if (error >= 0)
        error = syscall3(__NR_close_range, 4, ~0U, 0);
    if (error >= 0)
        error = syscall3(__NR_execve, op->path, op->arguments, op->environment);
    int word = (int)error;
    syscall3(__NR_write, 3, &word, sizeof word);
    exit_group(127);
}

/* The wait status of a child, or -ETIMEDOUT when it has not ended in time (seconds, 0 for any). */
static long wait_for_hook(long hook, uint64_t timeout, const uint64_t *child)
{
    int status;
    int64_t second[2] = {1, 0};
    /* Its seconds are counted one by one: another child's end may come in between. */
    for (uint64_t passed = 0;;) {
        long ended = syscall4(__NR_wait4, hook, &status, timeout ? 1 /* WNOHANG */ : 0, 0);
        if (ended == hook)
            return status;
        if (ended < 0 && ended != -EINTR)
            return ended;
        if (timeout && ended == 0) {
            if (passed == timeout)
                return -ETIMEDOUT;
            if (syscall4(__NR_rt_sigtimedwait, child, 0, second, 8) == -EAGAIN)
                passed++;
        }
    }
}

/* A hook's failure is ECHILD, with its wait status above HOOK_STATUS as the detail. */
enum { HOOK_STATUS = 64 };

int do_hook(const struct op_hook *op)
{
    static const uint64_t child = 1 << (17 - 1); /* SIGCHLD */
    uint64_t mask;
    int said[2], error = 0;
    TRY(0, syscall3(__NR_lseek, slot_fd(op->state), 0, 0));
    TRY(1, syscall2(__NR_pipe2, said, O_CLOEXEC));
    TRY(2, syscall4(__NR_rt_sigprocmask, 0 /* SIG_BLOCK */, &child, &mask, 8));
    step = 3;
    long hook = syscall5(__NR_clone, 17 /* SIGCHLD */, 0, 0, 0, 0);
    if (hook == 0)
        become_hook(op, said[1], &mask);
    close_fd(said[1]);
    if (hook < 0) {
        close_fd(said[0]);
        return (int)hook;
    }
    long got = syscall3(__NR_read, said[0], &error, sizeof error);
    close_fd(said[0]);
    long status = wait_for_hook(hook, op->timeout, &child);
    if (status < 0) {
        /* With all that it has started. */
        syscall2(__NR_kill, -hook, 9);
        syscall4(__NR_wait4, hook, 0, 0, 0);
    }
    TRY(2, syscall4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &mask, 0, 8));
    if (got == sizeof error) {
        step = 4;
        return error;
    }
    step = status > 0 ? HOOK_STATUS + (int)status : 5;
    return status > 0 ? -ECHILD : (int)status;
}
