/* start and delete of a container of the OCI runtime, saved beside its state when Python made it.
 *
 * What they compare and do is in the file (runtime/oci/calls.py); it is found by all words of the
 * command line, below the directory of the container, under whose lock everything happens. Whatever
 * is not as it was is Python's, which does the whole of it. */
#include "launcher.h"

enum { AF_UNIX = 1, SOCK_SEQPACKET = 5, MSG_PEEK = 2 };

/* --- the record ------------------------------------------------------------------------------ */

/* Where containers may be kept: only where to look, the file says itself to which call it belongs. */
static int open_root(const struct command *command)
{
    static const char option[] = "--root";
    char path[PATH_SIZE];
    const size_t size = sizeof option - 1;
    for (size_t i = 0; i + 1 < command->count; i++) {
        const char *word = command->arguments[i];
        if (equal(word, option))
            return private_root(command->arguments[i + 1]);
        if (strlen(word) > size && !memcmp(word, option, size) && word[size] == '=')
            return private_root(word + size + 1);
    }
    const char *runtime = variable(command->environment, "XDG_RUNTIME_DIR");
    int fd = -1;
    if (runtime && runtime[0] == '/' && strlen(runtime) < sizeof path - 16) {
        memcpy(path, runtime, strlen(runtime));
        memcpy(path + strlen(runtime), "/kokon-runtime", sizeof "/kokon-runtime");
        fd = private_root(path);
    }
    return fd < 0 ? private_root("/run/kokon-runtime") : fd;
}

/* Finds the call, and takes the container's lock. */
static int take_call(struct run *run, unsigned char *space)
{
    const struct command *command = run->command;
    int root = open_root(command);
    if (root < 0)
        return 0;
    run->directory = private_below(root, command->arguments[command->count - 1]);
    close_fd(root);
    run->bytes = space;
    if (run->directory < 0 || !find_call(run))
        return 0;
    run->lock = openat2(run->directory, "lock", O_RDWR, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    return run->lock >= 0 && syscall2(__NR_flock, run->lock, LOCK_EX) >= 0;
}

/* --- start ----------------------------------------------------------------------------------- */

/* What init says, if anything: nothing when the program runs. */
static int answered(int channel)
{
    char said;
    long size;
    do
        size = syscall6(__NR_recvfrom, channel, &said, 1, MSG_PEEK, 0, 0);
    while (size == -EINTR);
    return size != 0;
}

/* Python goes on when there is something to say. */
static int start_container(struct run *run, struct command *command)
{
    static char told[32] = "start ";
    struct {
        unsigned short family;
        char path[108];
    } address = {AF_UNIX, "/proc/self/fd/"};
    char *end = put_number(address.path + strlen(address.path), (uint64_t)run->directory);
    memcpy(end - 1, "/start", sizeof "/start"); /* in the place of its space */
    long channel = syscall3(__NR_socket, AF_UNIX, SOCK_SEQPACKET | O_CLOEXEC, 0);
    if (channel < 0 || syscall3(__NR_connect, channel, &address, sizeof address) < 0)
        return 0;
    syscall3(__NR_unlinkat, run->directory, "start", 0);
    if (!answered((int)channel))
        return 1;
    syscall3(__NR_fcntl, channel, 2 /* F_SETFD */, 0);
    put_number(told + strlen(told), (uint64_t)channel);
    command->taken_over = told;
    return 0;
}

/* --- delete ---------------------------------------------------------------------------------- */

/* A group that has processes or groups of its own is Python's. */
static int remove_group(const char *path)
{
    long result = syscall3(__NR_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
    return result >= 0 || result == -ENOENT;
}

/* The directory and all that is in it: files, since nobody else can make something there. */
static int remove_record(const struct run *run, const char *path)
{
    _Alignas(struct entry) char entries[4096];
    long size;
    while ((size = syscall3(__NR_getdents64, run->directory, entries, sizeof entries)) > 0)
        for (long at = 0; at < size; at += ((struct entry *)(entries + at))->size) {
            const char *name = ((struct entry *)(entries + at))->name;
            if (!equal(name, ".") && !equal(name, "..") &&
                syscall3(__NR_unlinkat, run->directory, name, 0) < 0)
                return 0;
        }
    long result = syscall3(__NR_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
    /* Somebody who waits for the lock may have made it anew. */
    return size == 0 && (result >= 0 || result == -ENOTEMPTY);
}

/* --- the steps ------------------------------------------------------------------------------- */

static int perform(struct run *run, struct command *command)
{
    for (uint32_t i = 0; i < records_of(run); i++) {
        const struct record *record = record_of(run, i);
        const char *path = text_of(run, record->a);
        if ((record->code == START && !start_container(run, command)) ||
            (record->code == GROUP && !remove_group(path)) ||
            (record->code == FORGET && !remove_record(run, path)))
            return 0;
    }
    return 1;
}

void perform_call(struct run *run, struct command *command, unsigned char *space)
{
    if (command->count > 1 && take_call(run, space) && all_hold(run) && perform(run, command))
        exit_group(0);
    if (run->lock >= 0)
        close_fd(run->lock);
}
