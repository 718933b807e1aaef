/* Products of experts as one call, both ways, against the reference expert by expert: uneven and empty experts, rows that
 * nobody has between them, more and fewer experts than threads. */
#include "cpu/cpu.h"
#include "cpu/grouped.h"
#include "test_ops_data.h"

enum { IN = 40, OUT = 136, LD_X = IN + 3, LD_Y = OUT + 5, MOST = 8 };

typedef struct grouping {
    int count;
    int64_t rows[MOST];
} grouping;

static const grouping groupings[] = {
    {0, {0}}, {1, {700}}, {2, {0, 600}}, {3, {1, 1000, 2}}, {8, {100, 0, 250, 97, 49, 0, 300, 3}}, {4, {0, 0, 0, 0}},
};
enum { GROUPINGS = sizeof groupings / sizeof *groupings };

typedef struct subject {
    int count;
    int64_t n; /* rows, with a gap of two after each expert */
    fsm_row_range rows[MOST];
    fsm_weight weight[MOST];
    const fsm_weight *weights[MOST];
    const float *x, *y;
} subject;

static subject subject_of(fsm_arena *arena, const grouping *g)
{
    subject s = {.count = g->count};
    for (int e = 0; e < g->count; e++) {
        s.rows[e] = (fsm_row_range){s.n, s.n + g->rows[e]};
        s.n += g->rows[e] + 2;
        s.weight[e] = (fsm_weight){test_floats(arena, OUT * IN), OUT, IN, NULL};
        s.weights[e] = &s.weight[e];
    }
    s.x = test_floats(arena, s.n * LD_X);
    s.y = test_floats(arena, s.n * LD_Y);
    return s;
}

/* The results of all three: y and dx in rows of their own, dw of each expert after the other. */
typedef struct results {
    float *y, *dx, *dw;
} results;

static results empty_results(fsm_arena *arena, const subject *s)
{
    results r = {FSM_ARENA_ARRAY(arena, float, s->n *LD_Y), FSM_ARENA_ARRAY(arena, float, s->n *LD_X),
                 FSM_ARENA_ARRAY(arena, float, MOST *OUT *IN)};
    for (int64_t i = 0; i < s->n * LD_Y; i++) r.y[i] = 7;
    for (int64_t i = 0; i < s->n * LD_X; i++) r.dx[i] = 8;
    for (int64_t i = 0; i < MOST * OUT * IN; i++) r.dw[i] = 9;
    return r;
}

static results grouped(fsm_arena *arena, const subject *s, const fsm_ops *ops, fsm_grouped_way way)
{
    results r = empty_results(arena, s);
    float *dw[MOST];
    for (int e = 0; e < MOST; e++) dw[e] = r.dw + e * OUT * IN;
    fsm_cpu_linear_grouped_forward(ops, way, s->count, s->rows, s->weights, s->x, LD_X, r.y, LD_Y);
    fsm_cpu_linear_grouped_backward_input(ops, way, s->count, s->rows, s->weights, s->y, LD_Y, r.dx, LD_X);
    fsm_cpu_linear_grouped_backward_weight(ops, way, s->count, s->rows, OUT, IN, s->y, LD_Y, s->x, LD_X, dw);
    return r;
}

static results one_by_one(fsm_arena *arena, const subject *s, const fsm_ops *ops)
{
    results r = empty_results(arena, s);
    for (int e = 0; e < s->count; e++) {
        int64_t n = s->rows[e].end - s->rows[e].begin, x = s->rows[e].begin * LD_X, y = s->rows[e].begin * LD_Y;
        ops->linear_forward(ops, n, s->weights[e], NULL, fsm_reals(s->x + x, LD_X), fsm_reals(r.y + y, LD_Y));
        ops->linear_backward_input(ops, n, s->weights[e], fsm_reals(s->y + y, LD_Y), 0, fsm_reals(r.dx + x, LD_X));
        ops->linear_backward_weight(ops, n, OUT, IN, fsm_reals(s->y + y, LD_Y), fsm_reals(s->x + x, LD_X),
                                    r.dw + e * OUT * IN, NULL);
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

static void check(fsm_arena *arena, const fsm_ops *ops, const grouping *g)
{
    subject s = subject_of(arena, g);
    results reference = one_by_one(arena, &s, &fsm_ops_reference), single = one_by_one(arena, &s, ops);
    results turn = grouped(arena, &s, ops, FSM_GROUPED_IN_TURN);
    results side = grouped(arena, &s, ops, FSM_GROUPED_SIDE_BY_SIDE);
    results again = grouped(arena, &s, ops, FSM_GROUPED_SIDE_BY_SIDE);
    const int64_t y = s.n * LD_Y, dx = s.n * LD_X, dw = MOST * OUT * IN;
    if (s.n > 0) {
        assert_same(turn.y, single.y, y), assert_same(side.y, again.y, y);
        assert_same(turn.dx, single.dx, dx), assert_same(side.dx, again.dx, dx);
    }
    assert_same(turn.dw, single.dw, dw), assert_same(side.dw, again.dw, dw);
    assert_near(side.y, reference.y, y), assert_near(side.dx, reference.dx, dx), assert_near(side.dw, reference.dw, dw);
}

static void test_grouped_products_agree_with_those_of_each_expert(void **state)
{
    for (int threads = 1; threads <= 3; threads++) {
        fsm_ops *ops;
        assert_int_equal(fsm_cpu_ops_create(threads, FSM_CPU_FP32, &ops), FSMOE_OK);
        for (int i = 0; i < GROUPINGS; i++) {
            ((fsm_arena *)*state)->used = 0;
            check(*state, ops, &groupings[i]);
        }
        fsm_ops_destroy(ops);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_grouped_products_agree_with_those_of_each_expert, test_arena_setup,
                                        test_arena_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
