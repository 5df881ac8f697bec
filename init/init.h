/* What the files of init share. init performs a plan (plan.h) and decides nothing. */
#ifndef KOKON_INIT_H
#define KOKON_INIT_H

#include "system.h"
#include "plan.h"

/* Descriptors that kokon hands over at fixed numbers (runtime/spawn.py knows them too). */
enum { REPORT_FD = 200, PLAN_FD = 201, REPLY_FD = 202, FIRST_FD = 203 };

enum { MAX_SLOTS = 2048 };

struct plan {
    uint32_t magic, version, size, ops, first, inherited, preserved, reserved;
};
enum { PLAN_MAGIC = 0x4e4b4f4b, PLAN_VERSION = 1 };

/* What init tells kokon: fixed size, numbers only. */
enum { REPORT_PID = 1, REPORT_FAILED, REPORT_READY, REPORT_TERMINAL, REPORT_STARTED, REPORT_STATUS,
       REPORT_NAMESPACES, REPORT_CREATED };
enum { NO_OP = 0x7fffffff }; /* beyond every plan: it failed before its first op */
struct report {
    uint32_t kind, op;
    int32_t error, detail;
    int64_t value;
};

/* The step inside an op that is being tried; an op that fails leaves it for the report. */
extern int step;
#define TRY(number, call)                                                                     \
    do {                                                                                      \
        step = (number);                                                                      \
        long tried = (call);                                                                  \
        if (tried < 0)                                                                        \
            return (int)tried;                                                                \
    } while (0)

/* plan.c */
long check_plan(unsigned char *bytes, uint64_t size);

/* main.c: descriptors by number; opening into a slot that is in use closes the old one. */
int slot_fd(int64_t slot);
int slot_base(int64_t slot);
void slot_set(int64_t slot, int fd);

void report(uint32_t kind, int error, int detail, int64_t value);
extern uint32_t current_op;
extern long child_pid;
extern int go_pipe[2], stage1_pidfd, in_container;

/* terminal.c */
enum { MAX_SENT = 16 };
long send_message(int socket, const void *bytes, uint64_t size, const int *fds, uint64_t count,
                  int flags);
long send_descriptors(uint32_t kind, const int *fds, uint64_t count);

/* files.c */
int open_parent(int root, const char *path, const char **last);
int open_target(int root, const char *path, uint64_t flags, uint64_t resolve, int create);
int proc_path(char *buffer, long pid, const char *file);

/* The start of struct stat up to st_mode differs by architecture. */
struct stat_head {
#if defined(__x86_64__)
    uint64_t device, inode, links;
    uint32_t mode;
#else
    uint64_t device, inode;
    uint32_t mode;
#endif
    char rest[256];
};

struct statfs_head {
    long type;
    char rest[256];
};

static inline int openat2(int base, const char *path, uint64_t flags, uint64_t resolve)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};
    long result = -EAGAIN;
    /* A rename or mount anywhere on the machine while ".." is resolved: openat2(2) says try again. */
    for (int attempt = 0; result == -EAGAIN && attempt < 1000; attempt++)
        result = syscall4(__NR_openat2, base, path, &how, sizeof how);
    return (int)result;
}

static inline long write_all(int fd, const void *bytes, uint64_t size)
{
    const char *at = bytes;
    while (size) {
        long wrote = syscall3(__NR_write, fd, at, size);
        if (wrote == -EINTR)
            continue;
        if (wrote < 0)
            return wrote;
        at += wrote;
        size -= (uint64_t)wrote;
    }
    return 0;
}

#define close_fd(fd) syscall1(__NR_close, fd)

#endif
