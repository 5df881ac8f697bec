/* Files, directories and links, always relative to a descriptor and never through a link that
 * leaves it: the one place in C where a path inside a container is resolved. */
#include "init.h"

enum { S_DIRECTORY = 0040000, S_KIND = 0170000 };

/* "/proc/PID/FILE" into the buffer (64 bytes). */
int proc_path(char *buffer, long pid, const char *file)
{
    char digits[24];
    int count = 0, at = 6;
    memcpy(buffer, "/proc/", 6);
    do
        digits[count++] = (char)('0' + pid % 10);
    while (pid /= 10);
    while (count)
        buffer[at++] = digits[--count];
    buffer[at++] = '/';
    while (*file && at < 63)
        buffer[at++] = *file++;
    buffer[at] = 0;
    return 0;
}

/* One component after another, made where missing, never through a link; "." and ".." have no
 * business in a plan. Returns a descriptor of the parent and the last component. */
int open_parent(int root, const char *path, const char **last)
{
    int at = root;
    char name[256];
    for (;;) {
        while (*path == '/')
            path++;
        const char *end = path;
        while (*end && *end != '/')
            end++;
        size_t length = (size_t)(end - path);
        if (length == 0 || length > 255 || (length <= 2 && !memcmp(path, "..", length))) {
            if (at != root)
                close_fd(at);
            return length > 255 ? -ENAMETOOLONG : -EINVAL;
        }
        if (!*end) {
            *last = path;
            return at;
        }
        memcpy(name, path, length);
        name[length] = 0;
        path = end;
        step = 0;
        long result = syscall3(__NR_mkdirat, at, name, 0755);
        if (result == 0 || result == -EEXIST || result == -EROFS) {
            step = 1;
            result = openat2(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, RESOLVE_BENEATH);
        }
        if (at != root)
            close_fd(at);
        if (result < 0)
            return (int)result;
        at = (int)result;
    }
}

static void close_parent(int root, int parent)
{
    if (parent != root)
        close_fd(parent);
}

/* The longest part of the path that exists, with links resolved beneath the root; returns its
 * descriptor and what is left of the path. The plan's text is ours to cut for a moment. */
static int open_existing(int root, char *path, uint64_t resolve, char **rest)
{
    char *end = path + strlen(path);
    while (end > path && end[-1] == '/')
        end--;
    for (;;) {
        while (end > path && end[-1] != '/')
            end--;
        char *cut = end;
        while (cut > path && cut[-1] == '/')
            cut--;
        *rest = end;
        if (cut == path)
            return openat2(root, ".", O_PATH | O_DIRECTORY, 0);
        char kept = *cut;
        *cut = 0;
        int fd = openat2(root, path, O_PATH | O_DIRECTORY, resolve);
        *cut = kept;
        if (fd != -ENOENT)
            return fd;
        end = cut;
    }
}

enum { LONGEST_PATH = 4096, MOST_LINKS = 40 };

/* What a link says, with the rest of the path behind it: from the root, or from where it is. */
static long follow(int link, const char *path, size_t length, char *result)
{
    char target[LONGEST_PATH];
    size_t above = length, rest = strlen(path + length);
    long size = syscall4(__NR_readlinkat, link, "", target, sizeof target - 1);
    if (size < 0)
        return size;
    target[size] = 0;
    while (above && path[above - 1] != '/')
        above--;
    if (target[0] == '/')
        above = 0;
    if (above + (size_t)size + rest >= LONGEST_PATH)
        return -ENAMETOOLONG;
    memmove(result + above + size, path + length, rest + 1);
    memcpy(result, path, above);
    memcpy(result + above, target, (size_t)size);
    return 1;
}

/* Replaces the first link of the path that leads to what is missing by what it says: 1, or 0 when
 * there is none. */
static long follow_dangling(int root, char *path, uint64_t resolve)
{
    for (size_t end = 0; path[end];) {
        while (path[end] == '/')
            end++;
        while (path[end] && path[end] != '/')
            end++;
        char kept = path[end];
        path[end] = 0;
        int link = openat2(root, path, O_PATH | O_NOFOLLOW, resolve);
        int leads = openat2(root, path, O_PATH, resolve);
        path[end] = kept;
        long result = link < 0 ? 0 : leads == -ENOENT ? 1 : leads < 0 ? leads : 2;
        if (leads >= 0)
            close_fd(leads);
        if (result == 1)
            result = follow(link, path, end, path);
        if (link >= 0)
            close_fd(link);
        if (result != 2)
            return result;
    }
    return 0;
}

/* A descriptor (O_PATH) of a mount target; a missing one is made where `create` says so:
 * 1 a directory, 2 an empty file. */
int open_target(int root, const char *path, uint64_t flags, uint64_t resolve, int create)
{
    uint64_t beneath = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve;
    step = 2;
    int fd = openat2(root, path, O_PATH | flags, beneath);
    if (fd != -ENOENT || !create)
        return fd;
    char *rest, followed[LONGEST_PATH];
    if (strlen(path) >= sizeof followed)
        return -ENAMETOOLONG;
    memcpy(followed, path, strlen(path) + 1);
    /* A link at the end is what is covered, or made: it is followed like the others, unless no
     * link may be. */
    for (int links = 0; !(resolve & RESOLVE_NO_SYMLINKS) && !(flags & O_NOFOLLOW); links++) {
        long more = links == MOST_LINKS ? -ELOOP : follow_dangling(root, followed, beneath);
        if (more < 0)
            return (int)more;
        if (!more)
            break;
    }
    fd = openat2(root, followed, O_PATH | flags, beneath);
    if (fd != -ENOENT)
        return fd;
    int base = open_existing(root, followed, beneath, &rest);
    if (base < 0)
        return base;
    const char *last;
    int parent = open_parent(base, rest, &last);
    if (parent < 0) {
        close_fd(base);
        return parent;
    }
    long result;
    if (create == 1) {
        step = 0;
        result = syscall3(__NR_mkdirat, parent, last, 0755);
    } else {
        step = 1;
        result = syscall4(__NR_openat, parent, last,
                          O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (result >= 0)
            close_fd((int)result);
    }
    if (result >= 0) {
        step = 2;
        result = openat2(parent, last, O_PATH | O_NOFOLLOW, RESOLVE_BENEATH);
    }
    close_parent(base, parent);
    close_fd(base);
    return (int)result;
}

int do_directory(const struct op_directory *op)
{
    const char *last;
    int root = slot_fd(op->root);
    int parent = open_parent(root, op->path, &last);
    if (parent < 0)
        return parent;
    step = 0;
    long result = syscall3(__NR_mkdirat, parent, last, op->mode);
    if (result == 0) {
        /* The umask of the caller has no say in it. */
        step = 2;
        result = syscall3(__NR_fchmodat, parent, last, op->mode);
    } else if (result == -EEXIST) {
        step = 1;
        result = openat2(parent, last, O_PATH | O_DIRECTORY | O_NOFOLLOW, RESOLVE_BENEATH);
        if (result >= 0)
            close_fd((int)result);
    }
    close_parent(root, parent);
    return result < 0 ? (int)result : 0;
}

int do_link(const struct op_link *op)
{
    const char *last;
    int root = slot_fd(op->root);
    int parent = open_parent(root, op->path, &last);
    if (parent < 0)
        return parent;
    step = 2;
    long result = syscall3(__NR_symlinkat, op->target, parent, last);
    close_parent(root, parent);
    return (int)result;
}

int do_file(const struct op_file *op)
{
    const char *last;
    int root = slot_fd(op->root);
    int parent = open_parent(root, op->path, &last);
    if (parent < 0)
        return parent;
    step = 1;
    long fd = syscall4(__NR_openat, parent, last,
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    close_parent(root, parent);
    if (fd < 0)
        return (int)fd;
    step = 2;
    long result = write_all((int)fd, op->content, op->content_size);
    if (result == 0) {
        step = 3;
        result = syscall2(__NR_fchmod, fd, op->mode);
    }
    close_fd((int)fd);
    return (int)result;
}

int do_node(const struct op_node *op)
{
    const char *last;
    int root = slot_fd(op->root);
    int parent = open_parent(root, op->path, &last);
    if (parent < 0)
        return parent;
    step = 2;
    long result = syscall4(__NR_mknodat, parent, last, op->mode, op->device);
    if (result == 0) {
        step = 3;
        result = syscall5(__NR_fchownat, parent, last, op->uid, op->gid, AT_SYMLINK_NOFOLLOW);
    }
    if (result == 0) {
        step = 4;
        result = syscall3(__NR_fchmodat, parent, last, op->mode & 07777);
    }
    close_parent(root, parent);
    return (int)result;
}

/* runc, Docker and people expect a missing working directory to be made; after the pivot "/"
 * is the container's root, and component by component no link leads out (row M18). */
int do_working_directory(const struct op_working_directory *op)
{
    char buffer[4096];
    long root;
    TRY(1, root = syscall4(__NR_openat, AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
    int fd = open_target((int)root, op->path, 0, 0, op->create ? 1 : 0);
    close_fd((int)root);
    if (fd < 0)
        return fd;
    step = 3;
    long result = syscall1(__NR_fchdir, fd);
    close_fd(fd);
    if (result < 0)
        return (int)result;
    TRY(4, syscall2(__NR_getcwd, buffer, sizeof buffer));
    return buffer[0] == '/' ? 0 : -ENOENT;
}
