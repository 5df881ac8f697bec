/* Starts init on the plan of a saved run, as runtime/spawn.py does, and hears what it reports. */
#include "launcher.h"

/* init/init.h and runtime/spawn.py have the same numbers. */
enum { REPORT_FD = 200, PLAN_FD = 201, REPLY_FD = 202, FIRST_FD = 203 };
enum { REPORT_PID = 1, REPORT_FAILED, REPORT_READY };
enum { EXECUTE_PATHS = 8, EXECUTE_ARGUMENTS = 16, PLAN_SIZE = 8 };
enum { SIGCHLD_NUMBER = 17, SIGKILL_NUMBER = 9, MOST_ARGUMENTS = 256 };

struct report {
    uint32_t kind, op;
    int32_t error, detail;
    int64_t value;
};

struct buffer {
    unsigned char *bytes;
    uint64_t size, texts; /* where the next text goes */
};

/* --- the plan -------------------------------------------------------------------------------- */

static uint64_t put_text(struct buffer *plan, const char *text, const char *rest)
{
    uint64_t at = plan->texts;
    memcpy(plan->bytes + at, text, strlen(text));
    memcpy(plan->bytes + at + strlen(text), rest, strlen(rest) + 1);
    plan->texts += strlen(text) + strlen(rest) + 1;
    return at;
}

static int has_slash(const char *text)
{
    while (*text && *text != '/')
        text++;
    return *text;
}

/* The list of arguments, then that of the paths to try (compile/process.py, candidates). */
static void put_lists(const struct run *run, struct buffer *plan, uint64_t at, uint64_t paths)
{
    char **arguments = run->command->arguments + run->words;
    const char *place = text_of(run, run->saved->places);
    uint64_t count = run->command->count - run->words, *list = (void *)(plan->bytes + at);
    unsigned char *execute = plan->bytes + run->saved->execute;
    memcpy(execute + EXECUTE_ARGUMENTS, &at, sizeof at);
    *list++ = count;
    for (uint64_t i = 0; i < count; i++)
        *list++ = put_text(plan, "", arguments[i]);
    at += (count + 3) * 8;
    memcpy(execute + EXECUTE_PATHS, &at, sizeof at);
    list += 2;
    *list++ = paths;
    for (uint64_t i = 0; i < paths; i++) {
        *list++ = has_slash(arguments[0]) ? put_text(plan, "", arguments[0])
                                          : put_text(plan, place, arguments[0]);
        place += strlen(place) + 1;
    }
}

/* The saved plan with this run's program and arguments behind it. */
static int complete(const struct run *run, struct buffer *plan)
{
    char **arguments = run->command->arguments + run->words;
    const char *place = text_of(run, run->saved->places), *end = place + run->saved->places.size;
    uint64_t count = run->command->count - run->words, paths = 0, texts = 1;
    for (; place < end; place += strlen(place) + 1) {
        paths++;
        texts += strlen(place) + strlen(arguments[0]) + 1;
    }
    if (has_slash(arguments[0]))
        paths = 1;
    for (uint64_t i = 0; i < count; i++)
        texts += strlen(arguments[i]) + 1;
    uint64_t at = ((uint64_t)run->saved->plan.size + 7) / 8 * 8;
    plan->texts = at + (count + paths + 6) * 8;
    plan->size = plan->texts + texts;
    long space = syscall6(__NR_mmap, 0, plan->size, 3 /* READ|WRITE */, 0x22 /* PRIVATE|ANONYMOUS */,
                          -1, 0);
    if (plan->size > UINT32_MAX || (space < 0 && space > -4096))
        return 0;
    plan->bytes = (unsigned char *)space;
    memcpy(plan->bytes, text_of(run, run->saved->plan), run->saved->plan.size);
    uint32_t size = (uint32_t)plan->size;
    memcpy(plan->bytes + PLAN_SIZE, &size, sizeof size);
    put_lists(run, plan, at, paths);
    return 1;
}

/* A file in memory with these bytes, or -1. */
static int in_memory(const char *name, unsigned flags, const void *bytes, uint64_t size)
{
    int fd = (int)syscall2(__NR_memfd_create, name, flags);
    if (fd >= 0 && syscall3(__NR_write, fd, bytes, size) == (long)size)
        return fd;
    return -1;
}

/* Sealed: nothing that runs in a container can write to it (row E1; runtime/program.py). */
static int program(const struct run *run)
{
    const char *bytes = text_of(run, run->saved->program);
    unsigned flags = 1 | 2; /* MFD_CLOEXEC | MFD_ALLOW_SEALING */
    int fd = in_memory("kokon-init", flags | 0x10 /* MFD_EXEC, Linux 6.3 */, bytes,
                       run->saved->program.size);
    if (fd < 0)
        fd = in_memory("kokon-init", flags, bytes, run->saved->program.size);
    if (fd >= 0 && syscall3(__NR_fcntl, fd, 1033 /* F_ADD_SEALS */, 15 /* all */) < 0)
        return -1;
    return fd;
}

/* --- the processes --------------------------------------------------------------------------- */

static void set_mask(uint64_t mask)
{
    syscall4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &mask, 0, 8);
}

static __attribute__((noreturn)) void become_init(const struct run *run, int executable, int plan,
                                                  int report, int reply)
{
    char *arguments[] = {"kokon-init", NULL}, *environment[] = {NULL};
    long bad = syscall3(__NR_dup3, report, REPORT_FD, 0) | syscall3(__NR_dup3, plan, PLAN_FD, 0);
    if (reply >= 0)
        bad |= syscall3(__NR_dup3, reply, REPLY_FD, 0);
    for (int i = 0; i < run->inherited; i++)
        bad |= syscall3(__NR_dup3, run->descriptors[i], FIRST_FD + i, 0);
    if (run->input >= 0)
        bad |= syscall3(__NR_dup3, run->input, 0, 0);
    for (int fd = 0; fd <= 2; fd++)
        bad |= syscall3(__NR_fcntl, fd, 2 /* F_SETFD */, 0);
    set_mask(0);
    if (bad >= 0)
        syscall5(__NR_execveat, executable, "", arguments, environment, AT_EMPTY_PATH);
    exit_group(CANNOT_START);
}

static int ended_well(long pid)
{
    int status = 0;
    return syscall4(__NR_wait4, pid, &status, 0, 0) == pid && !status;
}

/* newuidmap and newgidmap: silent, and with success, or Python says what they say. */
static int help(const struct run *run, const struct record *record)
{
    char digits[24], *digit = digits + sizeof digits;
    const char *program = text_of(run, record->a), *text = text_of(run, record->b);
    const char *arguments[MOST_ARGUMENTS + 3] = {program}, *end = text + record->b.size;
    char *environment[] = {NULL};
    size_t count = 2;
    *--digit = 0;
    for (long rest = run->first; rest; rest /= 10)
        *--digit = (char)('0' + rest % 10);
    arguments[1] = digit;
    for (; text < end; text += strlen(text) + 1)
        arguments[count++] = text;
    long pid = syscall5(__NR_clone, SIGCHLD_NUMBER, 0, 0, 0, 0);
    if (pid == 0) {
        int nothing = open_path("/dev/null", O_RDWR);
        for (int fd = 0; fd <= 2; fd++)
            syscall3(__NR_dup3, nothing, fd, 0);
        set_mask(0);
        syscall3(__NR_execve, program, arguments, environment);
        exit_group(CANNOT_START);
    }
    return pid > 0 && ended_well(pid);
}

static int take_turn(const struct run *run)
{
    for (uint32_t i = 0; i < records_of(run); i++)
        if (record_of(run, i)->code == HELPER && !help(run, record_of(run, i)))
            return 0;
    return run->reply >= 0 && syscall3(__NR_write, run->reply, "", 1) == 1;
}

/* Reads reports until the program runs: then nobody has the pipe's other end. 0 when a step was
 * refused. A signal waits meanwhile: what is being started cannot be taken back halfway. */
static int hear(struct run *run)
{
    struct report report;
    for (;;) {
        long size = syscall3(__NR_read, run->report, &report, sizeof report);
        if (size == 0)
            return run->first > 0 && ended_well(run->stage1);
        if (size != sizeof report)
            return 0;
        if (report.kind == REPORT_PID)
            run->first = report.value;
        else if (report.kind != REPORT_READY || !take_turn(run))
            return 0;
    }
}

/* Descriptors that are numbered like those of init are Python's to sort out. */
static int in_the_way(const struct run *run, const int *opened, size_t count)
{
    int highest = run->input;
    for (size_t i = 0; i < count; i++)
        highest = opened[i] > highest ? opened[i] : highest;
    for (int i = 0; i < run->inherited; i++)
        highest = run->descriptors[i] > highest ? run->descriptors[i] : highest;
    return highest >= REPORT_FD;
}

/* 1 when the program runs, or ran. */
int spawn(struct run *run)
{
    struct buffer plan;
    int report[2], reply[2] = {-1, -1}, helpers = 0;
    for (uint32_t i = 0; i < records_of(run); i++)
        helpers += record_of(run, i)->code == HELPER;
    if (!complete(run, &plan) || syscall2(__NR_pipe2, report, O_CLOEXEC) < 0 ||
        (helpers && syscall2(__NR_pipe2, reply, O_CLOEXEC) < 0))
        return 0;
    int opened[] = {program(run), in_memory("kokon-plan", 1, plan.bytes, plan.size), report[1],
                    reply[0]};
    run->report = report[0];
    run->reply = reply[1];
    if (opened[0] < 0 || opened[1] < 0 || in_the_way(run, opened, LENGTH(opened)))
        return 0;
    run->stage1 = syscall5(__NR_clone, SIGCHLD_NUMBER, 0, 0, 0, 0);
    if (run->stage1 == 0)
        become_init(run, opened[0], opened[1], opened[2], opened[3]);
    for (size_t i = 0; i < LENGTH(opened); i++)
        close_fd(opened[i]);
    for (int i = 0; i < run->inherited; i++)
        close_fd(run->descriptors[i]);
    run->inherited = 0;
    return run->stage1 > 0 && hear(run);
}

/* Ends what was started, whatever it is just doing (runtime/spawn.py, Spawned.end). */
void end(const struct run *run)
{
    struct report report;
    long first = run->first;
    if (run->stage1 <= 0)
        return;
    /* Stage 1 that waits for us sees the end of the reply, ends stage 2 and itself. */
    if (run->reply >= 0)
        close_fd(run->reply);
    syscall4(__NR_wait4, run->stage1, 0, 0, 0);
    while (first <= 0 && syscall3(__NR_read, run->report, &report, sizeof report) == sizeof report)
        first = report.kind == REPORT_PID ? report.value : 0;
    if (first > 0 && syscall4(__NR_wait4, first, 0, 1 /* WNOHANG */, 0) == 0) {
        syscall2(__NR_kill, first, SIGKILL_NUMBER);
        syscall4(__NR_wait4, first, 0, 0, 0);
    }
}
