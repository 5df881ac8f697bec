/* Feeds damaged plans to init's check_plan under the sanitizers.
 *
 * The input is a whole plan. What check_plan takes is then used as init's handlers would use it:
 * every text to its NUL, every list to its null pointer, every byte of data, every slot as an
 * index. A wild pointer that got through is caught there.
 *
 * With libFuzzer (-fsanitize=fuzzer) the library mutates. Without it (-DSTANDALONE) this file
 * does, from a fixed seed:     check_plan ROUNDS PLAN...
 */
#include "init.h"

#include <stdio.h>
#include <stdlib.h>

int step, go_pipe[2], stage1_pidfd, in_container;
long child_pid;

static volatile uint64_t used;
static unsigned char slots[MAX_SLOTS + 1];

static void use_text(const char *text)
{
    used += strlen(text);
}

static void use_op(const struct op *op)
{
    const uint64_t *field = (const uint64_t *)(const void *)(op + 1);
    for (const char *kind = op_kinds[op->code]; *kind; kind++, field++) {
        switch (*kind) {
        case 's': used += slots[(int64_t)*field + 1]; break;
        case 't': use_text((const char *)(uintptr_t)*field); break;
        case 'd':
            for (uint64_t i = 0; i < field[1]; i++)
                used += ((const unsigned char *)(uintptr_t)field[0])[i];
            field++;
            break;
        case 'l':
            for (char *const *entry = (char *const *)(uintptr_t)*field; *entry; entry++)
                use_text(*entry);
            for (char *const *pair = (char *const *)(uintptr_t)*field; *pair; pair += 2)
                use_text(pair[1] ? pair[1] : pair[0]);
            break;
        default: used += *field;
        }
    }
}

static void use_plan(unsigned char *bytes)
{
    const struct plan *plan = (const struct plan *)(const void *)bytes;
    const unsigned char *at = bytes + plan->first;
    for (uint32_t i = 0; i < plan->ops; i++) {
        const struct op *op = (const struct op *)(const void *)at;
        use_op(op);
        at += op->size;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char *bytes = malloc(size ? size : 1);
    memcpy(bytes, data, size);
    if (check_plan(bytes, size) >= 0)
        use_plan(bytes);
    free(bytes);
    return 0;
}

#ifdef STANDALONE
static uint64_t state = 0x9e3779b97f4a7c15;

static uint64_t random_below(uint64_t limit)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return limit ? state % limit : 0;
}

static void put(unsigned char *bytes, size_t at, const void *value, size_t width, size_t size)
{
    if (at + width <= size)
        memcpy(bytes + at, value, width);
}

/* Returns the new size. Most mutations hit whole words, which is what a plan is made of. */
static size_t mutate(unsigned char *bytes, size_t size)
{
    uint64_t edges[] = {0, 1, 2, 7, 8, 15, 16, size - 1, size, size + 1, size - 8, size / 8,
                        1ULL << 31, 1ULL << 32, 1ULL << 63, ~0ULL, ~0ULL - 7, MAX_SLOTS};
    uint64_t word = edges[random_below(sizeof edges / sizeof *edges)], small = random_below(size);
    uint32_t half = (uint32_t)random_below(64);
    switch (random_below(7)) {
    case 0: bytes[random_below(size)] ^= (unsigned char)(1 << random_below(8)); break;
    case 1: put(bytes, random_below(size / 8) * 8, &word, 8, size); break;
    case 2: put(bytes, random_below(size / 8) * 8, &small, 8, size); break;
    case 3: small -= small % 8; put(bytes, random_below(size / 8) * 8, &small, 8, size); break;
    case 4: put(bytes, random_below(size / 4) * 4, &half, 4, size); break;
    case 5:
        memmove(bytes + random_below(size / 16) * 8, bytes + random_below(size / 16) * 8, size / 4);
        break;
    default: size = 1 + random_below(size); bytes[size - 1] = 0;
    }
    if (size >= sizeof(struct plan) && random_below(8))
        ((struct plan *)(void *)bytes)->size = (uint32_t)size;
    return size;
}

static int fuzz_file(const char *name, unsigned long rounds)
{
    FILE *file = fopen(name, "rb");
    if (!file)
        return 1;
    static unsigned char valid[1 << 20], damaged[1 << 20];
    size_t whole = fread(valid, 1, sizeof valid, file);
    fclose(file);
    memcpy(damaged, valid, whole);
    if (whole < sizeof(struct plan) || check_plan(damaged, whole) < 0) {
        fprintf(stderr, "%s is no valid plan\n", name);
        return 1;
    }
    LLVMFuzzerTestOneInput(valid, whole);
    while (rounds--) {
        memcpy(damaged, valid, whole);
        size_t size = whole;
        for (uint64_t n = 1 + random_below(4); n; n--)
            size = mutate(damaged, size);
        LLVMFuzzerTestOneInput(damaged, size);
    }
    return 0;
}

int main(int count, char **words)
{
    int bad = 0;
    unsigned long rounds = count > 1 ? strtoul(words[1], 0, 10) : 0;
    for (int i = 2; i < count; i++)
        bad |= fuzz_file(words[i], rounds);
    return bad;
}
#endif
