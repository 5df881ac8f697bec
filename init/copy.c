/* Copies what is in a directory of the root into a new file system that will cover it. */
#include "init.h"

enum {
    KIND = 0170000, DIRECTORY = 0040000, REGULAR = 0100000, LINK = 0120000, FIFO = 0010000,
    DEEPEST = 128,
};

/* struct statx, which is the same on every architecture, up to st_mode */
struct status {
    uint32_t mask, block_size;
    uint64_t attributes;
    uint32_t links, uid, gid;
    uint16_t mode, spare;
    char rest[256];
};

/* struct linux_dirent64 */
struct entry {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
};

static long copy_directory(int from, int to, int depth);

/* The owner before the mode: a change of it clears set-user-ID (chown(2)). */
static long finish(int in, int out, const struct status *status, long result)
{
    if (result == 0)
        result = syscall3(__NR_fchown, out, status->uid, status->gid);
    if (result == 0)
        result = syscall2(__NR_fchmod, out, status->mode & 07777);
    if (out >= 0)
        close_fd(out);
    close_fd(in);
    return result;
}

static long copy_file(int from, const char *name, int to, const struct status *status)
{
    long in = openat2(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, RESOLVE_BENEATH);
    if (in < 0)
        return in;
    long out = syscall4(__NR_openat, to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                        0600);
    long result = out;
    while (result >= 0) {
        result = syscall4(__NR_sendfile, out, in, 0, 1 << 20);
        if (result <= 0)
            break;
    }
    return finish((int)in, (int)out, status, result);
}

static long copy_link(int from, const char *name, int to, const struct status *status)
{
    char target[4096];
    long length = syscall4(__NR_readlinkat, from, name, target, sizeof target - 1);
    if (length < 0)
        return length;
    target[length] = 0;
    long result = syscall3(__NR_symlinkat, target, to, name);
    if (result < 0)
        return result;
    return syscall5(__NR_fchownat, to, name, status->uid, status->gid, AT_SYMLINK_NOFOLLOW);
}

static long copy_below(int from, const char *name, int to, const struct status *status, int depth)
{
    long result = syscall3(__NR_mkdirat, to, name, 0700);
    if (result < 0)
        return result;
    long in = openat2(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, RESOLVE_BENEATH);
    if (in < 0)
        return in;
    long out = openat2(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, RESOLVE_BENEATH);
    result = out < 0 ? out : copy_directory((int)in, (int)out, depth + 1);
    return finish((int)in, (int)out, status, result);
}

/* Sockets and devices are left out: nobody listens on the one, and the other has no right to be. */
static long copy_entry(int from, const char *name, int to, int depth)
{
    struct status status;
    long result = syscall5(__NR_statx, from, name, AT_SYMLINK_NOFOLLOW, 0x7ff, &status);
    if (result < 0)
        return result;
    switch (status.mode & KIND) {
    case DIRECTORY: return copy_below(from, name, to, &status, depth);
    case REGULAR: return copy_file(from, name, to, &status);
    case LINK: return copy_link(from, name, to, &status);
    case FIFO: return syscall4(__NR_mknodat, to, name, status.mode, 0);
    default: return 0;
    }
}

static long copy_directory(int from, int to, int depth)
{
    _Alignas(8) char buffer[4096];
    if (depth > DEEPEST)
        return -ELOOP;
    for (;;) {
        long got = syscall3(__NR_getdents64, from, buffer, sizeof buffer);
        if (got <= 0)
            return got;
        for (long at = 0; at < got;) {
            const struct entry *entry = (const void *)(buffer + at);
            const char *name = entry->name;
            at += entry->length;
            if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])))
                continue;
            long result = copy_entry(from, name, to, depth);
            if (result < 0)
                return result;
        }
    }
}

int do_copy_up(const struct op_copy_up *op)
{
    step = 0;
    int from = openat2(slot_fd(op->root), op->target, O_RDONLY | O_DIRECTORY,
                       RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    if (from < 0)
        return from == -ENOENT ? 0 : from;
    step = 1;
    long result = syscall4(__NR_openat, slot_fd(op->slot), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                           0);
    if (result >= 0) {
        int to = (int)result;
        result = copy_directory(from, to, 0);
        close_fd(to);
    }
    close_fd(from);
    return (int)result;
}
