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
