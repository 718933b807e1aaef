/* Products of rows as they are (cpu/bf16_matmul.h): how rows are cut into pieces and filled up, weights copied,
 * gradients added to. With rows that are floats, which every processor multiplies, against the reference; with bf16
 * only where the processor has arithmetic of it. */
#include "base/bf16.h"
#include "cpu/bf16_matmul.h"
#include "cpu/cpu.h"
#include "test_ops_data.h"

#include <string.h>

enum { OUT = 72, IN = 40 };
static const int64_t row_counts[] = {1, 15, 16, 17, 64, 79, 300, 1024, 1400};
static const double TOLERANCE = 1e-5;

typedef struct subject {
    fsm_ops *ops;
    fsm_bf16_matmul *matmul;
    bool rows_are_float;
} subject;

/* Numbers that bf16 holds, as floats and as rows. */
typedef struct rows {
    float *real;
    void *row;
} rows;

static rows make_rows(fsm_arena *arena, const subject *s, int64_t n)
{
    rows r = {test_floats(arena, n), NULL};
    uint16_t *halves = FSM_ARENA_ARRAY(arena, uint16_t, n);
    for (int64_t i = 0; i < n; i++) {
        halves[i] = fsm_to_bf16(r.real[i]);
        r.real[i] = fsm_from_bf16(halves[i]);
    }
    r.row = s->rows_are_float ? (void *)r.real : (void *)halves;
    return r;
}

static bool make_subject(bool rows_are_float, subject *s)
{
    *s = (subject){.rows_are_float = rows_are_float};
    if (!rows_are_float && !fsm_cpu_multiplies_bf16()) return false;
    s->matmul = fsm_bf16_matmul_create(rows_are_float);
    if (!s->matmul) return false; /* another library of products */
    assert_int_equal(fsm_cpu_ops_create(2, FSM_CPU_FP32, &s->ops), FSMOE_OK);
    return true;
}

static void destroy(subject *s)
{
    fsm_bf16_matmul_destroy(s->matmul);
    fsm_ops_destroy(s->ops);
}

/* One more row than n stays what it was. */
static void check_close(const char *what, int64_t n, int64_t width, const void *got, fsm_elem elem, const subject *s,
                        const float *want)
{
    bool half = elem == FSM_ELEM_ROW && !s->rows_are_float;
    double largest = 0;
    for (int64_t i = 0; i < n * width; i++) largest = fmax(largest, fabsf(want[i]));
    for (int64_t i = 0; i < n * width; i++) {
        double value = half ? fsm_from_bf16(((const uint16_t *)got)[i]) : ((const float *)got)[i];
        double band = TOLERANCE * largest + (half ? fabsf(want[i]) / 256 : 0);
        if (!(fabs(value - want[i]) <= band)) fail_msg("%s of %ld rows: %g is not %g", what, (long)n, value, want[i]);
    }
    const unsigned char *after = (const unsigned char *)got + (size_t)(n * width) * (half ? 2 : 4);
    for (int i = 0; i < 8; i++) assert_int_equal(after[i], 0x55);
}

static void *result_of(fsm_arena *arena, int64_t elems)
{
    void *made = fsm_arena_take(arena, (size_t)(elems + 4) * sizeof(float));
    memset(made, 0x55, (size_t)(elems + 4) * sizeof(float));
    return made;
}

static void check_weight(fsm_arena *arena, const subject *s, const fsm_weight *weight, int64_t n)
{
    const fsm_ops *reference = &fsm_ops_reference;
    rows x = make_rows(arena, s, n * IN), dy = make_rows(arena, s, n * OUT);
    float *y = FSM_ARENA_ARRAY(arena, float, n *OUT), *dx = FSM_ARENA_ARRAY(arena, float, n *IN);
    reference->linear_forward(reference, n, weight, NULL, fsm_reals(x.real, IN), fsm_reals(y, OUT));
    reference->linear_backward_input(reference, n, weight, fsm_reals(dy.real, OUT), 0, fsm_reals(dx, IN));
    for (int elem = FSM_ELEM_REAL; elem <= FSM_ELEM_ROW; elem++) {
        void *got_y = result_of(arena, n * OUT), *got_dx = result_of(arena, n * IN);
        assert_true(fsm_bf16_forward(s->ops, n, weight, x.row, (fsm_elem)elem, got_y));
        assert_true(fsm_bf16_backward_input(s->ops, n, weight, dy.row, (fsm_elem)elem, got_dx));
        check_close("y", n, OUT, got_y, (fsm_elem)elem, s, y);
        check_close("dx", n, IN, got_dx, (fsm_elem)elem, s, dx);
    }
}

static void check_gradient(fsm_arena *arena, const subject *s, int64_t n)
{
    const fsm_ops *reference = &fsm_ops_reference;
    rows x = make_rows(arena, s, n * IN), dy = make_rows(arena, s, n * OUT);
    float *want = test_floats(arena, OUT * IN), *got = result_of(arena, OUT * IN);
    memcpy(got, want, sizeof *got * OUT * IN);
    reference->linear_backward_weight(reference, n, OUT, IN, fsm_reals(dy.real, OUT), fsm_reals(x.real, IN), want,
                                      NULL);
    assert_true(fsm_bf16_has_shape(s->matmul, OUT, IN));
    assert_false(fsm_bf16_has_shape(s->matmul, IN, OUT)); /* no such weight */
    fsm_bf16_backward_weight(s->ops, s->matmul, n, OUT, IN, dy.row, x.row, got);
    check_close("dw", OUT, IN, got, FSM_ELEM_REAL, s, want);
}

static void check_all(fsm_arena *arena, bool rows_are_float)
{
    subject s;
    if (!make_subject(rows_are_float, &s)) skip();
    for (size_t i = 0; i < sizeof row_counts / sizeof *row_counts; i++) {
        arena->used = 0;
        rows w = make_rows(arena, &s, OUT * IN);
        fsm_weight weight = {w.real, OUT, IN, NULL};
        for (int64_t j = 0; j < OUT * IN; j++) w.real[j] *= 2;
        assert_true(fsm_bf16_weight_create(s.ops, s.matmul, &weight));
        assert_non_null(weight.pack);
        assert_true(fsm_bf16_weight_bytes(s.matmul, OUT, IN) >= 2 * OUT * IN * (s.rows_are_float ? sizeof(float) : 2));
        for (int64_t j = 0; j < OUT * IN; j++) w.real[j] /= 2;
        fsm_bf16_weight_update(s.ops, &weight); /* copies keep what the weight was until they are told */
        check_weight(arena, &s, &weight, row_counts[i]);
        check_gradient(arena, &s, row_counts[i]);
        fsm_bf16_weight_destroy(&weight);
        assert_null(weight.pack);
    }
    destroy(&s);
}

static void test_bf16_matmul_of_floats_agrees_with_the_reference(void **state)
{
    check_all(*state, true);
}

static void test_bf16_matmul_of_bf16_agrees_with_the_reference(void **state)
{
    check_all(*state, false);
}

/* A weight without copies is computed by others. */
static void test_bf16_matmul_leaves_to_others_what_it_has_no_copies_of(void **state)
{
    subject s;
    float one = 1, result = 0;
    const fsm_weight weight = {&one, 1, 1, NULL};
    (void)state;
    if (!make_subject(true, &s)) skip();
    assert_false(fsm_bf16_forward(s.ops, 1, &weight, &one, FSM_ELEM_REAL, &result));
    assert_false(fsm_bf16_backward_input(s.ops, 1, &weight, &one, FSM_ELEM_REAL, &result));
    destroy(&s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_arena_setup, test_arena_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_bf16_matmul_of_floats_agrees_with_the_reference),
        TEST(test_bf16_matmul_of_bf16_agrees_with_the_reference),
        cmocka_unit_test(test_bf16_matmul_leaves_to_others_what_it_has_no_copies_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
