/* init: performs a plan, op by op, and becomes the program (or the process that reaps for it).
 *
 *   stage 1  outside: ops up to Clone, then those between Clone and Release; then it ends.
 *   stage 2  the container's first process: waits for Release, performs the ops after it.
 *
 * The two share their table of descriptors (CLONE_FILES) until stage 1 is gone, so that a mount
 * that only stage 1 may make is there for stage 2. An op that fails is fatal: (op, errno, step)
 * goes to kokon, which owns the words and the undoing. */
#include "init.h"

int step;
long child_pid;
int go_pipe[2], stage1_pidfd, in_container;
uint32_t current_op;
static int *slots;

int slot_fd(int64_t slot)
{
    return slot < 0 ? -EBADF : slots[slot];
}

/* A base for *at calls: no slot means init's own working directory, the host. */
int slot_base(int64_t slot)
{
    return slot < 0 ? AT_FDCWD : slots[slot];
}

void slot_set(int64_t slot, int fd)
{
    if (slots[slot] >= 0)
        close_fd(slots[slot]);
    slots[slot] = fd;
}

void report(uint32_t kind, int error, int detail, int64_t value)
{
    struct report record = {kind, current_op, error, detail, value};
    write_all(REPORT_FD, &record, sizeof record);
}

static int handle(const struct op *op)
{
    switch (op->code) { OP_CASES(op) }
    return -EINVAL;
}

static __attribute__((noreturn)) void fail(int error, int detail)
{
    report(REPORT_FAILED, error, detail, 0);
    /* Stage 2 waits for a Release that will not come. */
    if (!in_container && child_pid > 0)
        syscall2(__NR_kill, child_pid, 9);
    exit_group(125);
}

static unsigned char *map(long size, int sharing, int fd)
{
    long at = syscall6(__NR_mmap, 0, size, 3 /* PROT_READ|PROT_WRITE */, sharing, fd, 0);
    if (at < 0 && at > -4096)
        fail((int)-at, 0);
    return (unsigned char *)at;
}

/* Only what was handed over stays open, and none of it survives the execve. The numbers are in
 * memory that both stages share, as they share the descriptors. */
static void take_descriptors(uint32_t inherited, uint32_t preserved, uint32_t ops)
{
    slots = (int *)(void *)map(MAX_SLOTS * (long)sizeof *slots, 0x21 /* SHARED|ANONYMOUS */, -1);
    syscall3(__NR_close_range, 3 + preserved, REPORT_FD - 1, 0);
    syscall3(__NR_close_range, FIRST_FD + inherited, ~0U, 0);
    /* Room for one of each op: a table that the stages share grows only after a wait for an RCU
     * grace period, some 10 ms. Where the limit is lower it does not grow either. */
    long last = syscall3(__NR_fcntl, REPORT_FD, 0 /* F_DUPFD */, FIRST_FD + inherited + ops);
    if (last >= 0)
        close_fd((int)last);
    for (uint32_t i = 0; i < MAX_SLOTS; i++)
        slots[i] = i < inherited ? (int)(FIRST_FD + i) : -1;
    for (int fd = REPORT_FD; fd < (int)(FIRST_FD + inherited); fd++)
        syscall3(__NR_fcntl, fd, 2 /* F_SETFD */, 1 /* FD_CLOEXEC */);
}

static unsigned char *load_plan(void)
{
    long size = syscall3(__NR_lseek, PLAN_FD, 0, 2);
    if (size <= 0)
        fail(EINVAL, 0);
    unsigned char *plan = map(size, 2 /* MAP_PRIVATE */, PLAN_FD);
    close_fd(PLAN_FD);
    if (check_plan(plan, (uint64_t)size) < 0)
        fail(EINVAL, 1);
    return plan;
}

static __attribute__((noreturn, used)) void perform(void)
{
    current_op = NO_OP;
    unsigned char *bytes = load_plan();
    struct plan *plan = (struct plan *)(void *)bytes;
    take_descriptors(plan->inherited, plan->preserved, plan->ops);
    int skipping = 0;
    struct op *op = (struct op *)(void *)(bytes + plan->first);
    for (current_op = 0; current_op < plan->ops; current_op++) {
        int was_inside = in_container;
        if (!skipping) {
            step = 0;
            int result = handle(op);
            if (result < 0)
                fail(-result, step);
        }
        /* Stage 2 begins in the middle of Clone and goes on after Release. */
        if (in_container && !was_inside)
            skipping = 1;
        if (op->code == OP_RELEASE) {
            if (!in_container)
                exit_group(0);
            skipping = 0;
        }
        op = (struct op *)(void *)((unsigned char *)op + op->size);
    }
    exit_group(125);
}

__attribute__((noreturn, used)) void start(long *stack)
{
    (void)stack;
    syscall2(__NR_prctl, 15 /* PR_SET_NAME */, "kokon-init");
    perform();
}

PROGRAM_START(start);
