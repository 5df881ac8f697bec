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
#include "launcher.h"

/* Last, as site-packages is with `site`: no package there hides a standard module. */
#define FROM_DIRECTORY(call)          \
    "import sys\n"                    \
    "sys.path.append(sys.argv[1])\n"  \
    "launcher = sys.argv[2]\n"        \
    "del sys.argv[:3]\n"              \
    "from kokon.cli import main\n"    \
    "main." call "\n"

#define FROM_SITE(call)                                                                  \
    "import sys\n"                                                                       \
    "launcher = sys.argv[1]\n"                                                           \
    "del sys.argv[:2]\n"                                                                 \
    "try:\n"                                                                             \
    " import kokon\n"                                                                    \
    "except ModuleNotFoundError:\n"                                                      \
    " sys.stderr.write(f'kokon: {sys.executable} has no package kokon and there is'\n"   \
    "  ' none in the lib directory beside this command; install it again with pip\\n')\n" \
    " sys.exit(125)\n"                                                                   \
    "from kokon.cli import main\n"                                                       \
    "main." call "\n"

/* What Python is to do: a command line, or go on with a run that we began. */
#define PERFORM "main(launcher=launcher)"
#define TAKE_OVER "take_over()"

struct path {
    size_t length;
    char text[PATH_SIZE];
};

/* Where we were found. */
struct place {
    const char *own;       /* the path of this program */
    struct path directory; /* PREFIX/bin */
    struct path prefix;
    struct command command;
};

static void say(const char *text)
{
    syscall3(__NR_write, 2, text, strlen(text));
}

void fail(const char *before, const char *path, const char *after)
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
static void start(const struct place *place, const char *python, const char *package)
{
    const struct command *command = &place->command;
    const char *arguments[command->count + 12];
    size_t count = 0;
    arguments[count++] = python;
    arguments[count++] = "-I";
    if (package)
        arguments[count++] = "-S";
    arguments[count++] = "-X";
    arguments[count++] = "utf8";
    arguments[count++] = "-c";
    if (command->taken_over)
        arguments[count++] = package ? FROM_DIRECTORY(TAKE_OVER) : FROM_SITE(TAKE_OVER);
    else
        arguments[count++] = package ? FROM_DIRECTORY(PERFORM) : FROM_SITE(PERFORM);
    if (package)
        arguments[count++] = package;
    arguments[count++] = place->own;
    arguments[count++] = command->name;
    if (command->taken_over)
        arguments[count++] = command->taken_over;
    memcpy(arguments + count, command->arguments, command->count * sizeof *arguments);
    arguments[count + command->count] = NULL;
    syscall3(__NR_execve, python, arguments, command->environment);
}

/* The file holds the interpreter's path, written by Python where no python3 is beside us. */
static void start_recorded(const struct place *place, const struct path *package)
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
    start(place, path.text, package->text);
}

static void start_package(const struct place *place, const struct path *package,
                          const char *version)
{
    struct path python;
    join(&python, package, "/kokon/__init__.py");
    if (syscall3(__NR_faccessat, AT_FDCWD, python.text, 0) < 0)
        return;
    join(&python, &place->directory, "/");
    append(&python, version);
    start(place, python.text, package->text);
    join(&python, &place->directory, "/python3");
    start(place, python.text, package->text);
    start_recorded(place, package);
    python.length = 0;
    append(&python, "/usr/bin/");
    append(&python, version);
    start(place, python.text, package->text);
    fail("found no Python for the package in ", package->text,
         "; run it once as `python3 -m kokon`, which records the interpreter");
}

/* Looks for PREFIX/<library>/python3.X/{site,dist}-packages/kokon. */
static void start_library(const struct place *place, const char *library)
{
    struct path directory, package;
    _Alignas(struct entry) char entries[8192];
    join(&directory, &place->prefix, library);
    long file = syscall3(__NR_openat, AT_FDCWD, directory.text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    long size;
    while (file >= 0 && (size = syscall3(__NR_getdents64, file, entries, sizeof entries)) > 0)
        for (long at = 0; at < size; at += ((struct entry *)(entries + at))->size) {
            const char *name = ((struct entry *)(entries + at))->name;
            if (strlen(name) < 9 || memcmp(name, "python3.", 8))
                continue;
            append(&directory, name);
            join(&package, &directory, "/site-packages");
            start_package(place, &package, name);
            join(&package, &directory, "/dist-packages");
            start_package(place, &package, name);
            directory.length -= strlen(name);
        }
    if (file >= 0)
        syscall1(__NR_close, file);
}

PROGRAM_START(begin);

void begin(long *stack)
{
    struct place place;
    struct path python;
    struct command *command = &place.command;
    size_t count = (size_t)stack[0];
    char own[PATH_SIZE], **arguments = (char **)(stack + 1);

    long length = syscall4(__NR_readlinkat, AT_FDCWD, "/proc/self/exe", own, PATH_SIZE - 1);
    if (length <= 0 || own[0] != '/')
        fail("cannot read /proc/self/exe", "", ": is /proc mounted?");
    own[length] = 0;
    const char *own_name = last_component(own);
    command->name = equal(own_name, "kokon-runtime") ||
                            (count && equal(last_component(arguments[0]), "kokon-runtime"))
                        ? "kokon-runtime"
                        : "kokon";
    command->arguments = arguments + (count ? 1 : 0);
    command->count = count ? count - 1 : 0;
    command->environment = arguments + count + 1;
    command->taken_over = NULL;
    perform_saved(command);

    place.own = own;
    place.directory.length = 0;
    append(&place.directory, own);
    place.directory.length = (size_t)(own_name - own) - 1;
    place.directory.text[place.directory.length] = 0;
    join(&place.prefix, &place.directory, "");
    place.prefix.length -= strlen(last_component(place.directory.text));
    place.prefix.text[place.prefix.length] = 0;
    start_library(&place, "lib/");
    start_library(&place, "lib64/");
    join(&python, &place.directory, "/python3");
    start(&place, python.text, NULL);
    fail("found neither python3 nor the package kokon beside ", place.directory.text,
         "; install it again with pip");
}
