/* Feeds damaged saved runs to the launcher's check_saved under the sanitizers.
 *
 * The input is a whole saved run. What check_saved takes is then used as the launcher uses it: holes
 * are filled, the plan is completed with arguments, every text is read to its zero. A wild offset
 * that got through is caught there. tests/fuzz/check_plan.c tells how it is run.
 */
#include "saved.c"
#include "spawn.c"
#include "steps.c"

#include <stdio.h>
#include <stdlib.h>

static volatile uint64_t used;
static char *words[] = {"run", "/root", "program", "argument", NULL}, *none[] = {NULL};

static void use_texts(const struct run *run, struct region region)
{
    const char *text = text_of(run, region), *end = text + region.size;
    for (; text < end; text += strlen(text) + 1)
        used += strlen(text);
}

static void use_records(const struct run *run)
{
    for (uint32_t i = 0; i < records_of(run); i++) {
        const struct record *record = record_of(run, i);
        used += strlen(text_of(run, record->a)) + strlen(text_of(run, record->b));
        for (uint32_t at = 0; at < record->b.size; at++)
            used += (unsigned char)text_of(run, record->b)[at];
        if (record->code == CLAIM)
            for (uint32_t at = 0; at < record->b.size; at += RANGE_DIGITS + 1)
                used += strlen(text_of(run, record->b) + at);
        if (record->code == HELPER)
            use_texts(run, record->b);
    }
}

static void use_saved(unsigned char *bytes)
{
    struct command command = {"kokon", words, 4, none, NULL};
    struct run run = {.command = &command, .bytes = bytes, .words = 2};
    struct buffer plan;
    run.saved = (const struct saved *)(const void *)bytes;
    memcpy(run.token, "01234567", TOKEN_SIZE);
    memcpy(run.claim, "1879048192", RANGE_DIGITS);
    used += same_words(&run);
    fill(&run, 0);
    fill(&run, 1);
    use_records(&run);
    use_texts(&run, run.saved->places);
    for (uint32_t at = 0; at < run.saved->program.size; at++)
        used += (unsigned char)text_of(&run, run.saved->program)[at];
    if (complete(&run, &plan)) {
        for (uint64_t at = 0; at < plan.size; at++)
            used += plan.bytes[at];
        syscall2(__NR_munmap, plan.bytes, plan.size);
    }
}

static void use_call(unsigned char *bytes)
{
    struct command command = {"kokon-runtime", words, 4, none, NULL};
    struct run run = {.command = &command, .bytes = bytes, .words = 4};
    run.saved = (const struct saved *)(const void *)bytes;
    used += same_words(&run);
    use_records(&run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char *bytes = malloc(size ? size : 1);
    memcpy(bytes, data, size);
    if (check_saved(bytes, size, SAVED_MAGIC))
        use_saved(bytes);
    if (check_saved(bytes, size, CALL_MAGIC))
        use_call(bytes);
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

static void put(unsigned char *bytes, size_t at, uint32_t value, size_t size)
{
    if (at + sizeof value <= size)
        memcpy(bytes + at, &value, sizeof value);
}

/* Returns the new size. Most mutations hit the head, records and holes, whole words of them. */
static size_t mutate(unsigned char *bytes, size_t size)
{
    uint32_t edges[] = {0, 1, 7, 8, 15, 16, 72, (uint32_t)size - 1, (uint32_t)size,
                        (uint32_t)size + 1, (uint32_t)size - 8, 1U << 31, ~0U, ~0U - 7};
    uint32_t edge = edges[random_below(sizeof edges / sizeof *edges)];
    uint32_t small = (uint32_t)random_below(size), tiny = (uint32_t)random_below(20);
    size_t word = random_below(random_below(3) ? 200 : size / 4) * 4;
    switch (random_below(6)) {
    case 0: bytes[random_below(size)] ^= (unsigned char)(1 << random_below(8)); break;
    case 1: put(bytes, word, edge, size); break;
    case 2: put(bytes, word, small, size); break;
    case 3: put(bytes, word, small - small % 8, size); break;
    case 4: put(bytes, word, tiny, size); break;
    default: size = 1 + random_below(size); bytes[size - 1] = 0;
    }
    if (size >= sizeof(struct saved) && random_below(8))
        ((struct saved *)(void *)bytes)->size = (uint32_t)size;
    return size;
}

static int fuzz_file(const char *name, unsigned long rounds)
{
    FILE *file = fopen(name, "rb");
    if (!file)
        return 1;
    static _Alignas(8) unsigned char valid[1 << 20], damaged[1 << 20];
    size_t whole = fread(valid, 1, sizeof valid, file);
    fclose(file);
    if (!check_saved(valid, whole, SAVED_MAGIC) && !check_saved(valid, whole, CALL_MAGIC)) {
        fprintf(stderr, "%s is no valid saved run\n", name);
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

int main(int count, char **names)
{
    int bad = 0;
    unsigned long rounds = count > 1 ? strtoul(names[1], 0, 10) : 0;
    for (int i = 2; i < count; i++)
        bad |= fuzz_file(names[i], rounds);
    return bad;
}
#endif
