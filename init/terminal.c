/* A terminal of the container's own devpts; its master goes to kokon. */
#include "init.h"

struct message {
    void *name;
    uint64_t name_length;
    void *parts;
    uint64_t part_count;
    void *control;
    uint64_t control_length;
    int flags;
};

/* Bytes with descriptors beside them (SCM_RIGHTS, unix(7)). */
long send_message(int socket, const void *bytes, uint64_t size, const int *fds, uint64_t count,
                  int flags)
{
    struct { const void *base; uint64_t length; } part = {bytes, size};
    struct { uint64_t length; int level, type, fds[MAX_SENT]; } control = {
        16 + count * sizeof *fds, 1 /* SOL_SOCKET */, 1 /* SCM_RIGHTS */, {0}};
    if (count > MAX_SENT)
        return -EINVAL;
    memcpy(control.fds, fds, count * sizeof *fds);
    struct message message = {0, 0, &part, 1, &control, control.length, 0};
    return syscall3(__NR_sendmsg, socket, &message, flags);
}

long send_descriptors(uint32_t kind, const int *fds, uint64_t count)
{
    struct report record = {kind, 0, 0, 0, (int64_t)count};
    return send_message(REPORT_FD, &record, sizeof record, fds, count, 0);
}

int do_terminal(const struct op_terminal *op)
{
    int unlocked = 0, master;
    unsigned short size[4] = {(unsigned short)op->rows, (unsigned short)op->columns, 0, 0};
    /* The instance's own ptmx by its descriptor, whatever the image's /dev says (row M6). */
    uint64_t resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | (op->across ? 0 : RESOLVE_NO_XDEV);
    struct statfs_head status;
    TRY(0, master = openat2(slot_fd(op->root), op->path, O_RDWR | O_NOCTTY, resolve));
    /* What may stand in for it in a container that runs: another device, a FIFO. */
    TRY(5, syscall2(__NR_fstatfs, master, &status));
    if ((uint64_t)status.type != 0x1cd1 /* DEVPTS_SUPER_MAGIC */)
        return -ENOTTY;
    TRY(1, syscall3(__NR_ioctl, master, 0x40045431 /* TIOCSPTLCK */, &unlocked));
    int peer;
    TRY(2, peer = (int)syscall3(__NR_ioctl, master, 0x5441 /* TIOCGPTPEER */,
                                O_RDWR | O_NOCTTY | O_CLOEXEC));
    slot_set(op->slot, peer);
    if (op->plain) {
        struct { unsigned input, output, control, local; unsigned char rest[64]; } modes;
        TRY(6, syscall3(__NR_ioctl, peer, 0x5401 /* TCGETS */, &modes));
        modes.output &= ~4U; /* ONLCR */
        TRY(6, syscall3(__NR_ioctl, peer, 0x5402 /* TCSETS */, &modes));
    }
    if (op->rows)
        TRY(3, syscall3(__NR_ioctl, master, 0x5414 /* TIOCSWINSZ */, size));
    TRY(4, send_descriptors(REPORT_TERMINAL, &master, 1));
    close_fd(master);
    return 0;
}

int do_standard_streams(const struct op_standard_streams *op)
{
    for (int fd = 0; fd < 3; fd++)
        TRY(0, syscall3(__NR_dup3, slot_fd(op->slot), fd, 0));
    TRY(1, syscall3(__NR_ioctl, 0, 0x540e /* TIOCSCTTY */, 0));
    return 0;
}

int do_owner(const struct op_owner *op)
{
    TRY(0, syscall3(__NR_fchown, slot_fd(op->slot), op->uid, op->gid));
    return 0;
}
