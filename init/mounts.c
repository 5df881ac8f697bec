/* Mounts, from descriptor to descriptor (fsopen, open_tree, move_mount). */
#include "init.h"

#define TREE_FLAGS (OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)

static int set_attributes(int fd, uint64_t set, uint64_t clear, uint64_t propagation,
                          int recursive, int user_namespace)
{
    struct mount_attr attributes = {set, clear, propagation, 0};
    if (user_namespace >= 0)
        attributes.userns_fd = (uint64_t)user_namespace;
    return (int)syscall5(__NR_mount_setattr, fd, "",
                         AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attributes,
                         sizeof attributes);
}

static int move_mount(int from, int to)
{
    return (int)syscall5(__NR_move_mount, from, "", to, "",
                         MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

int do_propagation(const struct op_propagation *op)
{
    struct mount_attr attributes = {0, 0, op->propagation, 0};
    TRY(0, syscall5(__NR_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &attributes,
                    sizeof attributes));
    return 0;
}

/* Options are pairs of key and value; no value makes it a flag. */
static int configure(int context, char **options)
{
    for (; options[0]; options += 2) {
        long result = syscall5(__NR_fsconfig, context,
                               options[1] ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, options[0],
                               options[1], 0);
        if (result < 0)
            return (int)result;
    }
    return 0;
}

int do_filesystem(const struct op_filesystem *op)
{
    int context;
    TRY(0, context = (int)syscall2(__NR_fsopen, op->type, FSOPEN_CLOEXEC));
    step = 1;
    long result = configure(context, op->options);
    if (result >= 0) {
        step = 2;
        result = syscall5(__NR_fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0);
    }
    if (result >= 0) {
        step = 3;
        result = syscall3(__NR_fsmount, context, FSMOUNT_CLOEXEC, op->attributes);
    }
    close_fd(context);
    if (result < 0)
        return (int)result;
    slot_set(op->slot, (int)result);
    return 0;
}

int do_clone_mount(const struct op_clone_mount *op)
{
    int fd;
    TRY(0, fd = (int)syscall3(__NR_open_tree, slot_base(op->base), op->path,
                              TREE_FLAGS | (op->recursive ? AT_RECURSIVE : 0)));
    slot_set(op->slot, fd);
    return 0;
}

int do_clone_descriptor(const struct op_clone_descriptor *op)
{
    int fd;
    TRY(0, fd = (int)syscall3(__NR_open_tree, slot_fd(op->source), "",
                              TREE_FLAGS | AT_EMPTY_PATH));
    slot_set(op->slot, fd);
    return 0;
}

int do_mount_attributes(const struct op_mount_attributes *op)
{
    TRY(0, set_attributes(slot_fd(op->slot), op->set, op->clear, op->propagation,
                          (int)op->recursive, slot_fd(op->user_namespace)));
    return 0;
}

int do_attach_anywhere(const struct op_attach_anywhere *op)
{
    TRY(0, syscall5(__NR_move_mount, slot_fd(op->slot), "", AT_FDCWD, op->path,
                    MOVE_MOUNT_F_EMPTY_PATH));
    return 0;
}

int do_attach(const struct op_attach *op)
{
    int target = open_target(slot_fd(op->root), op->target, op->nofollow ? O_NOFOLLOW : 0,
                             op->resolve, (int)op->create);
    if (target < 0)
        return target;
    step = 3;
    int result = move_mount(slot_fd(op->slot), target);
    close_fd(target);
    return result;
}

/* Before it covers the directory: whoever looks there finds the same mode. */
int do_take_mode(const struct op_take_mode *op)
{
    struct stat_head status;
    int target = openat2(slot_fd(op->root), op->target, O_PATH,
                         RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    step = 0;
    if (target < 0)
        return target == -ENOENT ? 0 : target;
    step = 1;
    long result = syscall4(__NR_newfstatat, target, "", &status, AT_EMPTY_PATH);
    close_fd(target);
    if (result < 0)
        return (int)result;
    int fd;
    TRY(2, fd = (int)syscall4(__NR_openat, slot_fd(op->slot), ".",
                              O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
    step = 3;
    result = syscall2(__NR_fchmod, fd, status.mode & 07777);
    close_fd(fd);
    return (int)result;
}

int do_check_filesystem(const struct op_check_filesystem *op)
{
    struct statfs_head status;
    int fd;
    TRY(0, fd = openat2(slot_fd(op->root), op->path, O_PATH | O_NOFOLLOW,
                        RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS));
    step = 1;
    long result = syscall2(__NR_fstatfs, fd, &status);
    close_fd(fd);
    if (result < 0)
        return (int)result;
    step = 2;
    return (uint64_t)status.type == op->magic ? 0 : -EINVAL;
}

/* Opens a target for hiding: no link may lead there, and only "it is not there" is no error. */
static int open_hidden(int root, const char *path, uint64_t skip)
{
    while (skip && *path)
        skip--, path++;
    step = 0;
    /* Not O_NOFOLLOW, with which a link at the end would be opened itself and covered. */
    return openat2(root, path, O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
}

int do_mask(const struct op_mask *op)
{
    struct stat_head status;
    int target = open_hidden(slot_fd(op->root), op->target, op->skip);
    if (target < 0)
        return target == -ENOENT ? 0 : target;
    step = 1;
    long result = syscall4(__NR_newfstatat, target, "", &status, AT_EMPTY_PATH);
    if (result >= 0) {
        step = 2;
        const char *template = (status.mode & 0170000) == 0040000 ? "empty-directory" : "empty-file";
        result = syscall3(__NR_open_tree, slot_fd(op->templates), template, TREE_FLAGS);
    }
    if (result >= 0) {
        int cover = (int)result;
        step = 3;
        result = move_mount(cover, target);
        close_fd(cover);
    }
    close_fd(target);
    return result < 0 ? (int)result : 0;
}

int do_read_only(const struct op_read_only *op)
{
    int target = open_hidden(slot_fd(op->root), op->target, op->skip);
    if (target < 0)
        return target == -ENOENT ? 0 : target;
    step = 1;
    long result = syscall3(__NR_open_tree, target, "", TREE_FLAGS | AT_EMPTY_PATH | AT_RECURSIVE);
    if (result >= 0) {
        int copy = (int)result;
        step = 2;
        result = set_attributes(copy, MOUNT_ATTR_RDONLY, 0, 0, 1, -1);
        if (result >= 0) {
            step = 3;
            result = move_mount(copy, target);
        }
        close_fd(copy);
    }
    close_fd(target);
    return result < 0 ? (int)result : 0;
}

int do_pivot(const struct op_pivot *op)
{
    TRY(0, syscall1(__NR_fchdir, slot_fd(op->root)));
    TRY(1, syscall2(__NR_pivot_root, ".", "."));
    TRY(2, syscall2(__NR_umount2, ".", 2 /* MNT_DETACH */));
    TRY(3, syscall1(__NR_chdir, "/"));
    return 0;
}
