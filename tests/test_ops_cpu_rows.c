/* The fast tables' operations on rows by index, softmax and what sums over rows and columns, against the reference; and
 * against itself, since a fixed number of threads must give the same bits every run. */
#include "test_ops_cpu.h"

static void check_embedding(fsm_arena *arena, int64_t n, int64_t width)
{
    enum { TOKENS = 20, PLACES = 9 };
    const int32_t *id = test_indices(arena, n, 0, TOKENS), *position = test_indices(arena, n, 0, PLACES);
    const float *tokens = test_floats(arena, TOKENS * width), *places = test_floats(arena, PLACES * width);
    const float *dy = test_floats(arena, n * width);
    outputs y = test_outputs(arena, n * width), bare = test_outputs(arena, n * width);
    outputs dtable = test_outputs(arena, TOKENS * width);
    for (int run = 0; run < RUNS; run++) {
        table_of(run)->embedding_forward(table_of(run), n, width, id, tokens, position, places, y.of[run]);
        table_of(run)->embedding_forward(table_of(run), n, width, id, tokens, NULL, NULL, bare.of[run]);
        table_of(run)->embedding_backward(table_of(run), n, width, id, dy, dtable.of[run]);
    }
    test_assert_agree("embedding_forward", y, TOLERANCE);
    test_assert_agree("embedding_forward without positions", bare, 0);
    test_assert_agree("embedding_backward", dtable, TOLERANCE);
}

static void test_ops_cpu_embedding_agrees_with_reference(void **state)
{
    for_each_shape(*state, check_embedding);
}

/* Every column of rows [n, k] a permutation's start, so that each row is named once at most; some choices dropped. */
static int32_t *distinct_rows(fsm_arena *arena, int64_t n, int64_t k, int64_t turn)
{
    int32_t *row = FSM_ARENA_ARRAY(arena, int32_t, n * k);
    for (int64_t i = 0; i < n * k; i++) row[i] = i % 7 == 3 ? -1 : (int32_t)((i + turn) % (n * k));
    return row;
}

static void check_rows(fsm_arena *arena, int64_t n, int64_t width)
{
    enum { K = 3 };
    const int32_t *from = distinct_rows(arena, n, K, 5), *to = distinct_rows(arena, n, K, 11);
    const float *weight = test_floats(arena, n * K), *x = test_floats(arena, n * K * width);
    const float *dy = test_floats(arena, n * width);
    outputs gathered = test_outputs(arena, n * K * width), y = test_outputs(arena, n * width);
    outputs bare = test_outputs(arena, n * width), dx = test_outputs(arena, n * K * width);
    outputs dweight = test_outputs(arena, n * K), bare_dx = test_outputs(arena, n * K * width);
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *ops = table_of(run);
        ops->gather_rows(ops, n * K, width, from, x, gathered.of[run]);
        ops->combine_rows(ops, n, K, width, from, weight, x, y.of[run]);
        ops->combine_rows(ops, n, K, width, from, NULL, x, bare.of[run]);
        ops->combine_rows_backward(ops, n, K, width, from, to, NULL, x, dy, bare_dx.of[run], dweight.of[run]);
        ops->combine_rows_backward(ops, n, K, width, from, to, weight, x, dy, dx.of[run], dweight.of[run]);
    }
    test_assert_agree("gather_rows", gathered, 0);
    test_assert_agree("combine_rows", y, TOLERANCE);
    test_assert_agree("combine_rows without weights", bare, TOLERANCE);
    test_assert_agree("combine_rows_backward: dx", dx, TOLERANCE);
    test_assert_agree("combine_rows_backward without weights: dx", bare_dx, TOLERANCE);
    test_assert_agree("combine_rows_backward: dweight", dweight, TOLERANCE);
}

static void test_ops_cpu_rows_agree_with_reference(void **state)
{
    for_each_shape(*state, check_rows);
}

/* So many that they are written past the caches, and as many of another width, which cannot be. */
static void test_ops_cpu_rows_beyond_the_caches_agree_with_reference(void **state)
{
    enum { N = 4096, K = 3 };
    fsm_arena *arena = *state;
    const int64_t many_widths[] = {512, 513};
    use_threads(2);
    for (int w = 0; w < 2; w++) {
        arena->used = 0;
        const int32_t *row = distinct_rows(arena, N, K, 5);
        const float *weight = test_floats(arena, N * K), *dy = test_floats(arena, N * many_widths[w]);
        const float *x = test_floats(arena, N * K * many_widths[w]);
        outputs dx = test_outputs(arena, N * K * many_widths[w]), dweight = test_outputs(arena, N * K);
        for (int run = 0; run < RUNS; run++)
            table_of(run)->combine_rows_backward(table_of(run), N, K, many_widths[w], row, row, weight, x, dy,
                                                 dx.of[run], dweight.of[run]);
        test_assert_agree("combine_rows_backward of many rows: dx", dx, 0);
        test_assert_agree("combine_rows_backward of many rows: dweight", dweight, TOLERANCE);
    }
}

static void check_softmax(fsm_arena *arena, int64_t n, int64_t width)
{
    float *x = test_floats(arena, n * width);
    for (int64_t i = 0; i < n * width; i++) {
        x[i] *= 5;
        if (i % 11 == 4 && width > 1) x[i] = i % 3 ? -INFINITY : 3e38f;
    }
    outputs y = test_outputs(arena, n * width), lse = test_outputs(arena, n), in_place = test_outputs(arena, n * width);
    for (int run = 0; run < RUNS; run++) {
        table_of(run)->softmax(table_of(run), n, width, x, y.of[run], lse.of[run]);
        table_of(run)->softmax(table_of(run), n, width, in_place.of[run], in_place.of[run], NULL);
    }
    test_assert_agree("softmax", y, TOLERANCE);
    test_assert_agree("softmax: lse", lse, TOLERANCE);
    test_assert_agree("softmax in place", in_place, TOLERANCE);
}

static void check_softmax_columns(fsm_arena *arena, int64_t n, int64_t width)
{
    float *x = test_floats(arena, n * width);
    for (int64_t i = 0; i < n * width; i++) {
        x[i] *= 5;
        if (i % 11 == 4 && i >= width) x[i] = -INFINITY;
    }
    outputs y = test_outputs(arena, n * width), in_place = test_outputs(arena, n * width);
    for (int run = 0; run < RUNS; run++) {
        table_of(run)->softmax_columns(table_of(run), n, width, x, y.of[run]);
        table_of(run)->softmax_columns(table_of(run), n, width, in_place.of[run], in_place.of[run]);
    }
    test_assert_agree("softmax_columns", y, TOLERANCE);
    test_assert_agree("softmax_columns in place", in_place, TOLERANCE);
}

static void check_softmax_backward(fsm_arena *arena, int64_t n, int64_t width)
{
    float *y = test_floats(arena, n * width), *dy = test_floats(arena, n * width);
    outputs dx = test_outputs(arena, n * width), columns = test_outputs(arena, n * width);
    for (int run = 0; run < RUNS; run++) {
        table_of(run)->softmax_backward(table_of(run), n, width, y, dy, 1, dx.of[run]);
        table_of(run)->softmax_columns_backward(table_of(run), n, width, y, dy, 1, columns.of[run]);
    }
    test_assert_agree("softmax_backward", dx, TOLERANCE);
    test_assert_agree("softmax_columns_backward", columns, TOLERANCE);
}

static void check_top_k(fsm_arena *arena, int64_t n, int64_t width)
{
    float *x = test_floats(arena, n * width);
    int64_t k = width < 3 ? width : 3;
    const float odd[] = {1, -1, 0, -0.0f, INFINITY, NAN, -INFINITY}; /* and equal ones, of which the first counts */
    for (int64_t i = 0; i < n * width; i++)
        if (i % 5 == 2) x[i] = odd[i / width % 3 == 0 ? i % 7 : i % 5];
    raw_outputs index = test_index_outputs(arena, n * k);
    outputs value = test_outputs(arena, n * k);
    for (int run = 0; run < RUNS; run++)
        table_of(run)->top_k(table_of(run), n, width, k, x, index.of[run], value.of[run]);
    test_assert_same("top_k: index", index);
    test_assert_same_floats("top_k: value", value);
}

static void mark_rows(void *context, int64_t first, int64_t count)
{
    for (int64_t i = first; i < first + count; i++) ((int32_t *)context)[i]++;
}

static void check_for_rows(fsm_arena *arena, int64_t n, int64_t width)
{
    for (int run = 0; run < RUNS; run++) {
        int32_t *times = FSM_ARENA_ARRAY(arena, int32_t, n + 1);
        memset(times, 0, sizeof *times * (size_t)(n + 1));
        table_of(run)->for_rows(table_of(run), n, width, mark_rows, times);
        for (int64_t i = 0; i <= n; i++) assert_true(times[i] == (i < n));
    }
}

static void test_ops_cpu_loops_over_rows_agree_with_reference(void **state)
{
    for_each_shape(*state, check_softmax_columns);
    for_each_shape(*state, check_softmax_backward);
    for_each_shape(*state, check_top_k);
    for_each_shape(*state, check_for_rows);
}

static void test_ops_cpu_softmax_agrees_with_reference(void **state)
{
    for_each_shape(*state, check_softmax);
}

static void check_cross_entropy(fsm_arena *arena, int64_t n, int64_t width)
{
    const int32_t *target = test_indices(arena, n, 0, (int32_t)width);
    outputs logits = test_outputs(arena, n * width);
    double loss[RUNS] = {1, 1, 1}, bare[RUNS] = {1, 1, 1};
    for (int run = 0; run < RUNS; run++) {
        for (int64_t i = 0; i < n; i++) { /* a huge logit and a masked one, neither the target */
            if (width > 2) logits.of[run][i * width + (target[i] + 1) % width] = i % 5 ? 80 : -INFINITY;
        }
        table_of(run)->cross_entropy(table_of(run), n, width, logits.of[run], target, 0.25f, false, &bare[run]);
        table_of(run)->cross_entropy(table_of(run), n, width, logits.of[run], target, 0.25f, true, &loss[run]);
    }
    test_assert_agree("cross_entropy", logits, TOLERANCE);
    assert_true(loss[1] == loss[2] && bare[1] == bare[2]);
    assert_true(fabs(loss[1] - loss[0]) <= 1e-6 * fabs(loss[0]) && fabs(bare[1] - loss[0]) <= 1e-6 * fabs(loss[0]));
}

static void test_ops_cpu_cross_entropy_agrees_with_reference(void **state)
{
    for_each_shape(*state, check_cross_entropy);
}

static void test_ops_cpu_cross_entropy_of_a_large_vocabulary_keeps_seven_digits(void **state)
{
    check_cross_entropy(*state, 3, 50257);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_ops_cpu_embedding_agrees_with_reference),
        TEST(test_ops_cpu_rows_agree_with_reference),
        TEST(test_ops_cpu_rows_beyond_the_caches_agree_with_reference),
        TEST(test_ops_cpu_softmax_agrees_with_reference),
        TEST(test_ops_cpu_loops_over_rows_agree_with_reference),
        TEST(test_ops_cpu_cross_entropy_agrees_with_reference),
        TEST(test_ops_cpu_cross_entropy_of_a_large_vocabulary_keeps_seven_digits),
    };
    use_threads(1);
    int failed = cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
    canonical = true;
    use_threads(1);
    failed += cmocka_run_group_tests_name("cpu-canonical", tests, NULL, NULL);
    fsm_ops_destroy(fast);
    return failed;
}
