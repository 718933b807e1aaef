/* A mutator that knows JSON: what changes bytes alone seldom gets past a checker of numbers.
 * In:  a file. Out: half of the time what libFuzzer makes of it, else the file with a value replaced by a telling one
 *      or by another value of the file, an entry left out, or one doubled.
 * Included by a fuzzer's one file; replay.c has no use for it.
 */
#ifndef FSM_FUZZ_JSON_MUTATOR_H
#define FSM_FUZZ_JSON_MUTATOR_H

#include "fuzz.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size) __attribute__((weak));
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

static inline unsigned fuzz_random(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Where the value that begins at `at` ends. */
static inline size_t fuzz_value_end(const uint8_t *data, size_t size, size_t at)
{
    int depth = 0;
    bool quoted = false;
    for (; at < size; at++) {
        uint8_t c = data[at];
        if (quoted) {
            if (c == '\\') at++;
            else if (c == '"') quoted = false;
            if (!quoted && depth == 0) return at + 1;
            continue;
        }
        if (c == '"') quoted = true;
        else if (c == '{' || c == '[') depth++;
        else if (c == '}' || c == ']') {
            if (depth == 0) return at;
            if (--depth == 0) return at + 1;
        } else if (depth == 0 && (c == ',' || c == ':' || c == ' ' || c == '\n')) return at;
    }
    return size;
}

/* The next value from a random place on; false when there is none. */
static inline bool fuzz_find_value(const uint8_t *data, size_t size, unsigned *seed, size_t *begin, size_t *end)
{
    size_t at = size ? fuzz_random(seed) % size : 0;
    while (at < size && !strchr("[,:", data[at])) at++;
    while (at < size && strchr("[,: \n", data[at])) at++;
    *begin = at;
    *end = fuzz_value_end(data, size, at);
    if (*end > size) *end = size;
    return *end > *begin;
}

/* data[begin … end) becomes text[n]; the new size, or the old one where there is no room. */
static inline size_t fuzz_replace(uint8_t *data, size_t size, size_t max_size, size_t begin, size_t end,
                                  const void *text, size_t n)
{
    if (size - (end - begin) + n > max_size) return size;
    memmove(data + begin + n, data + end, size - end);
    memcpy(data + begin, text, n);
    return size - (end - begin) + n;
}

static inline size_t fuzz_mutate_json(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static const char *const telling[] = {"0",
                                          "1",
                                          "2",
                                          "3",
                                          "-1",
                                          "-2",
                                          "255",
                                          "65535",
                                          "65536",
                                          "16777215",
                                          "2147483647",
                                          "2147483648",
                                          "-2147483648",
                                          "4294967295",
                                          "4294967297",
                                          "4503599627370497",
                                          "9007199254740993",
                                          "9223372036854775807",
                                          "-9223372036854775808",
                                          "0.0",
                                          "-0.0",
                                          "0.5",
                                          "1e-320",
                                          "5e-324",
                                          "1e30",
                                          "1e308",
                                          "-1e308",
                                          "null",
                                          "true",
                                          "false",
                                          "\"\"",
                                          "[]",
                                          "{}",
                                          "[0,0]",
                                          "\"\\u00e9\"",
                                          "\"a b\""};
    size_t begin, end, from, to;
    unsigned what = fuzz_random(&seed) % 8;
    if (!fuzz_find_value(data, size, &seed, &begin, &end)) return LLVMFuzzerMutate(data, size, max_size);
    if (what < 4) {
        const char *text = telling[fuzz_random(&seed) % (sizeof telling / sizeof *telling)];
        return fuzz_replace(data, size, max_size, begin, end, text, strlen(text));
    }
    if (what == 4 && begin > 0 && data[begin - 1] == ',') /* left out */
        return fuzz_replace(data, size, max_size, begin - 1, end, "", 0);
    if (what == 5) to = end, from = begin;
    else if (!fuzz_find_value(data, size, &seed, &from, &to)) return size;
    uint8_t *copy = malloc(to - from + 1);
    if (!copy) return size;
    copy[0] = ',';
    memcpy(copy + 1, data + from, to - from);
    size = what == 5 ? fuzz_replace(data, size, max_size, end, end, copy, to - from + 1) /* doubled */
                     : fuzz_replace(data, size, max_size, begin, end, copy + 1, to - from);
    free(copy);
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    if (seed & 1) return LLVMFuzzerMutate(data, size, max_size);
    return fuzz_mutate_json(data, size, max_size, seed);
}

#endif
