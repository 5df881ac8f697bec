/* Load the filter in the file argv[1], if it is not empty, then make each call that standard input
 * names, "ABI NUMBER ARG*6" in hexadecimal, and print what it answers: 0, or the error's number. */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static long native(unsigned long n, const unsigned long *a)
{
#ifdef __x86_64__
    long result;
    register unsigned long r10 __asm__("r10") = a[3];
    register unsigned long r8 __asm__("r8") = a[4];
    register unsigned long r9 __asm__("r9") = a[5];
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(n), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#else
    register unsigned long x8 __asm__("x8") = n;
    register unsigned long x0 __asm__("x0") = a[0];
    register unsigned long x1 __asm__("x1") = a[1];
    register unsigned long x2 __asm__("x2") = a[2];
    register unsigned long x3 __asm__("x3") = a[3];
    register unsigned long x4 __asm__("x4") = a[4];
    register unsigned long x5 __asm__("x5") = a[5];
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
#endif
}

static long compat(unsigned long n, const unsigned long *a)
{
#ifdef __x86_64__
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(n), "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4])
                     : "r8", "r9", "r10", "r11", "memory");
    return (int)result;
#else
    (void)n;
    (void)a;
    return -38;
#endif
}

int main(int argc, char **argv)
{
    static struct sock_filter code[4096];
    unsigned long a[6], abi, n;
    long size = 0;
    int fd = argc > 1 ? open(argv[1], O_RDONLY) : -1;

    if (fd < 0 || (size = read(fd, code, sizeof code)) < 0)
        return 2;
    if (size) {
        struct sock_fprog program = {size / sizeof *code, code};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
            syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
            return 3;
    }
    while (scanf("%lx %lx %lx %lx %lx %lx %lx %lx", &abi, &n, a, a + 1, a + 2, a + 3, a + 4,
                 a + 5) == 8) {
        long result = abi ? compat(n, a) : native(n, a);
        printf("%ld\n", result < 0 && result > -4096 ? -result : 0);
        fflush(stdout);
    }
    return 0;
}
