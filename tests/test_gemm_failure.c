/* What a product is when the library has no memory for it. This program has the library's own entry points: they fail
 * when they are told to, and else are the library's. */
#define _GNU_SOURCE
#include "cpu/cpu.h"
#include "cpu/gemm.h"
#include "cpu/slots.h"

#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { OUT_OF_MEMORY = 1, ROWS = 16, IN = 64, OUT = 48 };

static int calls, failing; /* of products; of reorders and packed products */
static bool fail_products, fail_primitives;

typedef int sgemm(char, char, int64_t, int64_t, int64_t, float, const float *, int64_t, const float *, int64_t, float,
                  float *, int64_t);
sgemm dnnl_sgemm;
int dnnl_primitive_execute(const void *primitive, void *stream, int count, const void *arguments);

int dnnl_sgemm(char a_form, char b_form, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
               const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    calls++;
    if (fail_products) return OUT_OF_MEMORY;
    return ((sgemm *)dlsym(RTLD_NEXT, "dnnl_sgemm"))(a_form, b_form, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

int dnnl_primitive_execute(const void *primitive, void *stream, int count, const void *arguments)
{
    int (*real)(const void *, void *, int, const void *) = dlsym(RTLD_NEXT, "dnnl_primitive_execute");
    if (fail_primitives) failing++;
    return fail_primitives ? OUT_OF_MEMORY : real(primitive, stream, count, arguments);
}

static fsm_ops *ops;
static float x[ROWS * IN], w[OUT * IN], y[ROWS * OUT], expected[ROWS * OUT];

static void fill(void)
{
    fail_products = fail_primitives = false;
    for (int i = 0; i < ROWS * IN; i++) x[i] = (float)(i % 7 - 3);
    for (int i = 0; i < OUT * IN; i++) w[i] = (float)(i % 5 - 2);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < OUT; j++) {
            float sum = 0; /* of small whole numbers: exact in any order */
            for (int k = 0; k < IN; k++) sum += x[i * IN + k] * w[j * IN + k];
            expected[i * OUT + j] = sum;
        }
}

static void product(void)
{
    fsm_cpu_gemm(ops, false, true, ROWS, OUT, IN, NULL, fsm_reals(x, IN), fsm_reals(w, IN), 0, fsm_reals(y, OUT));
}

static void test_gemm_that_fails_is_no_number(void **state)
{
    (void)state;
    fill();
    product();
    if (calls == 0) skip(); /* another library makes the products */
    for (int i = 0; i < ROWS * OUT; i++) assert_true(y[i] == expected[i]);
    fail_products = true;
    product();
    for (int i = 0; i < ROWS * OUT; i++) assert_true(isnan(y[i]));
}

static void test_packed_product_that_fails_is_no_number(void **state)
{
    (void)state;
    fill();
    fsm_weight weight = {.out = OUT, .in = IN, .w = w};
    if (!fsm_cpu_weight_create_forced(ops, &weight) || !weight.pack) skip();
    int64_t done = fsm_cpu_packed_forward(ops, ROWS, &weight, x, y);
    assert_true(done > 0);
    for (int64_t i = 0; i < done * OUT; i++) assert_true(y[i] == expected[i]);
    fail_primitives = true;
    assert_int_equal(fsm_cpu_packed_forward(ops, ROWS, &weight, x, y), done);
    for (int64_t i = 0; i < done * OUT; i++) assert_true(isnan(y[i]));
    assert_true(failing > 0);
    fsm_cpu_weight_destroy(ops, &weight);
}

/* Else a step would go on with the weights of an earlier one. */
static void test_packed_copy_that_cannot_be_renewed_is_not_used(void **state)
{
    (void)state;
    fill();
    fsm_weight weight = {.out = OUT, .in = IN, .w = w};
    if (!fsm_cpu_weight_create_forced(ops, &weight) || !weight.pack) skip();
    fail_primitives = true;
    fsm_cpu_weight_update(ops, &weight);
    fail_primitives = false;
    assert_int_equal(fsm_cpu_packed_forward(ops, ROWS, &weight, x, y), 0);
    fsm_cpu_weight_update(ops, &weight);
    assert_true(fsm_cpu_packed_forward(ops, ROWS, &weight, x, y) > 0);
    fsm_cpu_weight_destroy(ops, &weight);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm_that_fails_is_no_number),
        cmocka_unit_test(test_packed_product_that_fails_is_no_number),
        cmocka_unit_test(test_packed_copy_that_cannot_be_renewed_is_not_used),
    };
    if (fsm_cpu_ops_create(1, FSM_CPU_FP32, &ops) != FSMOE_OK) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fsm_ops_destroy(ops);
    return failed;
}
