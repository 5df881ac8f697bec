/* The floor: what the kernel alone takes for a container like kokon's default one.
 *
 *     floor ROOT FILTER PROGRAM [overlay DIRECTORY] [cgroups MEMORY CPU PIDS]
 *
 * No plan, no policy, no words: the same namespaces, id map, mounts, devices, masks, rights and
 * filter as `kokon.run([PROGRAM], root=ROOT, read_only=True)` as root, written down one after the
 * other. FILTER is kokon's own default program. With `overlay` the root is written to, below
 * DIRECTORY; `cgroups` makes a group with a limit in each of three v1 directories and removes it.
 * The exit status is the program's, or 99 and the line that failed.
 *
 * It has no C library (init/system.h), so that its execve costs what init's costs. */
#include "system.h"

enum {
    FIRST_ID = 1879048192, /* a range that kokon hands out too */
    LAST_CAPABILITY = 40,
    TREE = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE,
    LOCKED = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
    MS_PRIVATE = 1 << 18,
    MS_SLAVE = 1 << 19,
};
/* Both processes have one table of descriptors: what one opens is there for the other. */
enum { ROOT = 50, DEV, WRITES, TASKS };
#define DEFAULT_CAPABILITIES 2684618235ULL
#define CLONE_SHARE_FILES 0x400

static void say(int line)
{
    char text[] = "floor.c:0000 failed\n";
    for (int at = 11; line; line /= 10)
        text[at--] = (char)('0' + line % 10);
    syscall3(__NR_write, 2, text, sizeof text - 1);
}

static long must(long result, int line)
{
    if (result >= 0)
        return result;
    say(line);
    exit_group(99);
}
#define MUST(call) must((call), __LINE__)
#define CLOSE(fd) syscall1(__NR_close, fd)

static void keep(int fd, int number)
{
    MUST(syscall3(__NR_dup3, fd, number, O_CLOEXEC));
    CLOSE(fd);
}

static int open_file(const char *path, int flags)
{
    return (int)MUST(syscall4(__NR_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0));
}

static void write_file(int base, const char *path, const char *text)
{
    int fd = (int)MUST(syscall4(__NR_openat, base, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    MUST(syscall3(__NR_write, fd, text, strlen(text)));
    CLOSE(fd);
}

/* Head, number (0 is none) and tail as one text; nothing is ever taken back. */
static const char *joined(const char *head, unsigned long value, const char *tail)
{
    static char room[1 << 14];
    static char *at = room;
    char digits[24] = "", *digit = digits + sizeof digits - 1;
    for (; value; value /= 10)
        *--digit = (char)('0' + value % 10);
    char *result = at;
    const char *parts[] = {head, digit, tail};
    for (int i = 0; i < 3; i++)
        for (const char *from = parts[i]; *from; from++)
            *at++ = *from;
    *at++ = 0;
    return result;
}

/* A detached file system; options are pairs, a flag has no value, the last key is null. */
static int file_system(const char *type, uint64_t attributes, const char *const *options)
{
    int context = (int)MUST(syscall2(__NR_fsopen, type, FSOPEN_CLOEXEC));
    for (; options && options[0]; options += 2)
        MUST(syscall5(__NR_fsconfig, context, options[1] ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG,
                      options[0], options[1], 0));
    MUST(syscall5(__NR_fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0));
    int fd = (int)MUST(syscall3(__NR_fsmount, context, FSMOUNT_CLOEXEC, attributes));
    CLOSE(context);
    return fd;
}
#define OPTIONS(...) ((const char *const[]){__VA_ARGS__, 0})

static void attributes(int fd, uint64_t set, uint64_t propagation, int recursive, int user)
{
    struct mount_attr wanted = {set, 0, propagation, 0};
    if (user >= 0) {
        wanted.attr_set |= MOUNT_ATTR_IDMAP;
        wanted.userns_fd = (uint64_t)user;
    }
    MUST(syscall5(__NR_mount_setattr, fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0),
                  &wanted, sizeof wanted));
}

static int open_below(int root, const char *path)
{
    struct open_how how = {O_PATH | O_NOFOLLOW | O_CLOEXEC, 0,
                           RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS};
    return (int)syscall4(__NR_openat2, root, path, &how, sizeof how);
}

static void attach_at(int mount, int target)
{
    MUST(syscall5(__NR_move_mount, mount, "", target, "",
                  MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
    CLOSE(target);
    CLOSE(mount);
}

static void attach(int mount, int root, const char *path)
{
    attach_at(mount, (int)MUST(open_below(root, path)));
}

static int mapped_tree(const char *path, int user)
{
    int fd = (int)MUST(syscall3(__NR_open_tree, AT_FDCWD, path, TREE));
    attributes(fd, MOUNT_ATTR_NODEV, MS_PRIVATE, 1, user);
    return fd;
}

static int devices(void)
{
    static const struct { const char *name; int major, minor; } nodes[] = {
        {"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9},
        {"tty", 5, 0}};
    static const char *const links[][2] = {
        {"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
        {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"}};
    static const char *const directories[] = {"pts", "shm", "mqueue"};
    const char *id = joined("", FIRST_ID, "");
    int dev = file_system("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
                          OPTIONS("mode", "755", "size", "64k", "uid", id, "gid", id));
    for (int i = 0; i < 3; i++)
        MUST(syscall3(__NR_mkdirat, dev, directories[i], 0755));
    for (int i = 0; i < 5; i++)
        MUST(syscall3(__NR_symlinkat, links[i][0], dev, links[i][1]));
    syscall1(__NR_umask, 0);
    for (int i = 0; i < 6; i++) {
        MUST(syscall4(__NR_mknodat, dev, nodes[i].name, 0020666, nodes[i].major << 8 | nodes[i].minor));
        MUST(syscall5(__NR_fchownat, dev, nodes[i].name, FIRST_ID, FIRST_ID, AT_SYMLINK_NOFOLLOW));
    }
    syscall1(__NR_umask, 022);
    return dev;
}

/* A tmpfs with what covers a masked path, and the three small files of /etc. */
static int covers(void)
{
    int fd = file_system("tmpfs", 0, OPTIONS("size", "1m", "mode", "755"));
    MUST(syscall3(__NR_mkdirat, fd, "directory", 0555));
    write_file(fd, "file", "");
    write_file(fd, "hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\tkokon\n");
    write_file(fd, "hostname", "kokon\n");
    write_file(fd, "resolv.conf", "");
    MUST(syscall5(__NR_move_mount, fd, "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH));
    return fd;
}

static void mounts(int root, int templates)
{
    static const char *const files[][2] = {
        {"hosts", "/etc/hosts"}, {"hostname", "/etc/hostname"}, {"resolv.conf", "/etc/resolv.conf"}};
    attach(file_system("proc", LOCKED, 0), root, "/proc");
    attach(DEV, root, "/dev");
    attach(file_system("devpts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
                       OPTIONS("newinstance", 0, "ptmxmode", "0666", "mode", "0620", "gid", "5")),
           root, "/dev/pts");
    attach(file_system("tmpfs", LOCKED, OPTIONS("mode", "1777", "size", "67108864")), root, "/dev/shm");
    attach(file_system("mqueue", LOCKED, 0), root, "/dev/mqueue");
    attach(file_system("sysfs", LOCKED | MOUNT_ATTR_RDONLY, 0), root, "/sys");
    for (int i = 0; i < 3; i++)
        attach((int)MUST(syscall3(__NR_open_tree, templates, files[i][0], TREE & ~AT_RECURSIVE)),
               root, files[i][1]);
}

struct stat_head {
#if defined(__x86_64__)
    uint64_t device, inode, links;
#else
    uint64_t device, inode;
#endif
    uint32_t mode;
    char rest[256];
};

static void masks(int root, int templates)
{
    static const char *const hidden[] = {
        "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
        "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
        "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux", 0};
    static const char *const read_only[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                            "/proc/sysrq-trigger", 0};
    struct stat_head status;
    attributes(templates, LOCKED | MOUNT_ATTR_RDONLY, 0, 0, -1);
    for (int i = 0; hidden[i]; i++) {
        int target = open_below(root, hidden[i]);
        if (target < 0)
            continue;
        MUST(syscall4(__NR_newfstatat, target, "", &status, AT_EMPTY_PATH));
        const char *cover = (status.mode & 0170000) == 0040000 ? "directory" : "file";
        attach_at((int)MUST(syscall3(__NR_open_tree, templates, cover, TREE & ~AT_RECURSIVE)), target);
    }
    for (int i = 0; read_only[i]; i++) {
        int target = open_below(root, read_only[i]);
        if (target < 0)
            continue;
        int copy = (int)MUST(syscall3(__NR_open_tree, target, "", TREE | AT_EMPTY_PATH));
        attributes(copy, MOUNT_ATTR_RDONLY, 0, 1, -1);
        attach_at(copy, target);
    }
}

static void loopback(void)
{
    struct { char name[16]; short flags; char rest[22]; } request = {.name = "lo"};
    int fd = (int)MUST(syscall3(__NR_socket, 2, 2 | O_CLOEXEC, 0));
    request.flags = 1; /* IFF_UP */
    MUST(syscall3(__NR_ioctl, fd, 0x8914 /* SIOCSIFFLAGS */, &request));
    CLOSE(fd);
}

static uint64_t filter[4096];
static uint16_t filter_length;

static void confine(void)
{
    struct { uint32_t version; int pid; } header = {0x20080522, 0};
    struct { uint32_t effective, permitted, inheritable; } sets[2] = {
        {(uint32_t)DEFAULT_CAPABILITIES, (uint32_t)DEFAULT_CAPABILITIES, 0}, {0, 0, 0}};
    struct { uint16_t length; const void *filter; } program = {filter_length, filter};
    uint32_t group = 0;
    for (int number = 0; number <= LAST_CAPABILITY; number++)
        if (!(DEFAULT_CAPABILITIES >> number & 1))
            MUST(syscall5(__NR_prctl, 24 /* PR_CAPBSET_DROP */, number, 0, 0, 0));
    MUST(syscall2(__NR_setgroups, 1, &group));
    MUST(syscall5(__NR_prctl, 38 /* PR_SET_NO_NEW_PRIVS */, 1, 0, 0, 0));
    MUST(syscall2(__NR_capset, &header, sets));
    MUST(syscall5(__NR_prctl, 1 /* PR_SET_PDEATHSIG */, 9, 0, 0, 0));
    MUST(syscall3(__NR_seccomp, 1 /* SECCOMP_SET_MODE_FILTER */, 0, &program));
}

/* An overlay above the root. Its mounts are given by descriptor, once they are in our own mount
 * namespace: on two directories that the pivot takes away. */
static int overlay(void)
{
    MUST(syscall5(__NR_move_mount, ROOT, "", AT_FDCWD, "/sys", MOVE_MOUNT_F_EMPTY_PATH));
    MUST(syscall5(__NR_move_mount, WRITES, "", AT_FDCWD, "/dev", MOVE_MOUNT_F_EMPTY_PATH));
    int upper = (int)MUST(syscall4(__NR_openat, WRITES, "upper", O_PATH | O_CLOEXEC, 0));
    int work = (int)MUST(syscall4(__NR_openat, WRITES, "work", O_PATH | O_CLOEXEC, 0));
    int context = (int)MUST(syscall2(__NR_fsopen, "overlay", FSOPEN_CLOEXEC));
    MUST(syscall5(__NR_fsconfig, context, FSCONFIG_SET_FD, "lowerdir+", 0, ROOT));
    MUST(syscall5(__NR_fsconfig, context, FSCONFIG_SET_FD, "upperdir", 0, upper));
    MUST(syscall5(__NR_fsconfig, context, FSCONFIG_SET_FD, "workdir", 0, work));
    MUST(syscall5(__NR_fsconfig, context, FSCONFIG_SET_FLAG, "userxattr", 0, 0));
    MUST(syscall5(__NR_fsconfig, context, FSCONFIG_SET_FLAG, "volatile", 0, 0));
    MUST(syscall5(__NR_fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0));
    return (int)MUST(syscall3(__NR_fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV));
}

static __attribute__((noreturn)) void container(const char *program, int go, int writes, int groups)
{
    char byte;
    struct mount_attr slave = {0, 0, MS_SLAVE, 0};
    MUST(syscall5(__NR_prctl, 1 /* PR_SET_PDEATHSIG */, 9, 0, 0, 0));
    MUST(syscall3(__NR_read, go, &byte, 1) - 1);
    for (int i = 0; i < groups; i++)
        MUST(syscall3(__NR_write, TASKS + i, "0", 1));
    MUST(syscall1(__NR_unshare, CLONE_NEWCGROUP));
    MUST(syscall3(__NR_setresgid, 0, 0, 0));
    MUST(syscall3(__NR_setresuid, 0, 0, 0));
    MUST(syscall0(__NR_setsid));
    MUST(syscall2(__NR_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, "kokon"));
    MUST(syscall5(__NR_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &slave, sizeof slave));
    MUST(syscall2(__NR_sethostname, "kokon", 5));
    loopback();
    int templates = covers(), root = writes ? overlay() : ROOT;
    MUST(syscall5(__NR_move_mount, root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH));
    mounts(root, templates);
    masks(root, templates);
    if (!writes)
        attributes(root, MOUNT_ATTR_RDONLY, 0, 0, -1);
    MUST(syscall1(__NR_fchdir, root));
    MUST(syscall2(__NR_pivot_root, ".", "."));
    MUST(syscall2(__NR_umount2, ".", 2 /* MNT_DETACH */));
    MUST(syscall1(__NR_chdir, "/"));
    confine();
    const char *arguments[] = {program, 0};
    const char *environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", 0};
    MUST(syscall3(__NR_close_range, 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */));
    MUST(syscall3(__NR_execve, program, arguments, environment));
    exit_group(99);
}

static const char *const limits[3][2] = {
    {"/memory.limit_in_bytes", "104857600"}, {"/cpu.cfs_quota_us", "100000"}, {"/pids.max", "32"}};

static void make_groups(char **parents, unsigned long name)
{
    for (int i = 0; i < 3; i++) {
        const char *path = joined(parents[i], name, "");
        MUST(syscall3(__NR_mkdirat, AT_FDCWD, path, 0755));
        write_file(AT_FDCWD, joined(path, 0, limits[i][0]), limits[i][1]);
        keep(open_file(joined(path, 0, "/tasks"), O_WRONLY), TASKS + i);
    }
}

/* A group is busy until the kernel has switched away from its last task. */
static void remove_directory(const char *path)
{
    long result;
    while ((result = syscall3(__NR_unlinkat, AT_FDCWD, path, AT_REMOVEDIR)) == -EBUSY)
        syscall0(__NR_sched_yield);
    MUST(result);
}

static void remove_writes(const char *path)
{
    static const char *const inside[] = {"/work/work/incompat/volatile", "/work/work/incompat",
                                         "/work/work", "/work", "/upper", ""};
    MUST(syscall3(__NR_unlinkat, AT_FDCWD, joined(path, 0, "/work/work/incompat/volatile/dirty"), 0));
    for (int i = 0; i < 6; i++)
        remove_directory(joined(path, 0, inside[i]));
}

void start(long *stack);
PROGRAM_START(start);

void start(long *stack)
{
    char **words = (char **)(stack + 1), **groups = 0, *writes = 0;
    unsigned long name = (unsigned long)syscall0(__NR_getpid);
    const char *writes_path = "";
    int go[2], status = 0;
    if (stack[0] < 4)
        must(-1, __LINE__);
    for (char **word = words + 4; *word; word++)
        if (**word == 'o')
            writes = *++word;
        else
            groups = word + 1, word += 3;
    int fd = open_file(words[2], O_RDONLY);
    filter_length = (uint16_t)(MUST(syscall3(__NR_read, fd, filter, sizeof filter)) / 8);
    CLOSE(fd);
    if (writes) {
        writes_path = joined(writes, name, "");
        MUST(syscall3(__NR_mkdirat, AT_FDCWD, writes_path, 0700));
        MUST(syscall3(__NR_mkdirat, AT_FDCWD, joined(writes_path, 0, "/upper"), 0755));
        MUST(syscall3(__NR_mkdirat, AT_FDCWD, joined(writes_path, 0, "/work"), 0700));
    }
    if (groups)
        make_groups(groups, name);
    MUST(syscall2(__NR_pipe2, go, O_CLOEXEC));
    struct clone_args arguments = {
        .flags = CLONE_SHARE_FILES | CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC |
                 CLONE_NEWUTS | CLONE_NEWNET,
        .exit_signal = 17 /* SIGCHLD */};
    long child = MUST(syscall2(__NR_clone3, &arguments, sizeof arguments));
    if (!child)
        container(words[3], go[0], !!writes, groups ? 3 : 0);
    const char *map = joined("0 1879048192 65536", 0, "");
    write_file(AT_FDCWD, joined("/proc/", (unsigned long)child, "/uid_map"), map);
    write_file(AT_FDCWD, joined("/proc/", (unsigned long)child, "/gid_map"), map);
    int user = open_file(joined("/proc/", (unsigned long)child, "/ns/user"), O_RDONLY);
    keep(devices(), DEV);
    keep(mapped_tree(words[1], user), ROOT);
    if (writes)
        keep(mapped_tree(writes_path, user), WRITES);
    MUST(syscall3(__NR_write, go[1], "", 1));
    MUST(syscall4(__NR_wait4, child, &status, 0, 0));
    for (int i = 0; groups && i < 3; i++)
        remove_directory(joined(groups[i], name, ""));
    if (writes)
        remove_writes(writes_path);
    exit_group(status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff);
}
