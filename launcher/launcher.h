/* What the files of the launcher share. It performs saved runs and decides nothing: what is not
 * as it was saved is Python's. */
#ifndef KOKON_LAUNCHER_H
#define KOKON_LAUNCHER_H

#include "system.h"

#define PATH_SIZE 4096 /* PATH_MAX, the terminating zero included */
#define CANNOT_START 125

struct command {
    const char *name; /* kokon or kokon-runtime */
    char **arguments;
    size_t count;
    char **environment;
    const char *taken_over; /* what Python is told of a run that goes on, or NULL */
};

/* A saved run, or a call of the OCI runtime, which has neither program nor plan (plan/saved.py writes
 * them; docs/saved-runs.md): offsets count from the start, what
 * they name ends with a zero that does not count in its size. */
struct region {
    uint32_t at, size;
};

struct record {
    uint32_t code, number;
    struct region a, b;
};

struct hole {
    uint32_t kind, at;
    uint64_t base; /* what is added to the first id of the range */
};

struct saved {
    uint32_t magic, version, size, execute; /* where the op Execute is in the plan */
    struct region words;                    /* from the verb to ROOT, each with its zero */
    struct region records, holes;           /* arrays */
    struct region program, plan;            /* init, and the plan without arguments */
    struct region places;                   /* where programs are looked for, each with its zero */
    struct region rest;                     /* for Python */
};

enum { SAVED_MAGIC = 0x52534b4b, CALL_MAGIC = 0x43534b4b, SAVED_VERSION = 2,
       SAVED_LARGEST = 512 << 10 };
enum { HOLE_TOKEN = 1, HOLE_RANGE_TEXT, HOLE_RANGE_NUMBER };
enum { TOKEN_SIZE = 8, RANGE_DIGITS = 10 };

/* Conditions, then steps, in this order. */
enum {
    SAME_STATUS = 1,
    SAME_TEXT,
    SAME_VARIABLE,
    SAME_DIRECTORY,
    SAME_IDENTITY,
    NO_TERMINAL,
    EMPTY,
    NOTE,
    CLAIM,
    DIRECTORY,
    WRITE,
    DESCRIPTOR,
    INPUT,
    HELPER,
    COUNTER,
    ENDED,
    START,
    GROUP,
    FORGET,
    LAST_CODE = FORGET,
};
enum { ABSENT = 1, NO_FOLLOW = 2 };                             /* of SAME_... */
/* Beside the mode of a DIRECTORY */
enum { MAY_EXIST = 01000, EXACT = 02000, KEEP = 04000, TREE = 010000 };

/* A run that is being performed. */
struct run {
    const struct command *command;
    unsigned char *bytes; /* the saved run; holes are filled here */
    const struct saved *saved;
    size_t words; /* of the command line that belong to the key */
    int file, directory, owners, ids, lock; /* the saved run, and directories of the state */
    char token[TOKEN_SIZE + 1];
    char claim[RANGE_DIGITS + 1];
    uint32_t done; /* records whose steps were made */
    int descriptors[32], inherited;
    int input; /* what becomes standard input, or -1: the caller's own */
    int report, reply;
    long stage1, first; /* pids */
    uint64_t mask;      /* of signals, as it was */
};

static inline int equal(const char *left, const char *right)
{
    size_t count = strlen(left);
    return count == strlen(right) && !memcmp(left, right, count);
}

static inline const char *text_of(const struct run *run, struct region region)
{
    return (const char *)run->bytes + region.at;
}

static inline const struct record *record_of(const struct run *run, uint32_t number)
{
    return (const struct record *)(const void *)(run->bytes + run->saved->records.at) + number;
}

static inline uint32_t records_of(const struct run *run)
{
    return (uint32_t)(run->saved->records.size / sizeof(struct record));
}

static inline int openat2(int base, const char *path, uint64_t flags, uint64_t resolve)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};
    return (int)syscall4(__NR_openat2, base, path, &how, sizeof how);
}

static inline int open_path(const char *path, uint64_t flags)
{
    return (int)syscall4(__NR_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0);
}

#define close_fd(fd) syscall1(__NR_close, fd)
#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* linux_dirent64 of getdents64(2) */
struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

/* launcher.c */
__attribute__((noreturn)) void fail(const char *before, const char *path, const char *after);

/* saved.c */
int check_saved(const unsigned char *bytes, uint64_t size, uint32_t magic);
const char *variable(char **environment, const char *name);
int private_root(const char *path);
int private_below(int base, const char *name);
int find_saved(struct run *run, unsigned char *space);
int find_call(struct run *run);

/* conditions.c */
int all_hold(const struct run *run);
int nobody_is_dead(int owners);

/* steps.c */
int take_token(struct run *run);
int make_outside(struct run *run);
int counters_stand(const struct run *run);
int take_back(struct run *run);
int give_token_back(struct run *run);

/* spawn.c */
int spawn(struct run *run);
void end(const struct run *run);

/* calls.c: returns when Python is to do it */
void perform_call(struct run *run, struct command *command, unsigned char *space);

/* perform.c: returns when Python is to do it; what is left of the run then is in the command. */
void perform_saved(struct command *command);
char *put_number(char *at, uint64_t number);

#endif
