/* What the tests of the fast tables share: the table under test, run twice beside the reference, over shapes that are
 * empty, single, odd, strided and large enough for several threads.
 * In:  a check of one shape. Out: it has been run on 1 to 3 threads.
 */
#ifndef FSM_TESTS_TEST_OPS_CPU_H
#define FSM_TESTS_TEST_OPS_CPU_H

#include "cpu/cpu.h"
#include "test_ops_data.h"

static const int64_t row_counts[] = {0, 1, 3, 33, 300}, widths[] = {1, 7, 16, 33, 230};
enum { SIZES = 5 };
static const double TOLERANCE = 1e-5;

/* The table under test, on the present number of threads. */
static fsm_ops *fast;
static bool canonical;

static inline void use_threads(int threads)
{
    fsm_ops_destroy(fast);
    assert_int_equal(fsm_cpu_ops_create(threads, canonical ? FSM_CPU_CANONICAL : FSM_CPU_FP32, &fast), FSMOE_OK);
}

/* Reference first, then the table twice. */
static inline const fsm_ops *table_of(int run)
{
    return run == 0 ? &fsm_ops_reference : fast;
}

typedef void check_shape(fsm_arena *arena, int64_t n, int64_t width);

static inline void for_each_shape(fsm_arena *arena, check_shape *check)
{
    for (int threads = 1; threads <= 3; threads++) {
        use_threads(threads);
        for (int i = 0; i < SIZES * SIZES; i++) {
            arena->used = 0;
            check(arena, row_counts[i / SIZES], widths[i % SIZES]);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_arena_setup, test_arena_teardown)

#endif
