/* Tries what `kokon why` was asked, one try after the other, and prints an errno for each:
 * 0 for what worked, -1 for what was opened and is empty, 1000 + N for what signal N ended. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALM (O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

static int closed(int fd)
{
    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

static int reads(const char *path)
{
    struct stat status;
    char byte;
    int fd = open(path, O_RDONLY | CALM);
    if (fd < 0)
        return errno;
    int result = 0;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        result = read(fd, &byte, 1) == 0 ? -1 : 0;
    if (S_ISDIR(status.st_mode)) {
        DIR *directory = fdopendir(dup(fd));
        int count = 0;
        while (directory && readdir(directory))
            count++;
        if (directory)
            closedir(directory);
        result = count <= 2 ? -1 : 0;
    }
    close(fd);
    return result;
}

/* What was made is removed again, where a link at the end has led. */
static int creates(const char *path, int exclusive)
{
    char name[64], where[4096];
    int fd = open(path, O_WRONLY | O_CREAT | exclusive | CALM, 0600);
    if (fd < 0)
        return errno;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, where, sizeof where - 1);
    where[length < 0 ? 0 : length] = 0;
    unlink(where);
    close(fd);
    return 0;
}

static int writes(const char *path)
{
    char below[4096];
    int error = closed(open(path, O_WRONLY | CALM));
    if (error == EISDIR) {
        snprintf(below, sizeof below, "%s/why-probe", path);
        return creates(below, O_EXCL);
    }
    return error == ENOENT ? creates(path, 0) : error;
}

/* Most of the files are no programs: the kernel says so (ENOEXEC) when it would execute them. */
static int executes(const char *path)
{
    int ends[2], error = 0;
    if (pipe2(ends, O_CLOEXEC))
        return errno;
    pid_t child = fork();
    if (child == 0) {
        char *words[] = {(char *)path, 0}, *none[] = {0};
        dup2(open("/dev/null", O_RDWR | O_CLOEXEC), 1);
        execve(path, words, none);
        error = errno;
        _exit(write(ends[1], &error, sizeof error) < 0);
    }
    close(ends[1]);
    if (read(ends[0], &error, sizeof error) < 0)
        error = errno;
    close(ends[0]);
    waitpid(child, 0, 0);
    return error == ENOEXEC ? 0 : error;
}

static int binds(int kind, int port)
{
    struct sockaddr_in address = {AF_INET, htons((unsigned short)port), {0}, {0}};
    int fd = socket(AF_INET, kind, 0);
    if (fd < 0)
        return errno;
    int error = 0;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) ||
        (kind == SOCK_STREAM && listen(fd, 1)))
        error = errno;
    close(fd);
    return error;
}

static int connects(const char *host)
{
    struct sockaddr_in address = {AF_INET, htons(9), {0}, {0}};
    inet_pton(AF_INET, host, &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    int error = connect(fd, (struct sockaddr *)&address, sizeof address) ? errno : 0;
    close(fd);
    return error;
}

static int calls(char *words)
{
    long number[7] = {0};
    for (int i = 0; i < 7 && words; i++)
        number[i] = (long)strtoul(strsep(&words, ","), 0, 0);
    int status;
    pid_t child = fork();
    if (child == 0) {
        long result = syscall(number[0], number[1], number[2], number[3], number[4], number[5],
                              number[6]);
        _exit(result == -1 ? errno : 0);
    }
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int has(int capability)
{
    struct { unsigned version; int pid; } header = {0x20080522, 0};
    struct { unsigned effective, permitted, inheritable; } data[2];
    if (syscall(SYS_capget, &header, data))
        return errno;
    return data[capability / 32].effective >> capability % 32 & 1 ? 0 : EPERM;
}

int main(int count, char **words)
{
    for (int i = 1; i + 1 < count; i += 2) {
        fflush(stdout);
        char *subject = words[i + 1];
        int result = ENOSYS;
        switch (words[i][0]) {
        case 'r': result = reads(subject); break;
        case 'w': result = writes(subject); break;
        case 'c': result = creates(subject, O_EXCL); break;
        case 'x': result = executes(subject); break;
        case 'd': result = closed(open(subject, O_RDONLY | CALM)); break;
        case 't': result = binds(SOCK_STREAM, atoi(subject)); break;
        case 'u': result = binds(SOCK_DGRAM, atoi(subject)); break;
        case 'n': result = connects(subject); break;
        case 's': result = calls(subject); break;
        case 'k': result = has(atoi(subject)); break;
        case 'p': result = kill(atoi(subject), 0) ? errno : 0; break;
        }
        printf("%d\n", result);
    }
    return 0;
}
