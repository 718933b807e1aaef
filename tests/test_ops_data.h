/* What the tests of tensor operations share: inputs, and outputs computed by the reference and twice by another table.
 * In:  an arena a test (its memory is cmocka's state), sizes.
 * Out: reproducible normal numbers; a check that the table agrees with the reference and with itself, bit by bit.
 */
#ifndef FSM_TESTS_TEST_OPS_DATA_H
#define FSM_TESTS_TEST_OPS_DATA_H

#include "base/arena.h"
#include "base/rng.h"
#include "ops/ops.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { RUNS = 3 }; /* reference, table, table again */

/* One output of every run, all begun with the same random contents: what an op should leave alone, or add to. */
typedef struct outputs {
    float *of[RUNS];
    int64_t n;
} outputs;

static inline float *test_floats(fsm_arena *arena, int64_t n)
{
    uint64_t first = arena->used;
    float *x = FSM_ARENA_ARRAY(arena, float, n);
    for (int64_t i = 0; i < n; i++) x[i] = (float)fsm_rng_normal(7, FSM_RNG_TEST, first + (uint64_t)i);
    return x;
}

/* Whole numbers in [low, high). */
static inline int32_t *test_indices(fsm_arena *arena, int64_t n, int32_t low, int32_t high)
{
    uint64_t first = arena->used;
    int32_t *x = FSM_ARENA_ARRAY(arena, int32_t, n);
    for (int64_t i = 0; i < n; i++)
        x[i] = low + (int32_t)(fsm_rng_bits(7, FSM_RNG_TEST, first + (uint64_t)i) % (uint64_t)(high - low));
    return x;
}

static inline outputs test_outputs(fsm_arena *arena, int64_t n)
{
    outputs out = {{test_floats(arena, n)}, n};
    for (int run = 1; run < RUNS; run++) {
        out.of[run] = FSM_ARENA_ARRAY(arena, float, n);
        if (n > 0) memcpy(out.of[run], out.of[0], sizeof(float) * (size_t)n);
    }
    return out;
}

/* One output of every run that is no float: indices, or sums in double. Bits alone count. */
typedef struct raw_outputs {
    void *of[RUNS];
    size_t bytes;
} raw_outputs;

static inline raw_outputs test_copies(fsm_arena *arena, void *first, size_t bytes)
{
    raw_outputs out = {{first}, bytes};
    for (int run = 1; run < RUNS; run++) {
        out.of[run] = fsm_arena_take(arena, bytes);
        if (bytes > 0) memcpy(out.of[run], first, bytes);
    }
    return out;
}

/* int32_t[n], none of them an index */
static inline raw_outputs test_index_outputs(fsm_arena *arena, int64_t n)
{
    int32_t *first = FSM_ARENA_ARRAY(arena, int32_t, n);
    for (int64_t i = 0; i < n; i++) first[i] = 0x55555555;
    return test_copies(arena, first, sizeof *first * (size_t)n);
}

/* double[n], to which is added */
static inline raw_outputs test_sum_outputs(fsm_arena *arena, int64_t n)
{
    double *first = FSM_ARENA_ARRAY(arena, double, n);
    for (int64_t i = 0; i < n; i++) first[i] = 0.1 * (double)i;
    return test_copies(arena, first, sizeof *first * (size_t)n);
}

/* |a - b| <= tolerance * max|b|, NaN and infinities equal to their like. */
static inline void test_assert_close(const char *name, int64_t n, const float *a, const float *b, double tolerance)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++) {
        if (isfinite(b[i]) && fabs(b[i]) > largest) largest = fabs(b[i]);
    }
    for (int64_t i = 0; i < n; i++) {
        if (a[i] == b[i] || (isnan(a[i]) && isnan(b[i]))) continue;
        double error = fabs((double)a[i] - b[i]) / largest;
        if (!(error <= tolerance))
            fail_msg("%s[%ld] = %.9g, want %.9g: relative error %.2g", name, (long)i, a[i], b[i], error);
    }
}

static inline void test_assert_agree(const char *name, outputs out, double tolerance)
{
    test_assert_close(name, out.n, out.of[1], out.of[0], tolerance);
    if (out.n > 0 && memcmp(out.of[1], out.of[2], sizeof(float) * (size_t)out.n) != 0)
        fail_msg("%s: two runs of the same operation differ", name);
}

static inline void test_assert_same(const char *name, raw_outputs out)
{
    for (int run = 1; run < RUNS; run++)
        if (out.bytes > 0 && memcmp(out.of[run], out.of[0], out.bytes) != 0)
            fail_msg("%s: not the reference's bits", name);
}

/* Floats, too: not only within a tolerance. The first that differs is named. */
static inline void test_assert_same_floats(const char *name, outputs out)
{
    test_assert_agree(name, out, 0);
    test_assert_same(name, (raw_outputs){{out.of[0], out.of[1], out.of[2]}, sizeof(float) * (size_t)out.n});
}

static inline int test_arena_setup(void **state)
{
    static fsm_arena arena;
    *state = &arena;
    return fsm_arena_create((size_t)1 << 30, &arena) == FSMOE_OK ? 0 : -1;
}

static inline int test_arena_teardown(void **state)
{
    fsm_arena_destroy(*state);
    return 0;
}

#endif
