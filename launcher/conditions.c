/* What must still be as it was when Python saved a run: compared byte by byte. */
#include "launcher.h"

#include <asm/ioctls.h>
#include <asm/stat.h>

enum { LARGEST_TEXT = 1 << 16, MOST_GROUPS = 64 };

/* As Python packs it (engine/conditions.py); the first five say which file it is. */
struct status {
    uint64_t device, inode, mode, uid, gid, size, modified, changed;
};

static int same(struct region expected, const struct run *run, const void *found, uint64_t size)
{
    return expected.size == size && !memcmp(text_of(run, expected), found, size);
}

/* As many of the fields as were saved. */
static int same_status(const struct run *run, const struct record *record)
{
    struct stat found;
    int flags = record->number & NO_FOLLOW ? AT_SYMLINK_NOFOLLOW : 0;
    long result = syscall4(__NR_newfstatat, AT_FDCWD, text_of(run, record->a), &found, flags);
    if (record->number & ABSENT || result < 0)
        return record->number & ABSENT && result == -ENOENT;
    struct status status = {
        found.st_dev,
        found.st_ino,
        found.st_mode,
        found.st_uid,
        found.st_gid,
        (uint64_t)found.st_size,
        (uint64_t)found.st_mtime * 1000000000 + (uint64_t)found.st_mtime_nsec,
        (uint64_t)found.st_ctime * 1000000000 + (uint64_t)found.st_ctime_nsec,
    };
    return record->b.size <= sizeof status && same(record->b, run, &status, record->b.size);
}

/* The size of a small file, -1 where it cannot be read or is larger. */
static long read_text(const char *path, char text[LARGEST_TEXT])
{
    long fd = open_path(path, O_RDONLY | O_NONBLOCK), size = 0, got = 0;
    if (fd < 0)
        return -1;
    while (size < LARGEST_TEXT &&
           (got = syscall3(__NR_read, fd, text + size, LARGEST_TEXT - size)) > 0)
        size += got;
    close_fd(fd);
    return got ? -1 : size;
}

static int same_text(const struct run *run, const struct record *record)
{
    char text[LARGEST_TEXT];
    long size = read_text(text_of(run, record->a), text);
    if (record->number & ABSENT || size < 0)
        return record->number & ABSENT && size < 0;
    return same(record->b, run, text, (uint64_t)size);
}

static int has_text(const struct run *run, const struct record *record)
{
    char text[LARGEST_TEXT];
    long size = read_text(text_of(run, record->a), text);
    for (long at = 0; at + (long)record->b.size <= size; at++)
        if (same(record->b, run, text + at, record->b.size))
            return 1;
    return 0;
}

static int same_variable(const struct run *run, const struct record *record)
{
    const char *value = variable(run->command->environment, text_of(run, record->a));
    if (record->number & ABSENT || !value)
        return record->number & ABSENT && !value;
    return same(record->b, run, value, strlen(value));
}

static int same_directory(const struct run *run, const struct record *record)
{
    char path[PATH_SIZE];
    long size = syscall2(__NR_getcwd, path, sizeof path); /* with its zero */
    return size > 0 && same(record->b, run, path, (uint64_t)size - 1);
}

/* Who we are: ids, the capabilities that count and those that may, groups. */
static int same_identity(const struct run *run, const struct record *record)
{
    uint64_t found[4 + MOST_GROUPS] = {(uint64_t)syscall0(__NR_geteuid),
                                       (uint64_t)syscall0(__NR_getegid)};
    uint32_t head[2] = {0x20080522 /* _LINUX_CAPABILITY_VERSION_3 */, 0}, sets[6] = {0};
    uint32_t groups[MOST_GROUPS];
    if (syscall2(__NR_capget, head, sets) < 0)
        return 0;
    found[2] = sets[0] | (uint64_t)sets[3] << 32;
    for (long number = 0; number < 64; number++) {
        long has = syscall2(__NR_prctl, 23 /* PR_CAPBSET_READ */, number);
        if (has < 0)
            break;
        found[3] |= (uint64_t)has << number;
    }
    long count = syscall2(__NR_getgroups, MOST_GROUPS, groups);
    for (long i = 0; i < count; i++)
        found[4 + i] = groups[i];
    return count >= 0 && same(record->b, run, found, (4 + (uint64_t)count) * sizeof *found);
}

/* A directory without entries, or none. */
static int is_empty(const char *path)
{
    _Alignas(struct entry) char entries[1024];
    int fd = open_path(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return fd == -ENOENT;
    long size = syscall3(__NR_getdents64, fd, entries, sizeof entries), found = 0;
    for (long at = 0; at < size; at += ((struct entry *)(entries + at))->size)
        found++;
    close_fd(fd);
    return size >= 0 && found <= 2; /* "." and ".." */
}

/* A process that is gone, a zombie, or another one that has its number: /proc/PID/stat, whose third
 * field is the state and whose twenty-second the start (proc(5)). */
static int has_ended(const struct run *run, const struct record *record)
{
    char text[1024], *at = text;
    long fd = open_path(text_of(run, record->a), O_RDONLY);
    if (fd < 0)
        return fd == -ENOENT;
    long size = syscall3(__NR_read, fd, text, sizeof text - 1);
    close_fd(fd);
    if (size <= 0)
        return size == -ESRCH;
    text[size] = 0;
    for (char *each = text; *each; each++)
        if (*each == ')')
            at = each + 1;
    if (at[0] != ' ' || at[1] == 'Z' || at[1] == 'X')
        return at[0] == ' ';
    int field = 2;
    for (; *at && field < 22; at++)
        field += *at == ' ';
    if (field < 22)
        return 0;
    return memcmp(at, text_of(run, record->b), record->b.size) || at[record->b.size] != ' ';
}

static int is_terminal(int fd)
{
    char modes[64];
    return syscall3(__NR_ioctl, fd, TCGETS, modes) >= 0;
}

static int holds(const struct run *run, const struct record *record)
{
    switch (record->code) {
    case SAME_STATUS: return same_status(run, record);
    case SAME_TEXT: return same_text(run, record);
    case SAME_VARIABLE: return same_variable(run, record);
    case SAME_DIRECTORY: return same_directory(run, record);
    case SAME_IDENTITY: return same_identity(run, record);
    case EMPTY: return is_empty(text_of(run, record->a));
    case ENDED: return has_ended(run, record);
    case NO_TERMINAL: return !(is_terminal(0) && is_terminal(1));
    }
    return 1;
}

int all_hold(const struct run *run)
{
    for (uint32_t i = 0; i < records_of(run); i++)
        if (!holds(run, record_of(run, i)))
            return 0;
    return 1;
}

/* The line of a counter that did not move; one that did is a limit that was met. */
int counters_stand(const struct run *run)
{
    for (uint32_t i = 0; i < records_of(run); i++)
        if (record_of(run, i)->code == COUNTER && !has_text(run, record_of(run, i)))
            return 0;
    return 1;
}

/* Whether each token of an owner is locked by a living one: what a dead one left Python removes. */
int nobody_is_dead(int owners)
{
    _Alignas(struct entry) char entries[4096];
    long size;
    while ((size = syscall3(__NR_getdents64, owners, entries, sizeof entries)) > 0)
        for (long at = 0; at < size; at += ((struct entry *)(entries + at))->size) {
            const char *name = ((struct entry *)(entries + at))->name;
            if (name[0] == '.')
                continue;
            int fd = openat2(owners, name, O_RDWR | O_NONBLOCK,
                             RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
            if (fd < 0)
                continue;
            struct stat found;
            /* One that has no name any more was let go just now. */
            int dead = syscall2(__NR_flock, fd, LOCK_EX | LOCK_NB) >= 0 &&
                       (syscall2(__NR_fstat, fd, &found) < 0 || found.st_nlink);
            close_fd(fd);
            if (dead)
                return 0;
        }
    return size == 0;
}
