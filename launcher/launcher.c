/* The commands `kokon` and `kokon-runtime`: start Python isolated and quickly.
 *
 * A wheel puts this program into bin/ in place of pip's script. It finds the directory that
 * holds the package, from its own place (../lib/python3.X/site-packages), and becomes
 *
 *     python3 -I -S -X utf8 -c START DIRECTORY NAME ARGUMENTS...
 *
 * -S leaves out the module `site`, a fifth of a bare start, so the directory is handed over
 * instead. Where the package is not in that place (an editable install), `site` finds it.
 */
#include "system.h"

#define PATH_SIZE 4096 /* PATH_MAX, the terminating zero included */
#define CANNOT_START 125

/* Last, as site-packages is with `site`: no package there hides a standard module. */
#define FROM_DIRECTORY                  \
    "import sys\n"                      \
    "sys.path.append(sys.argv[1])\n"    \
    "del sys.argv[:2]\n"                \
    "from kokon.cli.main import main\n" \
    "main()\n"

#define FROM_SITE                                                                        \
    "import sys\n"                                                                       \
    "del sys.argv[0]\n"                                                                  \
    "try:\n"                                                                             \
    " import kokon\n"                                                                    \
    "except ModuleNotFoundError:\n"                                                      \
    " sys.stderr.write(f'kokon: {sys.executable} has no package kokon and there is'\n"   \
    "  ' none in the lib directory beside this command; install it again with pip\\n')\n" \
    " sys.exit(125)\n"                                                                   \
    "from kokon.cli.main import main\n"                                                  \
    "main()\n"

struct path {
    size_t length;
    char text[PATH_SIZE];
};

/* linux_dirent64 of getdents64(2) */
struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

struct command {
    struct path directory; /* of this program: PREFIX/bin */
    struct path prefix;
    const char *name; /* kokon or kokon-runtime */
    char **arguments;
    size_t count;
    char **environment;
};

static void say(const char *text)
{
    syscall3(__NR_write, 2, text, strlen(text));
}

static __attribute__((noreturn)) void fail(const char *before, const char *path, const char *after)
{
    say("kokon: ");
    say(before);
    say(path);
    say(after);
    say("\n");
    exit_group(CANNOT_START);
}

static void append(struct path *path, const char *text)
{
    size_t count = strlen(text);
    if (count >= PATH_SIZE - path->length)
        fail("the path ", path->text, "... is longer than Linux allows");
    memcpy(path->text + path->length, text, count + 1);
    path->length += count;
}

static void join(struct path *path, const struct path *base, const char *rest)
{
    path->length = 0;
    append(path, base->text);
    append(path, rest);
}

static int equal(const char *left, const char *right)
{
    size_t count = strlen(left);
    return count == strlen(right) && !memcmp(left, right, count);
}

static const char *last_component(const char *path)
{
    const char *last = path;
    for (; *path; path++)
        if (*path == '/')
            last = path + 1;
    return last;
}

/* execve(2) returns only when it fails; then the next place is tried. `package` is the
 * directory that holds the package, or NULL where `site` is to find it. */
static void start(const struct command *command, const char *python, const char *package)
{
    const char *arguments[command->count + 10];
    size_t count = 0;
    arguments[count++] = python;
    arguments[count++] = "-I";
    if (package)
        arguments[count++] = "-S";
    arguments[count++] = "-X";
    arguments[count++] = "utf8";
    arguments[count++] = "-c";
    arguments[count++] = package ? FROM_DIRECTORY : FROM_SITE;
    if (package)
        arguments[count++] = package;
    arguments[count++] = command->name;
    memcpy(arguments + count, command->arguments, command->count * sizeof *arguments);
    arguments[count + command->count] = NULL;
    syscall3(__NR_execve, python, arguments, command->environment);
}

/* The file holds the interpreter's path, written by Python where no python3 is beside us. */
static void start_recorded(const struct command *command, const struct path *package)
{
    struct path path;
    join(&path, package, "/kokon/_programs/python-path");
    long file = syscall3(__NR_openat, AT_FDCWD, path.text, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    long size = syscall3(__NR_read, file, path.text, PATH_SIZE - 1);
    syscall1(__NR_close, file);
    if (size <= 0 || path.text[0] != '/')
        return;
    path.text[size] = 0;
    for (char *at = path.text; *at; at++)
        if (*at == '\n')
            *at = 0;
    start(command, path.text, package->text);
}

static void start_package(const struct command *command, const struct path *package,
                          const char *version)
{
    struct path python;
    join(&python, package, "/kokon/__init__.py");
    if (syscall3(__NR_faccessat, AT_FDCWD, python.text, 0) < 0)
        return;
    join(&python, &command->directory, "/");
    append(&python, version);
    start(command, python.text, package->text);
    join(&python, &command->directory, "/python3");
    start(command, python.text, package->text);
    start_recorded(command, package);
    python.length = 0;
    append(&python, "/usr/bin/");
    append(&python, version);
    start(command, python.text, package->text);
    fail("found no Python for the package in ", package->text,
         "; run it once as `python3 -m kokon`, which records the interpreter");
}

/* Looks for PREFIX/<library>/python3.X/{site,dist}-packages/kokon. */
static void start_library(const struct command *command, const char *library)
{
    struct path directory, package;
    _Alignas(struct entry) char entries[8192];
    join(&directory, &command->prefix, library);
    long file = syscall3(__NR_openat, AT_FDCWD, directory.text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    long size;
    while (file >= 0 && (size = syscall3(__NR_getdents64, file, entries, sizeof entries)) > 0)
        for (long at = 0; at < size; at += ((struct entry *)(entries + at))->size) {
            const char *name = ((struct entry *)(entries + at))->name;
            if (strlen(name) < 9 || memcmp(name, "python3.", 8))
                continue;
            append(&directory, name);
            join(&package, &directory, "/site-packages");
            start_package(command, &package, name);
            join(&package, &directory, "/dist-packages");
            start_package(command, &package, name);
            directory.length -= strlen(name);
        }
    if (file >= 0)
        syscall1(__NR_close, file);
}

PROGRAM_START(begin);

void begin(long *stack)
{
    struct command command;
    struct path python;
    size_t count = (size_t)stack[0];
    char **arguments = (char **)(stack + 1);
    char *own = command.directory.text;

    long length = syscall4(__NR_readlinkat, AT_FDCWD, "/proc/self/exe", own, PATH_SIZE - 1);
    if (length <= 0 || own[0] != '/')
        fail("cannot read /proc/self/exe", "", ": is /proc mounted?");
    own[length] = 0;
    const char *own_name = last_component(own);
    command.name = equal(own_name, "kokon-runtime") ||
                           (count && equal(last_component(arguments[0]), "kokon-runtime"))
                       ? "kokon-runtime"
                       : "kokon";
    command.directory.length = (size_t)(own_name - own) - 1;
    own[command.directory.length] = 0;
    join(&command.prefix, &command.directory, "");
    command.prefix.length -= strlen(last_component(own));
    command.prefix.text[command.prefix.length] = 0;
    command.arguments = arguments + (count ? 1 : 0);
    command.count = count ? count - 1 : 0;
    command.environment = arguments + count + 1;

    start_library(&command, "lib/");
    start_library(&command, "lib64/");
    join(&python, &command.directory, "/python3");
    start(&command, python.text, NULL);
    fail("found neither python3 nor the package kokon beside ", own,
         "; install it again with pip");
}
