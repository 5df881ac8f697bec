/* Where and when the process runs: scheduler, priorities, CPUs, memory nodes. */
#include "init.h"

/* From outside stage 2, if there is one yet; else ourselves. */
static long process(void)
{
    return in_container ? 0 : child_pid;
}

/* struct sched_attr of Linux 3.14 */
struct schedule {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

int do_scheduler(const struct op_scheduler *op)
{
    struct schedule schedule = {
        sizeof schedule, (uint32_t)op->policy, op->flags, (int32_t)op->nice,
        (uint32_t)op->priority, op->runtime, op->deadline, op->period,
    };
    TRY(0, syscall3(__NR_sched_setattr, process(), &schedule, 0));
    return 0;
}

int do_io_priority(const struct op_io_priority *op)
{
    TRY(0, syscall3(__NR_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, process(), op->value));
    return 0;
}

int do_cpu_affinity(const struct op_cpu_affinity *op)
{
    TRY(0, syscall3(__NR_sched_setaffinity, 0, op->mask_size, op->mask));
    return 0;
}

int do_memory_policy(const struct op_memory_policy *op)
{
    /* The kernel takes one from the number of bits. */
    TRY(0, syscall3(__NR_set_mempolicy, op->mode, op->nodes_size ? op->nodes : 0,
                    op->nodes_size ? op->nodes_size * 8 + 1 : 0));
    return 0;
}

int do_personality(const struct op_personality *op)
{
    TRY(0, syscall1(__NR_personality, op->domain));
    return 0;
}
