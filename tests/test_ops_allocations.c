/* No operation allocates: malloc and its kin are replaced by counters of the calls that come from this program, which
 * holds the library's own objects; what oneDNN, OpenMP and the C library allocate inside is theirs.
 * Under a sanitizer, which replaces malloc itself, the test is skipped. */
#include "count_allocations.h"
#include "cpu/cpu.h"
#include "cpu/gemm.h"
#include "cpu/slots.h"
#include "moe/expert/activation.h"
#include "test_ops_data.h"

enum { N = 256, WIDTH = 128, HIDDEN = 96, ELEMS = N * WIDTH };

typedef struct buffers {
    float *a[8];
    int32_t *row;
    fsm_weight weight;
    fsm_attention_shape attention;
} buffers;

static void run_products(const fsm_ops *ops, buffers *b)
{
    ops->gemm(ops, false, true, N, HIDDEN, WIDTH, NULL, fsm_rows(b->a[0], WIDTH), fsm_reals(b->weight.w, WIDTH), 0,
              fsm_rows(b->a[1], HIDDEN));
    ops->gemm(ops, true, false, N, HIDDEN, 0, NULL, fsm_rows(b->a[0], N), fsm_rows(b->a[2], HIDDEN), 0,
              fsm_rows(b->a[1], HIDDEN));
    ops->weight_update(ops, &b->weight);
    ops->linear_forward(ops, N - 1, &b->weight, b->a[2], fsm_rows(b->a[0], WIDTH), fsm_rows(b->a[1], HIDDEN));
    ops->linear_backward_input(ops, N, &b->weight, fsm_rows(b->a[0], HIDDEN), 0, fsm_rows(b->a[1], WIDTH));
    ops->linear_backward_input(ops, N, &b->weight, fsm_rows(b->a[0], HIDDEN), 1, fsm_rows(b->a[1], WIDTH));
    ops->linear_backward_weight(ops, N, HIDDEN, WIDTH, fsm_rows(b->a[0], HIDDEN), fsm_rows(b->a[1], WIDTH), b->a[2],
                                b->a[3]);
}

static void run_layers(const fsm_ops *ops, buffers *b)
{
    float **a = b->a;
    ops->rmsnorm_forward(ops, N, WIDTH, 1e-5f, a[0], a[1], a[2], a[3]);
    ops->rmsnorm_backward(ops, N, WIDTH, a[0], a[1], a[3], a[2], a[4], a[5]);
    ops->layernorm_forward(ops, N, WIDTH, 1e-5f, a[0], a[1], a[2], a[3], a[4], a[5]);
    ops->layernorm_backward(ops, N, WIDTH, a[0], a[1], a[4], a[5], a[2], a[3], a[6], a[7]);
    ops->rope(ops, N, 4, 32, b->row, a[0], a[1], 1, a[2], WIDTH);
    ops->attention_work_bytes(ops, &b->attention);
    ops->attention_forward(ops, &b->attention, a[0], a[0], a[0], a[1], a[2]);
    ops->attention_backward(ops, &b->attention, a[0], a[0], a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
    for (int i = 0; fsm_activation_at(i); i++) {
        fsm_activation_at(i)->forward(ops, N / 2, WIDTH, a[0], a[1]);
        fsm_activation_at(i)->backward(ops, N / 2, WIDTH, a[0], a[1], a[2]);
    }
}

static void run_rest(const fsm_ops *ops, buffers *b)
{
    static const float rates[FSM_ADAMW_RATES] = {1e-3f, 0.5f, 0.5f};
    const fsm_adamw step = {rates, 0.9f, 0.99f, 1e-8f, 0.1f, 0, NULL, NULL};
    float **a = b->a;
    double loss = 0;
    ops->embedding_forward(ops, N, WIDTH, b->row, a[0], b->row, a[1], a[2]);
    ops->embedding_backward(ops, N, WIDTH, b->row, a[2], a[0]);
    ops->cross_entropy(ops, N, WIDTH, a[0], b->row, 1, true, &loss);
    ops->add(ops, ELEMS, a[0], a[1]);
    ops->scale(ops, ELEMS, 2, a[0]);
    ops->zero(ops, ELEMS, a[0]);
    ops->softmax(ops, N, WIDTH, a[1], a[0], a[2]);
    ops->softmax_backward(ops, N, WIDTH, a[0], a[1], 0, a[2]);
    ops->softmax_columns(ops, N, WIDTH, a[1], a[0]);
    ops->softmax_columns_backward(ops, N, WIDTH, a[0], a[1], 0, a[2]);
    ops->top_k(ops, N, WIDTH, 2, a[0], (int32_t *)a[1], a[2]);
    ops->gather_rows(ops, N, WIDTH, b->row, a[0], a[1]);
    ops->combine_rows(ops, N, 1, WIDTH, b->row, a[2], a[0], a[1]);
    ops->combine_rows_backward(ops, N, 1, WIDTH, b->row, b->row, a[2], a[0], a[1], a[3], a[4]);
    double squares = 0;
    ops->sum_squares(ops, ELEMS, a[0], &squares);
    ops->adamw(ops, ELEMS, &step, a[0], a[1], a[2], a[3]);
}

static buffers make_buffers(fsm_arena *arena)
{
    buffers b = {.attention = {1, 128, 128, 4, 2, 32, 128, 64, 64, 128, 128, 0.2f}};
    for (int i = 0; i < 8; i++) b.a[i] = test_floats(arena, ELEMS);
    b.row = FSM_ARENA_ARRAY(arena, int32_t, N);
    for (int32_t i = 0; i < N; i++) b.row[i] = i % WIDTH;
    b.weight = (fsm_weight){test_floats(arena, HIDDEN * WIDTH), HIDDEN, WIDTH, NULL};
    return b;
}

static void test_ops_allocations_are_counted(void **state)
{
    (void)state;
    if (!COUNTS_ALLOCATIONS) skip();
    long before = n_allocations;
    void *volatile kept = malloc(1);
    free(kept);
    assert_true(n_allocations == before + 1);
}

static void test_ops_allocations_none_in_any_operation(void **state)
{
    if (!COUNTS_ALLOCATIONS) skip();
    buffers b = make_buffers(*state);
    for (int threads = 1; threads <= 2; threads++) {
        for (int kind = FSM_CPU_FP32; kind <= FSM_CPU_BF16; kind++) {
            fsm_ops *ops;
            assert_int_equal(fsm_cpu_ops_create(threads, (fsm_cpu_kind)kind, &ops), FSMOE_OK);
            assert_true(ops->attention_reserve(ops, &b.attention));
            assert_true(fsm_cpu_weight_create_forced(ops, &b.weight));
            long before = n_allocations;
            run_products(ops, &b);
            run_layers(ops, &b);
            run_rest(ops, &b);
            assert_int_equal(n_allocations - before, 0);
            fsm_cpu_weight_destroy(ops, &b.weight);
            fsm_ops_destroy(ops);
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_arena_setup, test_arena_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_ops_allocations_are_counted),
        TEST(test_ops_allocations_none_in_any_operation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
