/* A saved run from its beginning to its end, without Python.
 *
 * Until the program runs, whatever is not as it was saved is taken back, and Python does the whole
 * run as though nothing had been saved. Afterwards the run goes on: where there is something to
 * decide or to say (a signal, an end by a signal, a limit that was met, something that cannot be
 * removed), Python takes it over. Signals are blocked all the time, so they are there for it. */
#include "launcher.h"

#define SIGNAL(number) (1ULL << ((number) - 1))

/* What Python forwards (cli/signals.py): HUP INT QUIT USR1 USR2 ALRM TERM CONT WINCH IO PWR, and
 * those from SIGRTMIN on. */
#define FORWARDED                                                                              \
    (SIGNAL(1) | SIGNAL(2) | SIGNAL(3) | SIGNAL(10) | SIGNAL(12) | SIGNAL(14) | SIGNAL(15) |   \
     SIGNAL(18) | SIGNAL(28) | SIGNAL(29) | SIGNAL(30) | ~0ULL << 33)

enum { BY_PID = 1, EXITED = 4, NO_HANG = 1, LEAVE = 0x1000000, CHILD_EXITED = 1 }; /* waitid(2) */

/* Room for what Python is told: three descriptors, a pid, the mask, the token and the range. */
static char told[128];

static void block_signals(struct run *run)
{
    /* sigaction(2): handler, flags, restorer, mask; zeros are the default. A caller may hand
     * SIGCHLD down ignored: then the kernel would keep no exit status for us. */
    uint64_t forwarded = FORWARDED, action[8] = {0};
    syscall4(__NR_rt_sigaction, 17 /* SIGCHLD */, action, 0, 8);
    syscall4(__NR_rt_sigprocmask, 0 /* SIG_BLOCK */, &forwarded, &run->mask, 8);
}

/* Waits for the end of the program, or for a signal, which is left where it is. */
static int ends_first(const struct run *run)
{
    struct {
        int fd;
        short events, revents;
    } wait[2] = {{.events = 1 /* POLLIN */}, {.events = 1}};
    uint64_t forwarded = FORWARDED & ~run->mask; /* others stay blocked, as our caller has them */
    wait[0].fd = (int)syscall2(__NR_pidfd_open, run->first, 0);
    wait[1].fd = (int)syscall4(__NR_signalfd4, -1, &forwarded, 8, O_CLOEXEC);
    if (wait[0].fd < 0 || wait[1].fd < 0)
        return 0;
    while (syscall5(__NR_ppoll, wait, 2, 0, 0, 8) == -EINTR)
        ;
    return wait[0].revents && !wait[1].revents;
}

char *put_number(char *at, uint64_t number)
{
    char digits[24], *digit = digits + sizeof digits;
    *--digit = 0;
    do
        *--digit = (char)('0' + number % 10);
    while (number /= 10);
    memcpy(at, digit, strlen(digit));
    at[strlen(digit)] = ' ';
    return at + strlen(digit) + 1;
}

/* Python goes on with the run: it inherits what stands for it. */
static void hand_over(struct run *run, struct command *command)
{
    int kept[] = {run->file, run->report, run->lock};
    char *at = told;
    for (size_t i = 0; i < LENGTH(kept); i++) {
        syscall3(__NR_fcntl, kept[i], 2 /* F_SETFD */, 0);
        at = put_number(at, (uint64_t)kept[i]);
    }
    at = put_number(at, (uint64_t)run->first);
    at = put_number(at, run->mask);
    memcpy(at, run->token, TOKEN_SIZE);
    at += TOKEN_SIZE;
    *at++ = ' ';
    memcpy(at, run->claim, strlen(run->claim) + 1);
    command->taken_over = told;
}

/* Waits for the program; returns when Python is to go on. */
static void follow(struct run *run)
{
    int ended[32] = {0}; /* siginfo_t: its third word is the kind of end, its seventh the status */
    if (!ends_first(run) ||
        syscall5(__NR_waitid, BY_PID, run->first, ended, EXITED | NO_HANG | LEAVE, 0) < 0 ||
        ended[2] != CHILD_EXITED || !counters_stand(run) || !take_back(run))
        return;
    syscall4(__NR_wait4, run->first, 0, 0, 0);
    give_token_back(run);
    exit_group(ended[6]);
}

/* Who is more than its caller (a set-uid file) gets nothing from files that its caller may have
 * arranged; process 1 of a pid namespace has other duties. */
static int is_plain(void)
{
    uint32_t ids[6];
    return syscall3(__NR_getresuid, ids, ids + 1, ids + 2) >= 0 &&
           syscall3(__NR_getresgid, ids + 3, ids + 4, ids + 5) >= 0 && ids[0] == ids[1] &&
           ids[1] == ids[2] && ids[3] == ids[4] && ids[4] == ids[5] && syscall0(__NR_getpid) != 1;
}

/* AT_SECURE of getauxval(3), which lies behind the environment. */
static int is_secure(char **environment)
{
    while (*environment)
        environment++;
    for (const long *entry = (const long *)(environment + 1); entry[0]; entry += 2)
        if (entry[0] == 23 /* AT_SECURE */)
            return entry[1] != 0;
    return 1;
}

/* A descriptor of ours must not become the program's 0, 1 or 2 (row E3). */
static void occupy_standard_numbers(void)
{
    int fd;
    do
        fd = open_path("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= 2);
    if (fd >= 0)
        close_fd(fd);
}

/* Python has a sentence for a program whose name is empty, or that is an option. */
static int names_a_program(const struct run *run)
{
    const char *name = run->command->arguments[run->words];
    return name[0] && name[0] != '-';
}

/* Of the OCI runtime's commands those that are saved: where else is the verb than before its ID? */
static int is_call(const struct command *command)
{
    if (!equal(command->name, "kokon-runtime"))
        return 0;
    for (size_t i = 0; i + 1 < command->count; i++)
        if (equal(command->arguments[i], "start") || equal(command->arguments[i], "delete"))
            return 1;
    return 0;
}

static _Alignas(8) unsigned char space[SAVED_LARGEST];

/* 1 when the program was started. */
static int attempt(struct run *run)
{
    if (!find_saved(run, space) || !names_a_program(run) || !all_hold(run) ||
        !nobody_is_dead(run->owners))
        return 0;
    block_signals(run);
    if (take_token(run) && make_outside(run) && spawn(run))
        return 1;
    end(run);
    for (int i = 0; i < run->inherited; i++)
        close_fd(run->descriptors[i]);
    /* With something left the token stays, unlocked, for Python to find. */
    if (take_back(run) && run->lock >= 0)
        give_token_back(run);
    syscall4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &run->mask, 0, 8);
    return 0;
}

void perform_saved(struct command *command)
{
    const char *wish = variable(command->environment, "KOKON_SAVED");
    struct run run = {.command = command, .file = -1, .directory = -1, .owners = -1, .ids = -1,
                      .lock = -1, .input = -1, .report = -1, .reply = -1};
    int is_run = command->count && equal(command->name, "kokon") &&
                 equal(command->arguments[0], "run");
    if ((wish && equal(wish, "off")) || (!is_run && !is_call(command)))
        return;
    occupy_standard_numbers();
    int plain = !is_secure(command->environment) && is_plain();
    if (plain && !is_run)
        perform_call(&run, command, space);
    if (plain && is_run && attempt(&run)) {
        follow(&run);
        hand_over(&run, command);
    } else if (wish && equal(wish, "require") && !command->taken_over)
        fail("KOKON_SAVED=require, and nothing that was saved was performed", "", "");
}
