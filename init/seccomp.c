/* The system call filter, and the descriptor by which somebody outside is asked about calls.
 *
 * Once the filter is loaded each call of ours may be refused by it, end us, or wait for an answer of
 * somebody who has not got the descriptor yet. So what sends it is a thread that was there before:
 * a filter is of one thread. A child would do too, but is left to the program as a zombie, or its
 * end is: process 1 of a pid namespace cannot give it to another parent (CLONE_PARENT is EINVAL).
 * The thread has no number that anyone waits for, and execve ends what may be left of it.
 *
 * The two speak by memory: a call to wake the other may be what the filter refuses. The thread
 * looks now and then, for as long as the kernel takes to load the filter; we go round without a
 * call until the thread, which does not wait for any reader, has sent. */
#include "init.h"

enum { NEW_LISTENER = 8, WITHOUT_WAITING = 0x4040 /* MSG_NOSIGNAL|MSG_DONTWAIT */ };

static struct {
    const struct op_send_listener *op;
    const void *state;
    long size;
    uint32_t number;
    int listener, done;
} sending;
static char stack[4096] __attribute__((aligned(16)));

static __attribute__((noreturn, used)) void send_listener(void)
{
    static const int64_t moment[2] = {0, 50000};
    int listener;
    while (!(listener = __atomic_load_n(&sending.listener, __ATOMIC_ACQUIRE)))
        syscall2(__NR_nanosleep, moment, 0);
    long sent = send_message(slot_fd(sending.op->socket), sending.state, (uint64_t)sending.size,
                             &listener, 1, WITHOUT_WAITING);
    if (sent != sending.size) {
        int error = sent < 0 ? (int)-sent : EAGAIN; /* a part would be no state */
        struct report record = {REPORT_FAILED, sending.number, error, 3, 0};
        write_all(REPORT_FD, &record, sizeof record);
        exit_group(125);
    }
    /* While we hold it, calls would wait for an answer also when who got it is gone. */
    close_fd(listener);
    slot_set(sending.op->socket, -1);
    slot_set(sending.op->state, -1);
    __atomic_store_n(&sending.done, 1, __ATOMIC_RELEASE);
    syscall1(__NR_exit, 0);
    __builtin_trap();
}

int do_send_listener(const struct op_send_listener *op)
{
    sending.op = op;
    sending.number = current_op;
    TRY(0, sending.size = syscall3(__NR_lseek, slot_fd(op->state), 0, 2 /* SEEK_END */));
    step = 1;
    long at = syscall6(__NR_mmap, 0, sending.size, 1 /* PROT_READ */, 1 /* MAP_SHARED */,
                       slot_fd(op->state), 0);
    if (at < 0 && at > -4096)
        return (int)at;
    sending.state = (const void *)at;
    step = 2;
    long thread;
    START_THREAD(thread, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD,
                 stack + sizeof stack, send_listener);
    return thread < 0 ? (int)thread : 0;
}

int do_seccomp(const struct op_seccomp *op)
{
    struct { uint16_t length; const void *filter; } program = {
        (uint16_t)(op->program_size / 8), op->program};
    if (op->program_size / 8 > 4096)
        return -EINVAL;
    step = 0;
    long loaded = syscall3(__NR_seccomp, 1 /* SECCOMP_SET_MODE_FILTER */, op->flags, &program);
    if (loaded < 0 || !(op->flags & NEW_LISTENER))
        return (int)loaded;
    __atomic_store_n(&sending.listener, (int)loaded, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&sending.done, __ATOMIC_ACQUIRE))
        ;
    return 0;
}
