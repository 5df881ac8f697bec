/* Checks a plan's form and turns its offsets into pointers. The plan comes from kokon itself;
 * the check is here so that a mistake there is an error and never a wild pointer (row E14). */
#include "init.h"

/* The heap begins after the ops, so that no list overwrites an op that was checked. */
struct buffer {
    unsigned char *bytes;
    uint64_t size, heap;
};

static int inside(const struct buffer *b, uint64_t offset, uint64_t size)
{
    return offset >= b->heap && offset <= b->size && size <= b->size - offset;
}

/* A NUL-terminated string at `offset`: the buffer's last byte is known to be NUL. */
static int check_text(const struct buffer *b, uint64_t *field)
{
    if (!inside(b, *field, 1))
        return -EINVAL;
    *field = (uint64_t)(uintptr_t)(b->bytes + *field);
    return 0;
}

static int check_data(const struct buffer *b, uint64_t *field)
{
    if (field[0] % 8 || !inside(b, field[0], field[1]))
        return -EINVAL;
    field[0] = (uint64_t)(uintptr_t)(b->bytes + field[0]);
    return 0;
}

/* A count, then that many offsets (0 is a null pointer), then two nulls: the list may be walked
 * in pairs too. A list over another meets its pointers, which are no offsets, and is refused. */
static int check_list(const struct buffer *b, uint64_t *field)
{
    if (*field % 8 || !inside(b, *field, 24))
        return -EINVAL;
    uint64_t *list = (uint64_t *)(void *)(b->bytes + *field);
    uint64_t count = list[0];
    if (count > b->size / 8 || !inside(b, *field, (count + 3) * 8) || list[count + 1] ||
        list[count + 2])
        return -EINVAL;
    for (uint64_t i = 1; i <= count; i++)
        if (list[i] && check_text(b, &list[i]))
            return -EINVAL;
    *field = (uint64_t)(uintptr_t)&list[1];
    return 0;
}

static int check_op(const struct buffer *b, struct op *op)
{
    const char *kinds = op_kinds[op->code];
    uint64_t *field = (uint64_t *)(void *)(op + 1);
    uint64_t left = (op->size - sizeof *op) / 8;
    for (; *kinds; kinds++) {
        uint64_t width = *kinds == 'd' ? 2 : 1;
        if (left < width)
            return -EINVAL;
        int bad = 0;
        switch (*kinds) {
        case 's': bad = (int64_t)*field < -1 || (int64_t)*field >= MAX_SLOTS; break;
        case 't': bad = check_text(b, field); break;
        case 'd': bad = check_data(b, field); break;
        case 'l': bad = check_list(b, field); break;
        }
        if (bad)
            return -EINVAL;
        field += width;
        left -= width;
    }
    return left ? -EINVAL : 0;
}

/* Where the ops end, or 0 when one of them has no code, or no size that fits. */
static uint64_t end_of_ops(const unsigned char *bytes, uint64_t size)
{
    const struct plan *plan = (const struct plan *)(const void *)bytes;
    uint64_t at = plan->first;
    for (uint32_t i = 0; i < plan->ops; i++) {
        const struct op *op = (const struct op *)(const void *)(bytes + at);
        if (size - at < sizeof *op || op->code == 0 || op->code > OP_COUNT ||
            op->size < sizeof *op || op->size % 8 || op->size > size - at)
            return 0;
        at += op->size;
    }
    return at;
}

/* Returns the number of ops, or -EINVAL. `bytes` is 8-aligned and writable. */
long check_plan(unsigned char *bytes, uint64_t size)
{
    struct plan *plan = (struct plan *)(void *)bytes;
    if (size < sizeof *plan + 1 || plan->magic != PLAN_MAGIC || plan->version != PLAN_VERSION ||
        plan->size != size || bytes[size - 1] || plan->inherited > MAX_SLOTS ||
        plan->preserved > REPORT_FD - 3 ||
        plan->first != sizeof *plan)
        return -EINVAL;
    uint64_t end = end_of_ops(bytes, size), at = plan->first;
    struct buffer b = {bytes, size, end};
    for (uint32_t i = 0; i < plan->ops; i++) {
        struct op *op = (struct op *)(void *)(bytes + at);
        if (!end || check_op(&b, op))
            return -EINVAL;
        at += op->size;
    }
    return plan->ops;
}
