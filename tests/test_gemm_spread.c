/* Products of operands that are copied first, since their rows lie badly, have the bits of those that are not. */
#include "cpu/cpu.h"
#include "cpu/instance.h"
#include "cpu/slots.h"
#include "test_ops_data.h"

typedef struct product_size {
    int64_t m, n, k;
    bool copied; /* where there is memory for copies and A is transposed, B is not */
} product_size;

static const product_size sizes[] = {
    {512, 512, 512, true}, {512, 256, 1024, true},   {64, 512, 2048, false},
    {130, 640, 768, true}, {1, 512, 512, false},     {31, 512, 64, false},
    {64, 64, 128, false},  {1024, 1024, 128, false}, {300, 384, 333, true},
};

static int copied; /* products whose operands were */

/* A [m, k] or its transpose, B [k, n] or its transpose, C [m, n]; rows `gap` further apart than they are wide. */
static void multiply(const fsm_ops *ops, const product_size *s, bool trans_a, bool trans_b, int64_t gap, const float *a,
                     const float *b, float beta, float *c)
{
    ops->gemm(ops, trans_a, trans_b, s->m, s->n, s->k, NULL, fsm_reals(a, (trans_a ? s->m : s->k) + gap),
              fsm_reals(b, (trans_b ? s->k : s->n) + gap), beta, fsm_reals(c, s->n + gap));
}

static void check(fsm_arena *arena, fsm_ops *ops, const product_size *s, bool trans_a, bool trans_b, int64_t gap)
{
    fsm_cpu *cpu = (fsm_cpu *)ops;
    const float *a = test_floats(arena, (s->m + gap) * (s->k + gap)),
                *b = test_floats(arena, (s->k + gap) * (s->n + gap));
    float *const memory = cpu->spread;
    outputs c = test_outputs(arena, s->m * (s->n + gap));
    for (int beta = 0; beta < 2; beta++) {
        memory[0] = 12345;
        multiply(ops, s, trans_a, trans_b, gap, a, b, (float)beta, c.of[1]);
        if (s->copied && trans_a && !trans_b && gap == 0 && s->m % 128 == 0) assert_true(memory[0] == a[0]);
        if (!s->copied || trans_b) assert_true(memory[0] == 12345);
        copied += memory[0] != 12345;
        cpu->spread = NULL;
        multiply(ops, s, trans_a, trans_b, gap, a, b, (float)beta, c.of[2]);
        cpu->spread = memory;
        assert_memory_equal(c.of[1], c.of[2], sizeof(float) * (size_t)c.n);
    }
}

static void test_gemm_of_copied_operands_has_the_same_bits(void **state)
{
    for (int threads = 1; threads <= 3; threads++) {
        fsm_ops *ops;
        assert_int_equal(fsm_cpu_ops_create(threads, FSM_CPU_FP32, &ops), FSMOE_OK);
        bool copies = ((fsm_cpu *)ops)->spread != NULL; /* by the processor, and the library of products */
        copied = 0;
        for (size_t i = 0; copies && i < 8 * (sizeof sizes / sizeof *sizes); i++) {
            ((fsm_arena *)*state)->used = 0;
            check(*state, ops, &sizes[i / 8], i & 1, i & 2, i & 4 ? 128 : 0);
        }
        fsm_ops_destroy(ops);
        if (!copies) skip();
        assert_true(copied > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_gemm_of_copied_operands_has_the_same_bits, test_arena_setup,
                                        test_arena_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
