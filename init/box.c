/* A box: namespaces that kokon holds, and what enters them. */
#include "init.h"

int do_join(const struct op_join *op)
{
    TRY(0, syscall2(__NR_setns, slot_fd(op->slot), op->namespace));
    return 0;
}

/* Our own procfs names the files, so that nothing in the container can stand in for them. */
int do_hand_over(const struct op_hand_over *op)
{
    int fds[MAX_SENT];
    uint64_t count = 0, kept = op->slots_size / sizeof(uint32_t);
    char path[64];
    for (int i = 0; op->names[i]; i++) {
        if (count == MAX_SENT)
            return -EINVAL;
        proc_path(path, syscall0(__NR_getpid), op->names[i]);
        TRY(0, fds[count] = openat2(slot_fd(op->proc), path + 6, O_RDONLY, 0));
        count++;
    }
    for (uint64_t i = 0; i < kept; i++) {
        if (count == MAX_SENT)
            return -EINVAL;
        fds[count++] = slot_fd(((const uint32_t *)(const void *)op->slots)[i]);
    }
    TRY(1, send_descriptors(REPORT_NAMESPACES, fds, count));
    exit_group(0);
}

static long copy(int from, int to)
{
    char buffer[65536];
    for (;;) {
        step = 3;
        long got = syscall3(__NR_read, from, buffer, sizeof buffer);
        if (got == -EINTR)
            continue;
        if (got <= 0)
            return got;
        step = 4;
        long wrote = write_all(to, buffer, (uint64_t)got);
        if (wrote < 0)
            return wrote;
    }
}

static void make_parents(const char *path)
{
    char part[4096];
    for (size_t at = 0; path[at] && at < sizeof part - 1; at++) {
        part[at] = 0;
        if (at && path[at] == '/')
            syscall3(__NR_mkdirat, AT_FDCWD, part, 0777);
        part[at] = path[at];
    }
}

/* After the rights are gone: links, modes and places are what they are to the program. */
int do_transfer(const struct op_transfer *op)
{
    int writes = op->direction == 0, fd;
    struct stat_head status;
    if (writes)
        make_parents(op->path);
    /* O_NONBLOCK: a FIFO in its place must not hold us. */
    TRY(1, fd = (int)syscall4(__NR_openat, AT_FDCWD, op->path,
                              O_NONBLOCK | O_NOCTTY | O_CLOEXEC |
                                  (writes ? O_WRONLY | O_CREAT : O_RDONLY),
                              op->mode));
    TRY(2, syscall4(__NR_newfstatat, fd, "", &status, AT_EMPTY_PATH));
    if ((status.mode & 0170000) == 0040000)
        return -EISDIR;
    if ((status.mode & 0170000) != 0100000)
        return -EINVAL;
    if (writes)
        TRY(4, syscall2(__NR_ftruncate, fd, 0));
    long result = writes ? copy(0, fd) : copy(fd, 1);
    if (result < 0)
        return (int)result;
    exit_group(0);
}
