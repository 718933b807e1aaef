/* The table that counts another's work. That it forwards every slot is test_ops_values' and test_ops_gradients' to see,
 * where it is one of the tables; what it counts is worked out here by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cpu/cpu.h"
#include "ops/meter.h"

#include <stdlib.h>
#include <string.h>

static fsm_ops *inner, *metered; /* the meter owns the other */

static int make_table(void **state)
{
    (void)state;
    return fsm_cpu_ops_create(1, FSM_CPU_FP32, &inner) != FSMOE_OK || fsm_meter_create(inner, &metered) != FSMOE_OK;
}

static int destroy_table(void **state)
{
    (void)state;
    fsm_ops_destroy(metered);
    return 0;
}

/* What is on a table: its own functions, none of the inner table's. */
static void test_ops_meter_has_a_slot_of_its_own_for_each(void **state)
{
    (void)state;
    for (size_t at = offsetof(fsm_ops, route); at < sizeof *metered; at += sizeof(void (*)(void))) {
        void (*slot)(void), (*below)(void);
        memcpy(&slot, (const char *)metered + at, sizeof slot);
        memcpy(&below, (const char *)inner + at, sizeof below);
        assert_non_null(slot);
        assert_ptr_not_equal(slot, below);
    }
}

static void assert_counted(fsm_op_kind kind, double calls, double flops, double bytes)
{
    const fsm_op_count *c = &fsm_meter_counts(metered)[kind];
    if (c->calls != calls || c->flops != flops || c->bytes != bytes || c->s < 0)
        fail_msg("%s: %g calls, %g FLOPs, %g bytes in %g s", fsm_op_kind_name(kind), c->calls, c->flops, c->bytes,
                 c->s);
}

static void test_ops_meter_counts_products(void **state)
{
    (void)state;
    float a[6 * 4] = {0}, b[4 * 5] = {0}, c[6 * 5], d[5 * 4] = {0};
    const fsm_weight weight = {.w = b, .out = 5, .in = 4};
    fsm_meter_reset(metered);
    fsm_meter_turn(metered, true);
    metered->linear_forward(metered, 6, &weight, NULL, fsm_reals(a, 4), fsm_reals(c, 5));
    metered->gemm(metered, false, true, 6, 5, 4, NULL, fsm_reals(a, 4), fsm_reals(b, 4), 0, fsm_reals(c, 5));
    metered->linear_backward_input(metered, 6, &weight, fsm_reals(c, 5), 0, fsm_reals(a, 4));
    metered->linear_backward_weight(metered, 6, 5, 4, fsm_reals(c, 5), fsm_reals(a, 4), d, NULL);
    fsm_meter_turn(metered, false);
    metered->linear_forward(metered, 6, &weight, NULL, fsm_reals(a, 4), fsm_reals(c, 5)); /* nobody counts */
    assert_counted(FSM_OP_PRODUCT, 2, 2 * 2 * 6 * 5 * 4, 0);
    assert_counted(FSM_OP_PRODUCT_INPUT, 1, 2 * 6 * 5 * 4, 0);
    assert_counted(FSM_OP_PRODUCT_WEIGHT, 1, 2 * 6 * 5 * 4, 0);
}

/* Two samples of one head: queries 3 and 4 of four see three and four keys. */
static void test_ops_meter_counts_the_causal_part_of_attention(void **state)
{
    (void)state;
    enum { B = 2, Q = 2, K = 4, D = 8 };
    float q[B * Q * D] = {0}, k[B * K * D] = {0}, v[B * K * D] = {0}, o[B * Q * D], lse[B * Q];
    const fsm_attention_shape shape = {.batch = B,
                                       .q_len = Q,
                                       .k_len = K,
                                       .heads = 1,
                                       .kv_heads = 1,
                                       .head_dim = D,
                                       .ld_q = D,
                                       .ld_k = D,
                                       .ld_v = D,
                                       .ld_o = D,
                                       .sample_k = K,
                                       .scale = 1};
    assert_true(metered->attention_reserve(metered, &shape));
    assert_true(metered->attention_work_bytes(metered, &shape) > 0);
    fsm_meter_reset(metered);
    fsm_meter_turn(metered, true);
    metered->attention_forward(metered, &shape, q, k, v, o, lse);
    fsm_meter_turn(metered, false);
    assert_counted(FSM_OP_ATTENTION, 1, 2 * 2 * B * (3 + 4) * D, 0);
}

static void test_ops_meter_counts_bytes_of_the_rest(void **state)
{
    (void)state;
    float x[12] = {0}, y[12] = {0}, gain[4] = {0}, rstd[3], m[12] = {0}, v[12] = {0};
    int32_t row[3] = {2, 0, -1}, choice[3] = {0, 0, 0}, filling[1], dropped[1];
    static const float rates[FSM_ADAMW_RATES] = {0, 1, 1};
    const fsm_adamw step = {.rates = rates, .eps = 1};
    const fsm_places places = {.n = 3, .choices = 1, .num_experts = 1, .group = 3, .capacity = 2};
    fsm_meter_reset(metered);
    fsm_meter_turn(metered, true);
    metered->rmsnorm_forward(metered, 3, 4, 1e-5f, x, gain, y, rstd);
    metered->relu_forward(metered, 12, x, y);
    metered->swiglu_forward(metered, 3, 2, x, y);
    metered->gather_rows(metered, 3, 4, row, x, y);
    metered->place.keep(metered, &places, choice, row, filling, dropped);
    metered->adamw(metered, 12, &step, x, m, v, y);
    metered->copy(metered, sizeof x, x, y);
    fsm_meter_turn(metered, false);
    assert_counted(FSM_OP_NORM, 1, 0, (12 + 4 + 12 + 3) * 4);
    assert_counted(FSM_OP_ACTIVATION, 2, 0, (24 + 18) * 4);
    assert_counted(FSM_OP_ROWS, 1, 0, (24 + 3) * 4);
    assert_counted(FSM_OP_PLACES, 1, 0, (3 + 3 + 1) * 4);
    assert_counted(FSM_OP_OPTIMIZER, 1, 0, 7 * 12 * 4);
    assert_counted(FSM_OP_COPIES, 1, 0, 2 * sizeof x);
    assert_counted(FSM_OP_PRODUCT, 0, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ops_meter_has_a_slot_of_its_own_for_each),
        cmocka_unit_test(test_ops_meter_counts_products),
        cmocka_unit_test(test_ops_meter_counts_the_causal_part_of_attention),
        cmocka_unit_test(test_ops_meter_counts_bytes_of_the_rest),
    };
    return cmocka_run_group_tests(tests, make_table, destroy_table);
}
