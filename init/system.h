/* System calls without a C library, for x86-64 and aarch64.
 *
 * A call returns what the kernel returns: a result, or -errno. There is no errno
 * variable, no heap and no start-up code; a program names its first function with
 * PROGRAM_START. Structures and constants that are younger than the oldest headers we
 * build with are defined here, so <linux/mount.h>, <linux/openat2.h>, <linux/sched.h>
 * and <linux/fcntl.h> (which includes openat2.h) are not included beside this file.
 */
#ifndef KOKON_SYSTEM_H
#define KOKON_SYSTEM_H

#include <asm/errno.h>
#include <asm/fcntl.h>
#include <asm/unistd.h>
#include <stddef.h>
#include <stdint.h>

/* The entry point: calls `void function(long *stack)`, which must not return, with the
 * stack as execve(2) left it: argc, argv..., NULL, envp..., NULL, auxv. */
#if defined(__x86_64__)
#define PROGRAM_START(function)                                                               \
    __attribute__((used, noreturn)) void function(long *stack);                               \
    __asm__(".pushsection .text.start,\"ax\",@progbits\n"                                     \
            ".global _start\n.type _start,@function\n_start:\n"                               \
            "xor %ebp,%ebp\nmov %rsp,%rdi\nand $-16,%rsp\ncall " #function "\nhlt\n"          \
            ".popsection\n")
#elif defined(__aarch64__)
#define PROGRAM_START(function)                                                               \
    __attribute__((used, noreturn)) void function(long *stack);                               \
    __asm__(".pushsection .text.start,\"ax\",%progbits\n"                                     \
            ".global _start\n.type _start,%function\n_start:\n"                               \
            "mov x29,#0\nmov x30,#0\nmov x0,sp\nand sp,x0,#-16\nbl " #function "\nbrk #1\n"   \
            ".popsection\n")
#else
#error "kokon's programs know the system calls of x86-64 and aarch64 only"
#endif

static inline __attribute__((always_inline)) long system_call(long number, long a, long b, long c,
                                                              long d, long e, long f)
{
#if defined(__x86_64__)
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#else
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc #0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
#endif
}

/* Calls `void function(void)`, which must not return, in a thread of ours on a stack of its own;
 * `top` is the stack's end, aligned to 16. The parent gets the thread's number. */
#if defined(__x86_64__)
#define START_THREAD(result, flags, top, function)                                            \
    do {                                                                                      \
        register long r10 __asm__("r10") = 0;                                                 \
        register long r8 __asm__("r8") = 0;                                                   \
        __asm__ volatile("syscall\ntest %%rax,%%rax\njnz 1f\n"                                \
                         "xor %%ebp,%%ebp\ncall " #function "\nhlt\n1:"                       \
                         : "=a"(result)                                                       \
                         : "a"((long)__NR_clone), "D"((long)(flags)), "S"((long)(top)),       \
                           "d"(0L), "r"(r10), "r"(r8)                                         \
                         : "rcx", "r11", "memory");                                           \
    } while (0)
#else
#define START_THREAD(result, flags, top, function)                                            \
    do {                                                                                      \
        register long x8 __asm__("x8") = __NR_clone;                                          \
        register long x0 __asm__("x0") = (long)(flags);                                       \
        register long x1 __asm__("x1") = (long)(top);                                         \
        register long x2 __asm__("x2") = 0;                                                   \
        register long x3 __asm__("x3") = 0;                                                   \
        register long x4 __asm__("x4") = 0;                                                   \
        __asm__ volatile("svc #0\ncbnz x0,1f\n"                                               \
                         "mov x29,#0\nmov x30,#0\nbl " #function "\nbrk #1\n1:"               \
                         : "+r"(x0)                                                           \
                         : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4)                        \
                         : "memory", "cc");                                                   \
        (result) = x0;                                                                        \
    } while (0)
#endif

/* Arguments may be integers or pointers. Unused ones are passed as zero, which also keeps
 * the kernel's later extensions of a call from reading garbage. */
#define syscall0(n) system_call((n), 0, 0, 0, 0, 0, 0)
#define syscall1(n, a) system_call((n), (long)(a), 0, 0, 0, 0, 0)
#define syscall2(n, a, b) system_call((n), (long)(a), (long)(b), 0, 0, 0, 0)
#define syscall3(n, a, b, c) system_call((n), (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define syscall4(n, a, b, c, d) \
    system_call((n), (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define syscall5(n, a, b, c, d, e) \
    system_call((n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define syscall6(n, a, b, c, d, e, f) \
    system_call((n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static inline __attribute__((noreturn, always_inline)) void exit_group(int status)
{
    syscall1(__NR_exit_group, status);
    /* A filter that refuses even this leaves only a fault. */
    __builtin_trap();
}

/* The compiler emits calls to these even in a freestanding program. They are weak so that
 * several files may include this header. A hosted build (sanitizers, fuzzing) has the C
 * library's, which the sanitizers watch. The empty asm keeps the compiler from recognizing
 * the loop and replacing it with a call to itself. */
#if __STDC_HOSTED__
#include <string.h>
#else
#define MEMORY_FUNCTION __attribute__((weak, used))

MEMORY_FUNCTION void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    unsigned char *target = to;
    const unsigned char *source = from;
    while (count--) {
        *target++ = *source++;
        __asm__ volatile("" ::: "memory");
    }
    return to;
}

MEMORY_FUNCTION void *memmove(void *to, const void *from, size_t count)
{
    unsigned char *target = to;
    const unsigned char *source = from;
    if (target <= source)
        return memcpy(to, from, count);
    while (count--) {
        target[count] = source[count];
        __asm__ volatile("" ::: "memory");
    }
    return to;
}

MEMORY_FUNCTION void *memset(void *to, int value, size_t count)
{
    unsigned char *target = to;
    while (count--) {
        *target++ = (unsigned char)value;
        __asm__ volatile("" ::: "memory");
    }
    return to;
}

MEMORY_FUNCTION int memcmp(const void *left, const void *right, size_t count)
{
    const unsigned char *a = left, *b = right;
    for (; count; count--, a++, b++)
        if (*a != *b)
            return *a - *b;
    return 0;
}

MEMORY_FUNCTION size_t strlen(const char *text)
{
    size_t length = 0;
    while (text[length]) {
        length++;
        __asm__ volatile("" ::: "memory");
    }
    return length;
}
#endif

/* Calls since Linux 5.2 have the same number on every architecture. */
#ifndef __NR_pidfd_send_signal
#define __NR_pidfd_send_signal 424
#endif
#ifndef __NR_open_tree
#define __NR_open_tree 428
#endif
#ifndef __NR_move_mount
#define __NR_move_mount 429
#endif
#ifndef __NR_fsopen
#define __NR_fsopen 430
#endif
#ifndef __NR_fsconfig
#define __NR_fsconfig 431
#endif
#ifndef __NR_fsmount
#define __NR_fsmount 432
#endif
#ifndef __NR_fspick
#define __NR_fspick 433
#endif
#ifndef __NR_pidfd_open
#define __NR_pidfd_open 434
#endif
#ifndef __NR_clone3
#define __NR_clone3 435
#endif
#ifndef __NR_close_range
#define __NR_close_range 436
#endif
#ifndef __NR_openat2
#define __NR_openat2 437
#endif
#ifndef __NR_pidfd_getfd
#define __NR_pidfd_getfd 438
#endif
#ifndef __NR_faccessat2
#define __NR_faccessat2 439
#endif
#ifndef __NR_mount_setattr
#define __NR_mount_setattr 442
#endif
#ifndef __NR_landlock_create_ruleset
#define __NR_landlock_create_ruleset 444
#define __NR_landlock_add_rule 445
#define __NR_landlock_restrict_self 446
#endif
#ifndef __NR_fchmodat2
#define __NR_fchmodat2 452
#endif

/* openat2(2) */
struct open_how {
    uint64_t flags, mode, resolve;
};
#define RESOLVE_NO_XDEV 0x01
#define RESOLVE_NO_MAGICLINKS 0x02
#define RESOLVE_NO_SYMLINKS 0x04
#define RESOLVE_BENEATH 0x08
#define RESOLVE_IN_ROOT 0x10

/* mount_setattr(2) */
struct mount_attr {
    uint64_t attr_set, attr_clr, propagation, userns_fd;
};
#define MOUNT_ATTR_RDONLY 0x1
#define MOUNT_ATTR_NOSUID 0x2
#define MOUNT_ATTR_NODEV 0x4
#define MOUNT_ATTR_NOEXEC 0x8
#define MOUNT_ATTR_IDMAP 0x100000
#define MOUNT_ATTR_NOSYMFOLLOW 0x200000

/* clone3(2), with the cgroup field of Linux 5.7 */
struct clone_args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
        set_tid_size, cgroup;
};
#define CLONE_VM 0x00000100
#define CLONE_FS 0x00000200
#define CLONE_FILES 0x00000400
#define CLONE_SIGHAND 0x00000800
#define CLONE_THREAD 0x00010000
#define CLONE_VFORK 0x00004000
#define CLONE_PIDFD 0x00001000
#define CLONE_PARENT 0x00008000
#define CLONE_NEWTIME 0x00000080
#define CLONE_NEWNS 0x00020000
#define CLONE_NEWCGROUP 0x02000000
#define CLONE_NEWUTS 0x04000000
#define CLONE_NEWIPC 0x08000000
#define CLONE_NEWUSER 0x10000000
#define CLONE_NEWPID 0x20000000
#define CLONE_NEWNET 0x40000000
#define CLONE_INTO_CGROUP 0x200000000ULL

/* open_tree(2), move_mount(2), fsopen(2), fsconfig(2), fsmount(2) */
#define OPEN_TREE_CLONE 1
#define OPEN_TREE_CLOEXEC O_CLOEXEC
#define MOVE_MOUNT_F_EMPTY_PATH 0x04
#define MOVE_MOUNT_T_SYMLINKS 0x10
#define MOVE_MOUNT_T_EMPTY_PATH 0x40
#define FSOPEN_CLOEXEC 1
#define FSMOUNT_CLOEXEC 1
#define FSCONFIG_SET_FLAG 0
#define FSCONFIG_SET_STRING 1
#define FSCONFIG_SET_BINARY 2
#define FSCONFIG_SET_FD 5
#define FSCONFIG_CMD_CREATE 6
#define FSCONFIG_CMD_RECONFIGURE 7

/* The part of <linux/fcntl.h> that has no architecture in it */
#define AT_FDCWD (-100)
#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_REMOVEDIR 0x200
#define AT_SYMLINK_FOLLOW 0x400
#define AT_EMPTY_PATH 0x1000
#define AT_RECURSIVE 0x8000

#endif
