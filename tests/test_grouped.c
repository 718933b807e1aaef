/* Products of experts as one call, both ways, against the reference expert by expert: uneven and empty experts, rows
 * that nobody has between them, more and fewer experts than threads. */
#include "cpu/cpu.h"
#include "cpu/products.h"
#include "test_ops_data.h"

enum { IN = 104, OUT = 136, LD_X = IN + 3, LD_Y = OUT + 5, MOST = 8 };

typedef struct grouping {
    int count;
    int64_t rows[MOST];
} grouping;

static const grouping groupings[] = {
    {0, {0}}, {1, {700}}, {2, {0, 600}}, {3, {1, 1000, 2}}, {8, {100, 0, 250, 97, 49, 0, 300, 3}}, {4, {0, 0, 0, 0}},
};
enum { GROUPINGS = sizeof groupings / sizeof *groupings };

typedef struct subject {
    int64_t n; /* rows, with a gap of two after each expert */
    int64_t first[MOST], end[MOST];
    fsm_runs runs;
    fsm_weight weight[MOST];
    const float *bias[MOST], *x, *y;
} subject;

static void fill(fsm_arena *arena, const grouping *g, subject *s)
{
    *s = (subject){.runs = {g->count, s->first, s->end}};
    for (int e = 0; e < g->count; e++) {
        s->first[e] = s->n;
        s->end[e] = s->n + g->rows[e];
        s->n += g->rows[e] + 2;
        s->weight[e] = (fsm_weight){test_floats(arena, OUT * IN), OUT, IN, NULL};
        s->bias[e] = e % 2 ? test_floats(arena, OUT) : NULL;
    }
    s->x = test_floats(arena, s->n * LD_X);
    s->y = test_floats(arena, s->n * LD_Y);
}

/* The results of all three: y and dx in rows of their own, dw and the biases' of each expert after the other. */
typedef struct results {
    float *y, *dx, *dw, *dbias;
} results;

static results empty_results(fsm_arena *arena, const subject *s)
{
    results r = {FSM_ARENA_ARRAY(arena, float, s->n *LD_Y), FSM_ARENA_ARRAY(arena, float, s->n *LD_X),
                 FSM_ARENA_ARRAY(arena, float, MOST *OUT *IN), FSM_ARENA_ARRAY(arena, float, MOST *OUT)};
    for (int64_t i = 0; i < s->n * LD_Y; i++) r.y[i] = 7;
    for (int64_t i = 0; i < s->n * LD_X; i++) r.dx[i] = 8;
    for (int64_t i = 0; i < MOST * OUT * IN; i++) r.dw[i] = 9;
    for (int64_t i = 0; i < MOST * OUT; i++) r.dbias[i] = 10;
    return r;
}

static results grouped(fsm_arena *arena, const subject *s, const fsm_ops *ops)
{
    results r = empty_results(arena, s);
    fsm_linear linear[MOST];
    const int64_t halves[2] = {OUT / 2, OUT / 2}, leaves[2] = {64, 64};
    const fsm_joined joined = {2, halves, leaves};
    for (int64_t e = 0; e < s->runs.count; e++)
        linear[e] = (fsm_linear){s->weight[e], s->bias[e], r.dw + e * OUT * IN, s->bias[e] ? r.dbias + e * OUT : NULL};
    const fsm_grouped_ops *g = &ops->grouped;
    g->forward(ops, &s->runs, linear, fsm_reals(s->x, LD_X), fsm_reals(r.y, LD_Y));
    g->backward_input(ops, &s->runs, linear, s->n % 2 ? &joined : NULL, fsm_reals(s->y, LD_Y), fsm_reals(r.dx, LD_X));
    g->backward_weight(ops, &s->runs, linear, fsm_reals(s->y, LD_Y), fsm_reals(s->x, LD_X));
    return r;
}

static results one_by_one(fsm_arena *arena, const subject *s, const fsm_ops *ops)
{
    results r = empty_results(arena, s);
    const int64_t halves[2] = {OUT / 2, OUT / 2}, leaves[2] = {64, 64};
    const fsm_joined joined = {2, halves, leaves};
    for (int64_t e = 0; e < s->runs.count; e++) {
        int64_t n = s->end[e] - s->first[e], x = s->first[e] * LD_X, y = s->first[e] * LD_Y;
        const fsm_weight *w = &s->weight[e];
        const fsm_matrix dy = fsm_reals(s->y + y, LD_Y), dx = fsm_reals(r.dx + x, LD_X);
        ops->linear_forward(ops, n, w, s->bias[e], fsm_reals(s->x + x, LD_X), fsm_reals(r.y + y, LD_Y));
        if (s->n % 2) ops->linear_backward_joined(ops, n, w, &joined, dy, dx);
        else ops->linear_backward_input(ops, n, w, dy, 0, dx);
        ops->linear_backward_weight(ops, n, OUT, IN, dy, fsm_reals(s->x + x, LD_X), r.dw + e * OUT * IN,
                                    s->bias[e] ? r.dbias + e * OUT : NULL);
    }
    return r;
}

static void assert_same(const float *a, const float *b, int64_t n)
{
    assert_memory_equal(a, b, sizeof *a * (size_t)n);
}

static void assert_near(const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) <= 1e-4f * (1 + fabsf(b[i])))) fail_msg("%g is not %g at %ld", a[i], b[i], (long)i);
}

/* In turn and side by side, which a table of products says. */
static results by_way(fsm_arena *arena, const subject *s, fsm_ops *ops, bool side_by_side)
{
    fsm_products table = {.experts = {.side_by_side = side_by_side}};
    assert_int_equal(fsm_cpu_use_products(ops, &table), FSMOE_OK);
    results r = grouped(arena, s, ops);
    assert_int_equal(fsm_cpu_use_products(ops, NULL), FSMOE_OK);
    return r;
}

static void assert_equal(const subject *s, results a, results b)
{
    assert_same(a.y, b.y, s->n * LD_Y);
    assert_same(a.dx, b.dx, s->n * LD_X);
    assert_same(a.dw, b.dw, MOST * OUT * IN);
    assert_same(a.dbias, b.dbias, MOST * OUT);
}

static void check(fsm_arena *arena, fsm_ops *ops, const grouping *g)
{
    subject s;
    fill(arena, g, &s);
    results reference = one_by_one(arena, &s, &fsm_ops_reference), single = one_by_one(arena, &s, ops);
    results side = by_way(arena, &s, ops, true);
    assert_equal(&s, grouped(arena, &s, &fsm_ops_reference), reference);
    assert_equal(&s, grouped(arena, &s, ops), single);
    assert_equal(&s, by_way(arena, &s, ops, false), single);
    assert_equal(&s, by_way(arena, &s, ops, true), side);
    assert_near(side.y, reference.y, s.n * LD_Y);
    assert_near(side.dx, reference.dx, s.n * LD_X);
    assert_near(side.dw, reference.dw, MOST * OUT * IN);
    assert_near(side.dbias, reference.dbias, MOST * OUT);
}

static void check_all(fsm_arena *arena, int threads, fsm_cpu_kind kind)
{
    fsm_ops *ops;
    assert_int_equal(fsm_cpu_ops_create(threads, kind, &ops), FSMOE_OK);
    for (int i = 0; i < GROUPINGS; i++) {
        arena->used = 0;
        check(arena, ops, &groupings[i]);
    }
    fsm_ops_destroy(ops);
}

static void test_grouped_products_agree_with_those_of_each_expert(void **state)
{
    for (int threads = 1; threads <= 3; threads++) {
        check_all(*state, threads, FSM_CPU_FP32);
        check_all(*state, threads, FSM_CPU_CANONICAL);
    }
}

/* Of five experts one lies apart, one is empty. */
static void test_grouped_runs_that_follow_each_other_are_joined(void **state)
{
    (void)state;
    static const int64_t first[] = {3, 5, 5, 20, 24}, end[] = {5, 5, 9, 24, 31};
    const fsm_runs runs = {5, first, end};
    int64_t at, rows;
    assert_int_equal(fsm_runs_rows(&runs), 17);
    assert_int_equal(fsm_runs_join(&runs, 0, &at, &rows), 3);
    assert_true(at == 3 && rows == 6);
    assert_int_equal(fsm_runs_join(&runs, 3, &at, &rows), 5);
    assert_true(at == 20 && rows == 11);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_arena_setup, test_arena_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_grouped_products_agree_with_those_of_each_expert),
        cmocka_unit_test(test_grouped_runs_that_follow_each_other_are_joined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
