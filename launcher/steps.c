/* The steps outside of a container, made in the order of the record and taken back in reverse. */
#include "launcher.h"

enum { DEEPEST = 24 };

/* --- the owner's token (engine/owner.py) ----------------------------------------------------- */

/* The first id of the claimed range; its digits were checked. */
static uint64_t claimed(const struct run *run)
{
    uint64_t first = 0;
    for (int i = 0; i < RANGE_DIGITS; i++)
        first = first * 10 + (uint64_t)(run->claim[i] - '0');
    return first;
}

static void fill(struct run *run, int range)
{
    const struct hole *hole = (const void *)(run->bytes + run->saved->holes.at);
    for (uint32_t i = 0; i < run->saved->holes.size / sizeof *hole; i++, hole++) {
        unsigned char *at = run->bytes + hole->at;
        uint64_t first = range ? claimed(run) + hole->base : 0;
        if (hole->kind == HOLE_TOKEN && !range)
            memcpy(at, run->token, TOKEN_SIZE);
        if (hole->kind == HOLE_RANGE_NUMBER && range)
            memcpy(at, &first, sizeof first);
        if (hole->kind == HOLE_RANGE_TEXT && range)
            for (int digit = RANGE_DIGITS - 1; digit >= 0; digit--, first /= 10)
                at[digit] = (unsigned char)('0' + first % 10);
    }
}

/* It is made beside the saved runs and renamed: among the owners it is locked from the first. */
int take_token(struct run *run)
{
    unsigned char random[TOKEN_SIZE / 2];
    struct open_how how = {.flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                           .mode = 0600,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    if (syscall3(__NR_getrandom, random, sizeof random, 0) != sizeof random)
        return 0;
    for (int i = 0; i < TOKEN_SIZE; i++)
        run->token[i] = "0123456789abcdef"[random[i / 2] >> (i % 2 ? 0 : 4) & 15];
    int fd = (int)syscall4(__NR_openat2, run->directory, run->token, &how, sizeof how);
    if (fd < 0)
        return 0;
    if (syscall2(__NR_flock, fd, LOCK_EX | LOCK_NB) < 0 ||
        syscall5(__NR_renameat2, run->directory, run->token, run->owners, run->token,
                 1 /* RENAME_NOREPLACE */) < 0) {
        syscall3(__NR_unlinkat, run->directory, run->token, 0);
        return 0;
    }
    run->lock = fd;
    fill(run, 0);
    return 1;
}

int give_token_back(struct run *run)
{
    return syscall3(__NR_unlinkat, run->owners, run->token, 0) >= 0;
}

/* --- removal (kernel/removal.py) ------------------------------------------------------------- */

static int remove_below(int parent, const char *name, int depth);

/* work/work of an overlay has no permissions at all. */
static int open_below(int parent, const char *name)
{
    uint64_t resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
    int fd = openat2(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, resolve);
    if (fd != -EACCES)
        return fd;
    char path[40] = "/proc/self/fd/", *digit = path + sizeof path;
    int held = openat2(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, resolve);
    if (held < 0)
        return held;
    *--digit = 0;
    for (int rest = held; rest || !*digit; rest /= 10)
        *--digit = (char)('0' + rest % 10);
    memmove(path + 14, digit, strlen(digit) + 1);
    long changed = syscall3(__NR_fchmodat, AT_FDCWD, path, 0700);
    close_fd(held);
    return changed < 0 ? (int)changed
                       : openat2(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, resolve);
}

static int empty(int directory, int depth)
{
    _Alignas(struct entry) char entries[2048];
    long size;
    while ((size = syscall3(__NR_getdents64, directory, entries, sizeof entries)) > 0)
        for (long at = 0; at < size; at += ((struct entry *)(entries + at))->size) {
            const char *name = ((struct entry *)(entries + at))->name;
            if (!equal(name, ".") && !equal(name, "..") && !remove_below(directory, name, depth))
                return 0;
        }
    return size == 0;
}

/* What a container has written, in a directory of ours whose path nobody else can change. */
static int remove_tree(const char *path)
{
    const char *name = path;
    char parent[PATH_SIZE];
    for (const char *at = path; *at; at++)
        if (*at == '/')
            name = at + 1;
    size_t size = (size_t)(name - path);
    if (!size || size >= sizeof parent)
        return 0;
    memcpy(parent, path, size);
    parent[size] = 0;
    int fd = open_path(parent, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (fd < 0)
        return 0;
    int removed = remove_below(fd, name, 0);
    close_fd(fd);
    return removed;
}

/* rmdir first: it finds every mount (EBUSY) before it looks whether the directory is empty. */
static int remove_below(int parent, const char *name, int depth)
{
    long result = syscall3(__NR_unlinkat, parent, name, AT_REMOVEDIR);
    if (result == -ENOTDIR)
        result = syscall3(__NR_unlinkat, parent, name, 0);
    if (result != -ENOTEMPTY && result != -EEXIST)
        return result >= 0 || result == -ENOENT;
    int fd = depth < DEEPEST ? open_below(parent, name) : -1;
    if (fd < 0)
        return 0;
    int emptied = empty(fd, depth + 1);
    close_fd(fd);
    return emptied && syscall3(__NR_unlinkat, parent, name, AT_REMOVEDIR) >= 0;
}

/* --- steps ----------------------------------------------------------------------------------- */

static int claim_range(struct run *run, const struct record *record)
{
    const char *names = text_of(run, record->b);
    for (uint32_t at = 0; run->ids >= 0 && at < record->b.size; at += RANGE_DIGITS + 1) {
        long result = syscall3(__NR_symlinkat, run->token, run->ids, names + at);
        if (result == -EEXIST)
            continue;
        if (result < 0)
            return 0;
        memcpy(run->claim, names + at, RANGE_DIGITS + 1);
        fill(run, 1);
        return 1;
    }
    return 0;
}

static int make_directory(const struct run *run, const struct record *record)
{
    const char *path = text_of(run, record->a);
    long result = syscall3(__NR_mkdirat, AT_FDCWD, path, record->number & 0777);
    if (result < 0)
        return result == -EEXIST && record->number & MAY_EXIST;
    /* The caller's mask has no say in it. */
    if (record->number & EXACT &&
        syscall3(__NR_fchmodat, AT_FDCWD, path, record->number & 0777) < 0) {
        syscall3(__NR_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
        return 0;
    }
    return 1;
}

static int write_file(const struct run *run, const struct record *record)
{
    int fd = open_path(text_of(run, record->a), O_WRONLY);
    if (fd < 0)
        return 0;
    long size = syscall3(__NR_write, fd, text_of(run, record->b), record->b.size);
    close_fd(fd);
    return size == (long)record->b.size;
}

static int open_descriptor(struct run *run, const struct record *record)
{
    int fd = open_path(text_of(run, record->a),
                       record->number ? O_RDONLY | O_DIRECTORY : O_WRONLY);
    if (fd < 0 || run->inherited == LENGTH(run->descriptors))
        return 0;
    run->descriptors[run->inherited++] = fd;
    return 1;
}

static int make(struct run *run, const struct record *record)
{
    const char *note = text_of(run, record->b);
    switch (record->code) {
    case NOTE:
        return syscall3(__NR_write, run->lock, note, record->b.size) == (long)record->b.size;
    case CLAIM: return claim_range(run, record);
    case DIRECTORY: return make_directory(run, record);
    case WRITE: return write_file(run, record);
    case DESCRIPTOR: return open_descriptor(run, record);
    case INPUT: return (run->input = open_path("/dev/null", O_RDWR)) >= 0;
    }
    return 1;
}

int make_outside(struct run *run)
{
    for (; run->done < records_of(run); run->done++)
        if (!make(run, record_of(run, run->done)))
            return 0;
    return 1;
}

static int unmake(struct run *run, const struct record *record)
{
    const char *path = text_of(run, record->a);
    if (record->code == CLAIM && run->claim[0]) {
        long result = syscall3(__NR_unlinkat, run->ids, run->claim, 0);
        return result >= 0 || result == -ENOENT;
    }
    if (record->code != DIRECTORY || record->number & KEEP)
        return 1;
    if (record->number & TREE)
        return remove_tree(path);
    long result = syscall3(__NR_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
    /* One that may be shared goes with the last who uses it. */
    return result >= 0 || result == -ENOENT || record->number & MAY_EXIST;
}

/* What was made, in reverse, as far as it goes; 0 when something is left: Python removes it. */
int take_back(struct run *run)
{
    for (; run->done; run->done--)
        if (!unmake(run, record_of(run, run->done - 1)))
            return 0;
    return 1;
}
