/* Finds the saved run of a command line, and checks its form.
 *
 * It lies below a directory of the effective user's own, 0700; every path to it is opened without
 * following links. Its offsets are checked before any of them is used. */
#include "launcher.h"

#include <asm/stat.h>

enum { OPEN_DIRECTORY = O_RDONLY | O_DIRECTORY | O_NOFOLLOW };
enum { BELOW = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
enum { MOST_WORDS = 64 };

/* --- form ------------------------------------------------------------------------------------ */

static int inside(const unsigned char *bytes, uint64_t size, struct region region)
{
    uint64_t end = (uint64_t)region.at + region.size;
    return region.at >= sizeof(struct saved) && end < size && !bytes[end];
}

static int is_array(struct region region, uint64_t width)
{
    return !(region.at % 8) && !(region.size % width);
}

/* How many texts a region has, each with its zero; -1 when it does not end with one. */
static int texts(const unsigned char *bytes, struct region region)
{
    int count = 0;
    for (uint32_t i = 0; i < region.size; i++)
        count += !bytes[region.at + i];
    return region.size && bytes[region.at + region.size - 1] ? -1 : count;
}

static int check_record(const unsigned char *bytes, uint64_t size, const struct record *record)
{
    if (!record->code || record->code > LAST_CODE || !inside(bytes, size, record->a) ||
        !inside(bytes, size, record->b))
        return 0;
    if (record->code == CLAIM)
        return record->b.size && !(record->b.size % (RANGE_DIGITS + 1)) &&
               texts(bytes, record->b) == (int)(record->b.size / (RANGE_DIGITS + 1));
    if (record->code == HELPER)
        return texts(bytes, record->b) > 0 && texts(bytes, record->b) < 256;
    return 1;
}

/* What is filled must be what Python left free: no zero that ends a text, nothing that was checked
 * as a number. A number of the plan is init's to check. */
static int check_hole(const unsigned char *bytes, uint64_t size, const struct hole *hole)
{
    const struct region *plan = &((const struct saved *)(const void *)bytes)->plan;
    const unsigned char *at = bytes + hole->at;
    static const unsigned char widths[] = {0, TOKEN_SIZE, RANGE_DIGITS, 8};
    if (!hole->kind || hole->kind >= LENGTH(widths) || hole->base > 1 << 16 ||
        hole->at < sizeof(struct saved) || (uint64_t)hole->at + widths[hole->kind] > size)
        return 0;
    if (hole->kind == HOLE_RANGE_NUMBER)
        return !(hole->at % 8) && hole->at >= plan->at && hole->at + 8 <= plan->at + plan->size;
    for (int i = 0; i < widths[hole->kind]; i++)
        if (hole->kind == HOLE_TOKEN || !i ? at[i] != hole->kind : at[i] < '0' || at[i] > '9')
            return 0;
    return 1;
}

/* The op Execute: its head and three fields (plan/wire.py), the first two are filled later. */
static int check_plan(const unsigned char *bytes, const struct saved *saved)
{
    return !(saved->plan.at % 8) && saved->plan.size >= 64 && !(saved->execute % 8) &&
           saved->execute >= 32 && saved->execute <= saved->plan.size - 32 &&
           texts(bytes, saved->places) > 0;
}

int check_saved(const unsigned char *bytes, uint64_t size, uint32_t magic)
{
    const struct saved *saved = (const struct saved *)(const void *)bytes;
    if (size < sizeof *saved + 1 || size > SAVED_LARGEST || saved->magic != magic ||
        saved->version != SAVED_VERSION || saved->size != size)
        return 0;
    const struct region *regions = &saved->words;
    for (size_t i = 0; i < (sizeof *saved - offsetof(struct saved, words)) / sizeof *regions; i++)
        if (!inside(bytes, size, regions[i]))
            return 0;
    if (!is_array(saved->records, sizeof(struct record)) ||
        !is_array(saved->holes, sizeof(struct hole)) || texts(bytes, saved->words) < 2)
        return 0;
    if (magic == SAVED_MAGIC && (!check_plan(bytes, saved) || !saved->program.size))
        return 0;
    const struct record *record = (const void *)(bytes + saved->records.at);
    for (uint32_t i = 0; i < saved->records.size / sizeof *record; i++)
        if (!check_record(bytes, size, record + i))
            return 0;
    const struct hole *hole = (const void *)(bytes + saved->holes.at);
    for (uint32_t i = 0; i < saved->holes.size / sizeof *hole; i++)
        if (!check_hole(bytes, size, hole + i))
            return 0;
    return 1;
}

/* --- place ----------------------------------------------------------------------------------- */

const char *variable(char **environment, const char *name)
{
    size_t count = strlen(name);
    for (; *environment; environment++)
        if (!memcmp(*environment, name, count) && (*environment)[count] == '=')
            return *environment + count + 1;
    return NULL;
}

/* Ours, of this type, and closed to others: else it is as though it were not there. */
static int keep_if_private(long fd, unsigned type, unsigned refused, long *size)
{
    struct stat found;
    if (fd < 0)
        return -1;
    if (syscall2(__NR_fstat, fd, &found) < 0 || (found.st_mode & 0170000) != type ||
        found.st_uid != (unsigned)syscall0(__NR_geteuid) || found.st_mode & refused) {
        close_fd(fd);
        return -1;
    }
    *size = found.st_size;
    return (int)fd;
}

int private_below(int base, const char *name)
{
    long size;
    return keep_if_private(openat2(base, name, OPEN_DIRECTORY, BELOW), 0040000, 077, &size);
}

int private_root(const char *path)
{
    long size;
    return keep_if_private(open_path(path, O_RDONLY | O_DIRECTORY), 0040000, 022, &size);
}

/* paths.state() in Python. */
static int open_state(char **environment)
{
    char path[PATH_SIZE] = "/run/kokon";
    long user = syscall0(__NR_geteuid), size;
    const char *runtime = variable(environment, "XDG_RUNTIME_DIR");
    if (user && runtime && runtime[0] == '/' && strlen(runtime) < sizeof path - 8 &&
        !syscall3(__NR_faccessat, AT_FDCWD, runtime, 2 /* W_OK */)) {
        memcpy(path, runtime, strlen(runtime));
        memcpy(path + strlen(runtime), "/kokon", sizeof "/kokon");
    } else if (user) {
        char digits[12], *digit = digits + sizeof digits;
        *--digit = 0;
        for (; user; user /= 10)
            *--digit = (char)('0' + user % 10);
        memcpy(path, "/tmp/kokon-", 11);
        memcpy(path + 11, digit, strlen(digit) + 1);
    }
    return keep_if_private(open_path(path, OPEN_DIRECTORY), 0040000, 077, &size);
}

/* --- the key --------------------------------------------------------------------------------- */

static int same_words(const struct run *run)
{
    const char *word = text_of(run, run->saved->words), *end = word + run->saved->words.size;
    for (size_t i = 0; i < run->words; i++) {
        if (word == end || !equal(word, run->command->arguments[i]))
            return 0;
        word += strlen(word) + 1;
    }
    return word == end;
}

/* Reads a file whole; its form is right and its words are ours, or it is none. */
static int take_saved(struct run *run, const char *name, uint32_t magic)
{
    long size = 0;
    int fd = openat2(run->directory, name, O_RDONLY | O_NONBLOCK, BELOW);
    fd = keep_if_private(fd, 0100000, 077, &size);
    if (fd < 0)
        return 0;
    run->saved = (const struct saved *)(const void *)run->bytes;
    if (size > 0 && size <= SAVED_LARGEST && syscall3(__NR_read, fd, run->bytes, size) == size &&
        check_saved(run->bytes, (uint64_t)size, magic) && same_words(run)) {
        run->file = fd;
        return 1;
    }
    close_fd(fd);
    return 0;
}

/* FNV-1a of the words with their zeros names the file; the file has the words themselves. */
static uint64_t hashed(uint64_t hash, const char *word)
{
    do
        hash = (hash ^ (unsigned char)*word) * 0x100000001b3;
    while (*word++);
    return hash;
}

static void as_name(uint64_t hash, char name[17])
{
    for (int i = 0; i < 16; i++)
        name[i] = "0123456789abcdef"[hash >> (60 - 4 * i) & 15];
    name[16] = 0;
}

/* Looks for a saved run of each beginning of the command line: it ends at ROOT, and which word that
 * is only Python knows. Opens the directories that the run needs. */
int find_saved(struct run *run, unsigned char *space)
{
    const struct command *command = run->command;
    uint64_t hash = 0xcbf29ce484222325;
    char name[17];
    int state = open_state(command->environment), found = 0;
    run->directory = state < 0 ? -1 : private_below(state, "saved");
    run->bytes = space;
    for (size_t words = 1; run->directory >= 0 && words < command->count && words <= MOST_WORDS;) {
        hash = hashed(hash, command->arguments[words - 1]);
        as_name(hash, name);
        run->words = words++;
        if (run->words > 1 && take_saved(run, name, SAVED_MAGIC)) {
            found = 1;
            break;
        }
    }
    if (found) {
        run->owners = private_below(state, "owners");
        run->ids = private_below(state, "ids");
    }
    if (state >= 0)
        close_fd(state);
    return found && run->owners >= 0;
}

/* The call that the whole command line is, in the directory of its container. */
int find_call(struct run *run)
{
    uint64_t hash = 0xcbf29ce484222325;
    char name[17];
    for (run->words = 0; run->words < run->command->count; run->words++)
        hash = hashed(hash, run->command->arguments[run->words]);
    as_name(hash, name);
    return take_saved(run, name, CALL_MAGIC);
}
