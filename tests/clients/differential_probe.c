/* What a process sees of itself and of where it is, as JSON on standard output.

   Arguments: a letter and what it is about.  f PATH: what a file has; p PATH: what may be done with
   a path; d PATH: all that is below a directory; o PATH: whether a device opens; c NAME: what a
   system call gives.  What the kernel says by calls is asked by calls, the rest of /proc. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PR_GET_IO_FLUSHER
#define PR_GET_IO_FLUSHER 58
#endif

static const char *gap = "";

static void text(const char *from, size_t size)
{
    putchar('"');
    for (size_t at = 0; at < size; at++) {
        unsigned char byte = from[at];
        if (byte < ' ' || byte > '~' || byte == '"' || byte == '\\')
            printf("\\u%04x", byte);
        else
            putchar(byte);
    }
    putchar('"');
}

/* The names are given in two parts, for those that a loop makes. */
static void name(const char *kind, const char *of)
{
    char both[5000];
    int size = snprintf(both, sizeof both, "%s%s", kind, of);
    printf("%s\n", gap);
    gap = ",";
    text(both, size);
    printf(": ");
}

static void words(const char *kind, const char *of, const char *value)
{
    name(kind, of);
    text(value, strlen(value));
}

static void number(const char *kind, const char *of, long value)
{
    name(kind, of);
    printf("%ld", value);
}

/* Negative results are errors' numbers. */
static long result(long got)
{
    return got < 0 ? -errno : got;
}

static void file(const char *kind, const char *path)
{
    static char content[1 << 18];
    size_t size = 0;
    ssize_t got = -1;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) {
        while (size < sizeof content && (got = read(fd, content + size, sizeof content - size)) > 0)
            size += got;
        close(fd);
    }
    if (got < 0) {
        number(kind, path, -errno);
        return;
    }
    name(kind, path);
    text(content, size);
}

static void node(const char *kind, const char *path, const struct stat *found)
{
    char said[400], target[300] = "";
    if (S_ISLNK(found->st_mode)) {
        ssize_t size = readlink(path, target, sizeof target - 1);
        target[size > 0 ? size : 0] = 0;
    }
    snprintf(said, sizeof said, "%o %d:%d %d:%d %s", found->st_mode, found->st_uid, found->st_gid,
             major(found->st_rdev), minor(found->st_rdev), target);
    words(kind, path, said);
}

static void walk(const char *path)
{
    char below[4096];
    struct stat found;
    DIR *directory = opendir(path);
    if (!directory) {
        number("tree:", path, -errno);
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        if (lstat(below, &found)) {
            number("tree:", below, -errno);
            continue;
        }
        node("tree:", below, &found);
        if (S_ISDIR(found.st_mode))
            walk(below);
    }
    closedir(directory);
}

static void rights(const char *path)
{
    struct stat found;
    char byte;
    if (stat(path, &found)) {
        number("path:", path, -errno);
        return;
    }
    node("path:", path, &found);
    number("path-writable:", path, result(faccessat(AT_FDCWD, path, W_OK, AT_EACCESS)));
    number("path-executable:", path, result(faccessat(AT_FDCWD, path, X_OK, AT_EACCESS)));
    if (S_ISDIR(found.st_mode)) {
        int entries = 0;
        DIR *directory = opendir(path);
        for (; directory && readdir(directory); entries++)
            ;
        number("path-entries:", path, directory ? entries > 2 : -errno);
        if (directory)
            closedir(directory);
        return;
    }
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    number("path-read:", path, fd < 0 ? -errno : result(read(fd, &byte, 1)));
    close(fd);
    fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    number("path-write:", path, fd < 0 ? -errno : 0);
    close(fd);
}

static void opens(const char *path)
{
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    number("opens:", path, fd < 0 ? -errno : 0);
    close(fd);
}

static long call(const char *which)
{
    struct utsname names;
    if (!strcmp(which, "uname"))
        return uname(&names);
    if (!strcmp(which, "mkdir"))
        return mkdir("/tmp/made-by-the-probe", 0700);
    if (!strcmp(which, "chroot"))
        return chroot("/");
    if (!strcmp(which, "socket-packet"))
        return socket(AF_PACKET, SOCK_RAW, 0) < 0 ? -1 : 0;
    if (!strcmp(which, "socket-unix"))
        return socket(AF_UNIX, SOCK_STREAM, 0) < 0 ? -1 : 0;
    if (!strcmp(which, "personality"))
        return personality(0x0008);
    if (!strcmp(which, "setuid"))
        return setuid(12345);
    if (!strcmp(which, "mount"))
        return syscall(SYS_mount, "x", "/tmp", "tmpfs", 0, 0);
    if (!strcmp(which, "unshare-user"))
        return unshare(CLONE_NEWUSER);
    if (!strcmp(which, "mknod"))
        return mknod("/tmp/node", S_IFCHR | 0600, makedev(1, 3));
    if (!strcmp(which, "setpriority"))
        return setpriority(PRIO_PROCESS, 0, -3);
    if (!strcmp(which, "keyctl"))
        return syscall(SYS_keyctl, 0, -3, 0) < 0 ? -1 : 0;
    abort();
}

/* In a child: a filter may end it. */
static void calls(const char *which)
{
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) {
        number("call:", which, -1000 - errno);
        return;
    }
    if (!child) {
        int failed = call(which) == -1 ? errno & 0xff : 0;
        rmdir("/tmp/made-by-the-probe");
        unlink("/tmp/node");
        _exit(failed);
    }
    waitpid(child, &status, 0);
    number("call:", which, status);
}

static void capabilities(void)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2];
    unsigned long long bounding = 0, ambient = 0;
    char said[40];
    if (syscall(SYS_capget, &head, sets))
        memset(sets, 0xff, sizeof sets);
    for (int bit = 0; bit < 64; bit++) {
        bounding |= (unsigned long long)(prctl(PR_CAPBSET_READ, bit) == 1) << bit;
        int got = prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, bit, 0, 0) == 1;
        ambient |= (unsigned long long)got << bit;
    }
#define SET(member) ((unsigned long long)sets[1].member << 32 | sets[0].member)
    struct { const char *name; unsigned long long value; } all[] = {
        {"effective", SET(effective)}, {"permitted", SET(permitted)},
        {"inheritable", SET(inheritable)}, {"bounding", bounding}, {"ambient", ambient},
    };
    for (int at = 0; at < 5; at++) {
        snprintf(said, sizeof said, "%llx", all[at].value);
        words("capabilities:", all[at].name, said);
    }
}

static void limits(void)
{
    char of[12], said[80];
    struct rlimit limit;
    for (int kind = 0; kind < 16; kind++) {
        getrlimit(kind, &limit);
        snprintf(of, sizeof of, "%d", kind);
        snprintf(said, sizeof said, "%lu %lu", limit.rlim_cur, limit.rlim_max);
        words("limit:", of, said);
    }
}

static void ids(void)
{
    unsigned a, b, c;
    gid_t groups[256];
    char said[80];
    getresuid(&a, &b, &c);
    snprintf(said, sizeof said, "%u %u %u %u", a, b, c, (unsigned)syscall(SYS_setfsuid, -1));
    words("uids", "", said);
    getresgid(&a, &b, &c);
    snprintf(said, sizeof said, "%u %u %u %u", a, b, c, (unsigned)syscall(SYS_setfsgid, -1));
    words("gids", "", said);
    int count = getgroups(256, groups);
    name("groups", "");
    for (int at = 0; at < count; at++)
        printf("%s%u", at ? ", " : "[", groups[at]);
    printf(count > 0 ? "]" : "[]");
}

static void descriptors(void)
{
    char of[12], said[40];
    struct stat found;
    for (int fd = 0; fd < 1024; fd++) {
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fstat(fd, &found))
            continue;
        snprintf(of, sizeof of, "%d", fd);
        snprintf(said, sizeof said, "%o flags %o tty %d", found.st_mode & S_IFMT, flags, isatty(fd));
        words("fd:", of, said);
    }
}

static void signals(void)
{
    char said[600] = "";
    sigset_t blocked;
    sigprocmask(SIG_SETMASK, 0, &blocked);
    for (int number = 1; number < 65; number++) {
        /* The C library's own: a process in which a thread was cancelled once has what it spawns
         * ignore them (posix_spawn), and runC and crun hand that on. */
        if (number == 32 || number == 33)
            continue;
        struct { void (*handler)(int); unsigned long more[3]; } now = {0};
        syscall(SYS_rt_sigaction, number, 0, &now, 8);
        if (now.handler != SIG_DFL || sigismember(&blocked, number) == 1)
            snprintf(said + strlen(said), sizeof said - strlen(said), "%d%s%s ", number,
                     now.handler == SIG_DFL ? "" : " ignored",
                     sigismember(&blocked, number) == 1 ? " blocked" : "");
    }
    words("signals", "", said);
}

static void attributes(void)
{
    struct { unsigned size, policy; unsigned long long flags; int nice; unsigned priority;
             unsigned long long more[5]; } schedule = {0};
    char said[100];
    static const struct { const char *name; int option; } options[] = {
        {"no-new-privileges", PR_GET_NO_NEW_PRIVS}, {"dumpable", PR_GET_DUMPABLE},
        {"keep-capabilities", PR_GET_KEEPCAPS}, {"seccomp", PR_GET_SECCOMP},
        {"securebits", PR_GET_SECUREBITS}, {"timer-slack", PR_GET_TIMERSLACK},
        {"no-huge-pages", PR_GET_THP_DISABLE}, {"io-flusher", PR_GET_IO_FLUSHER},
    };
    for (unsigned at = 0; at < sizeof options / sizeof *options; at++)
        number("", options[at].name, result(prctl(options[at].option, 0, 0, 0, 0)));
    int value = -1;
    prctl(PR_GET_PDEATHSIG, &value);
    number("parent-death", "", value);
    prctl(PR_GET_CHILD_SUBREAPER, &value);
    number("subreaper", "", value);
    long got = syscall(SYS_sched_getattr, 0, &schedule, sizeof schedule, 0);
    snprintf(said, sizeof said, "%ld policy %u flags %llu nice %d priority %u", result(got),
             schedule.policy, schedule.flags, schedule.nice, schedule.priority);
    words("scheduler", "", said);
    number("io-priority", "", result(syscall(SYS_ioprio_get, 1, 0)));
    number("personality", "", result(personality(0xffffffff)));
    number("secure", "", getauxval(AT_SECURE));
    value = -1;
    got = syscall(SYS_get_mempolicy, &value, 0, 0, 0, 0);
    number("memory-policy", "", got ? -errno : value);
    unsigned long cpus[16] = {0};
    got = syscall(SYS_sched_getaffinity, 0, sizeof cpus, cpus);
    snprintf(said, sizeof said, "%lx", got > 0 ? cpus[0] : 0);
    words("cpus", "", said);
    char key[200] = "";
    got = syscall(SYS_keyctl, 6 /* KEYCTL_DESCRIBE */, -3, key, sizeof key - 1);
    words("keyring", "", got < 0 ? strerror(errno) : key);
}

static void place(void)
{
    struct utsname names;
    char at[4096] = "", said[100];
    struct ifreq device = {.ifr_name = "lo"};
    words("cwd", "", getcwd(at, sizeof at) ? at : strerror(errno));
    mode_t mask = umask(0);
    number("umask", "", mask);
    umask(mask);
    uname(&names);
    words("host-name", "", names.nodename);
    words("domain-name", "", names.domainname);
    words("machine", "", names.machine);
    snprintf(said, sizeof said, "leader of its session %d, of its group %d, parent inside %d",
             getsid(0) == getpid(), getpgrp() == getpid(), getppid() != 0);
    words("session", "", said);
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int got = any < 0 ? -1 : ioctl(any, SIOCGIFFLAGS, &device);
    number("loopback", "", got < 0 ? -errno : (device.ifr_flags & IFF_UP) != 0);
    close(any);
}

int main(int argc, char **argv, char **environment)
{
    static const char *const own[] = {
        "mountinfo", "cgroup", "oom_score_adj", "uid_map", "gid_map", "setgroups", "loginuid",
        "coredump_filter", "timens_offsets", "comm", "cmdline",
    };
    static const char *const kinds[] = {
        "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts",
    };
    char path[100], target[100];
    printf("{");
    descriptors();
    name("environment", "");
    printf("[");
    for (int at = 0; environment[at]; at++) {
        printf(at ? ", " : "");
        text(environment[at], strlen(environment[at]));
    }
    printf("]");
    capabilities();
    limits();
    ids();
    signals();
    attributes();
    place();
    for (unsigned at = 0; at < sizeof own / sizeof *own; at++) {
        snprintf(path, sizeof path, "/proc/self/%s", own[at]);
        file("file:", path);
    }
    for (unsigned at = 0; at < sizeof kinds / sizeof *kinds; at++) {
        snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[at]);
        ssize_t size = readlink(path, target, sizeof target - 1);
        target[size > 0 ? size : 0] = 0;
        words("namespace:", kinds[at], target);
    }
    for (int at = 1; at + 1 < argc; at += 2) {
        switch (*argv[at]) {
        case 'f': file("file:", argv[at + 1]); break;
        case 'p': rights(argv[at + 1]); break;
        case 'd': walk(argv[at + 1]); break;
        case 'o': opens(argv[at + 1]); break;
        case 'c': calls(argv[at + 1]); break;
        }
    }
    printf("\n}\n");
    return 0;
}
