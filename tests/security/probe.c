/* What a hostile program tries from inside a container. Each command prints one line for each
 * attempt: its name and "ok" or the number of the error.
 *
 *   call ABI:NUMBER[:ARG,...]...   system calls, ABI n (native) or c (32-bit), in hexadecimal
 *   open FLAGS PATH...             open(2), flags octal
 *   walk PATH                      leave the root by chroot and a kept directory, then open PATH;
 *                                  again when what is mounted on / is taken off, and by the
 *                                  root of the mount namespace
 *   trace PID...                   all that ptrace access gives of another process
 *   watch SECONDS PARENT [FILE]    reach into every new child of PARENT, as long as it lives; with
 *                                  FILE: reach that file of the host through it
 *   type                           push input into the terminal that is descriptor 0
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void say(const char *what, int failed)
{
    if (failed)
        printf("%s %d\n", what, errno);
    else
        printf("%s ok\n", what);
}

static long native(unsigned long n, const unsigned long *a)
{
    return syscall((long)n, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static long compat(unsigned long n, const unsigned long *a)
{
#ifdef __x86_64__
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(n), "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4])
                     : "r8", "r9", "r10", "r11", "memory");
    errno = (int)result < 0 && (int)result > -4096 ? -(int)result : 0;
    return errno ? -1 : (int)result;
#else
    (void)n;
    (void)a;
    errno = ENOSYS;
    return -1;
#endif
}

static void call(const char *text)
{
    unsigned long a[6] = {0};
    char *at;
    unsigned long number = strtoul(text + 2, &at, 16);
    for (int i = 0; i < 6 && *at; i++)
        a[i] = strtoul(at + 1, &at, 16);
    errno = 0;
    say(text, (text[0] == 'c' ? compat : native)(number, a) == -1 && errno);
}

static void walk(const char *path)
{
    int top = open("/", O_RDONLY | O_DIRECTORY), mounts = open("/proc/self/ns/mnt", O_RDONLY);
    mkdir("/tmp/below", 0700);
    say("chroot", chroot("/tmp/below"));
    say("fchdir", fchdir(top));
    for (int i = 0; i < 64; i++)
        if (chdir(".."))
            break;
    say("chroot .", chroot("."));
    say("outside", open(path, O_RDONLY) < 0);
    if (fchdir(top) || chroot(".") || umount2("/", MNT_DETACH) || chdir("/"))
        umount2(".", MNT_DETACH);
    for (int i = 0; i < 4; i++)
        if (chdir("..") || chroot("."))
            break;
    say("beneath", open(path, O_RDONLY) < 0);
    say("setns", setns(mounts, CLONE_NEWNS));
    say("rejoined", open(path, O_RDONLY) < 0);
    struct stat above, here;
    int same = !stat("/..", &above) && !stat("/", &here) && above.st_ino == here.st_ino &&
               above.st_dev == here.st_dev;
    printf("the same %s\n", same ? "ok" : "no");
}

static int opens(int pid, const char *file, int flags)
{
    char path[512];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    int fd = open(path, flags);
    if (fd >= 0)
        close(fd);
    return fd;
}

/* 1 when anything of it was reached. */
static int trace(int pid)
{
    char byte, path[64], target[256];
    int reached = 0, failed;
    struct iovec here = {&byte, 1}, there = {(void *)0x400000, 1};
    failed = ptrace(PTRACE_SEIZE, pid, 0, 0) < 0;
    if (!failed) {
        ptrace(PTRACE_INTERRUPT, pid, 0, 0);
        waitpid(pid, 0, __WALL);
        ptrace(PTRACE_DETACH, pid, 0, 0);
    }
    say("ptrace", failed);
    reached |= !failed;
    /* EFAULT: allowed, but nothing is there. */
    failed = process_vm_readv(pid, &here, 1, &there, 1, 0) < 0 && errno != EFAULT;
    say("process_vm_readv", failed);
    reached |= !failed;
    static const struct { const char *name; int flags; } files[] = {
        {"mem", O_RDWR}, {"environ", O_RDONLY}, {"maps", O_RDONLY}, {"root/.", O_RDONLY},
        {"cwd/.", O_RDONLY}, {"exe", O_RDONLY}, {"exe", O_WRONLY}, {"fd/0", O_RDWR},
        {"fd/200", O_RDWR},
    };
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
        failed = opens(pid, files[i].name, files[i].flags) < 0;
        say(files[i].name, failed);
        reached |= !failed;
    }
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    failed = readlink(path, target, sizeof target) < 0;
    say("readlink exe", failed);
    return reached | !failed;
}

static int parent_of(int pid)
{
    char path[64], text[256];
    int parent = -1;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY);
    ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    text[got > 0 ? got : 0] = 0;
    char *end = strrchr(text, ')');
    if (end)
        sscanf(end + 1, " %*c %d", &parent);
    if (fd >= 0)
        close(fd);
    return parent;
}

/* The file by a directory that the process has open, and from there to the top. */
static int by_descriptors(int pid, const char *file)
{
    char path[512];
    int found = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *all = opendir(path);
    struct dirent *entry;
    while (all && (entry = readdir(all))) {
        snprintf(path, sizeof path, "fd/%s/../../../../../../../..%s", entry->d_name, file);
        found |= entry->d_name[0] != '.' && opens(pid, path, O_RDONLY) >= 0;
    }
    if (all)
        closedir(all);
    return found;
}

static void watch(double seconds, int parent, const char *file)
{
    static char known[1 << 22], outside[256];
    snprintf(outside, sizeof outside, "root%s", file);
    struct timespec start, now;
    int first = 1, seen = 0, reached = 0;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        DIR *all = opendir("/proc");
        struct dirent *entry;
        while ((entry = readdir(all))) {
            int pid = atoi(entry->d_name);
            if (pid <= 0 || known[pid])
                continue;
            known[pid] = 1;
            while (!first && parent_of(pid) == parent) {
                seen++;
                if (*file ? opens(pid, outside, O_RDONLY) >= 0 || by_descriptors(pid, file)
                          : opens(pid, "mem", O_RDWR) >= 0 || opens(pid, "environ", O_RDONLY) >= 0) {
                    reached++;
                    break;
                }
            }
        }
        closedir(all);
        first = 0;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((double)(now.tv_sec - start.tv_sec) + (now.tv_nsec - start.tv_nsec) / 1e9 < seconds);
    printf("seen %d\nreached %d\n", seen, reached);
}

static void type(void)
{
    char c = '!';
    static const struct { const char *name; unsigned long number; } requests[] = {
        {"TIOCSTI", 0x5412}, {"TIOCSTI high", (1UL << 32) + 0x5412}, {"TIOCLINUX", 0x541C},
        {"TIOCLINUX high", (1UL << 32) + 0x541C},
    };
    for (unsigned i = 0; i < sizeof requests / sizeof *requests; i++)
        say(requests[i].name, syscall(SYS_ioctl, 0, requests[i].number, &c) < 0);
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    setvbuf(stdout, 0, _IOLBF, 0);
    if (!strcmp(command, "call"))
        for (int i = 2; i < argc; i++)
            call(argv[i]);
    else if (!strcmp(command, "open"))
        for (int i = 3; i < argc; i++)
            say(argv[i], open(argv[i], (int)strtol(argv[2], 0, 8), 0600) < 0);
    else if (!strcmp(command, "walk"))
        walk(argv[2]);
    else if (!strcmp(command, "trace"))
        for (int i = 2; i < argc; i++)
            trace(atoi(argv[i]));
    else if (!strcmp(command, "watch"))
        watch(atof(argv[2]), atoi(argv[3]), argc > 4 ? argv[4] : "");
    else if (!strcmp(command, "type"))
        type();
    else
        return 2;
    return 0;
}
