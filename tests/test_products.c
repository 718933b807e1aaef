/* The table of product implementations: measured, printed and read back, looked up, and computed by. */
#include "cpu/cpu.h"
#include "cpu/gemm.h"
#include "cpu/products.h"
#include "test_ops_data.h"

#include <fsmoe/profile.h>
#include <stdlib.h>

enum { OUT = 80, IN = 48, MOST_ROWS = 700 };

static fsm_product row_of(int64_t rows, bool backward, fsm_product_way way)
{
    return (fsm_product){rows, OUT, IN, backward, {1.25, 0, 3.5}, way};
}

static fsm_products table_of(fsm_product_way forward, fsm_product_way backward)
{
    fsm_products table = {.threads = 2};
    for (int i = 0; i < FSM_PRODUCT_SIZES; i++) {
        table.items[table.count++] = row_of(fsm_product_rows[i], false, forward);
        table.items[table.count++] = row_of(fsm_product_rows[i], true, backward);
    }
    return table;
}

static void test_products_way_is_that_of_the_next_smaller_number_of_rows(void **state)
{
    fsm_products t = table_of(FSM_PRODUCT_SGEMM, FSM_PRODUCT_PLAIN);
    t.items[4].chosen = FSM_PRODUCT_PACKED; /* forward, 256 rows */
    (void)state;
    assert_int_equal(fsm_products_way(&t, false, 300, OUT, IN), FSM_PRODUCT_PACKED);
    assert_int_equal(fsm_products_way(&t, false, 256, OUT, IN), FSM_PRODUCT_PACKED);
    assert_int_equal(fsm_products_way(&t, false, 255, OUT, IN), FSM_PRODUCT_SGEMM);
    assert_int_equal(fsm_products_way(&t, true, 3, OUT, IN), FSM_PRODUCT_PLAIN);
    assert_int_equal(fsm_products_way(&t, true, 5000, OUT, IN), FSM_PRODUCT_PLAIN);
    assert_int_equal(fsm_products_way(&t, true, 256, IN, OUT), FSM_PRODUCT_SGEMM);
    assert_int_equal(fsm_products_ways(&t, OUT, IN),
                     1U << FSM_PRODUCT_SGEMM | 1U << FSM_PRODUCT_PLAIN | 1U << FSM_PRODUCT_PACKED);
    assert_int_equal(fsm_products_ways(&t, IN, OUT), 0);
}

static void test_products_text_reads_back_as_the_same_table(void **state)
{
    fsm_products t = table_of(FSM_PRODUCT_PACKED, FSM_PRODUCT_PLAIN), read;
    char *text;
    (void)state;
    t.items[3].gflops[1] = 1.0 / 3;
    t.experts = (fsm_expert_products){8, 100, OUT, IN, {1.0 / 7, 2}, true};
    assert_int_equal(fsm_products_text(&t, &text), FSMOE_OK);
    assert_int_equal(fsm_products_parse(text, "text", &read), FSMOE_OK);
    free(text);
    assert_int_equal(read.threads, t.threads);
    assert_true(read.experts.count == 8 && read.experts.rows == 100 && read.experts.out == OUT &&
                read.experts.in == IN);
    assert_memory_equal(read.experts.gflops, t.experts.gflops, sizeof t.experts.gflops);
    assert_true(read.experts.side_by_side);
    assert_int_equal(read.count, t.count);
    for (int i = 0; i < t.count; i++) {
        const fsm_product *a = &read.items[i], *b = &t.items[i];
        assert_true(a->rows == b->rows && a->out == b->out && a->in == b->in && a->backward == b->backward);
        assert_memory_equal(a->gflops, b->gflops, sizeof a->gflops);
        assert_int_equal(a->chosen, b->chosen);
    }
}

#define ROW(rows, way) \
    "{\"rows\":" rows ",\"out\":8,\"in\":4,\"backward\":false,\"gflops\":[1,2,3],\"way\":\"" way "\"}"

#define EXPERTS(count, rates) \
    "{\"count\":" count ",\"rows\":9,\"out\":8,\"in\":4,\"gflops\":" rates ",\"side_by_side\":true}"

static void test_products_parse_refuses_what_is_no_table(void **state)
{
    static const char *const wrong[] = {
        "",
        "[]",
        "{\"threads\":2}",
        "{\"threads\":0,\"products\":[]}",
        "{\"threads\":2,\"products\":[],\"more\":1}",
        "{\"threads\":2,\"products\":[{}]}",
        "{\"threads\":2,\"experts\":{},\"products\":[]}",
        "{\"threads\":2,\"experts\":" EXPERTS("0", "[1,2]") ",\"products\":[]}",
        "{\"threads\":2,\"experts\":" EXPERTS("8", "[1,2,3]") ",\"products\":[]}",
        "{\"threads\":2,\"products\":[" ROW("16", "magic") "]}",
        "{\"threads\":2,\"products\":[" ROW("-16", "sgemm") "]}",
        "{\"threads\":2,\"products\":[" ROW("16", "sgemm") "," ROW("16", "sgemm") "]}",
        "{\"threads\":2,\"products\":[" ROW("64", "sgemm") "," ROW("16", "sgemm") "]}",
    };
    fsm_products t;
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(fsm_products_parse(wrong[i], "text", &t), FSMOE_ERROR_FORMAT);
    assert_int_equal(fsm_products_parse("{\"threads\":2,\"experts\":" EXPERTS("8", "[1,2]") ",\"products\":[]}", "text",
                                        &t),
                     FSMOE_OK);
    assert_int_equal(fsm_products_parse("{\"threads\":2,\"products\":[" ROW("16", "sgemm") "," ROW("64", "packed") "]}",
                                        "text", &t),
                     FSMOE_OK);
}

static void test_products_measured_have_every_shape_once_and_a_choice_that_is_there(void **state)
{
    static const int64_t shapes[][2] = {{OUT, IN}, {16, 33}, {OUT, IN}, {0, 5}};
    fsm_products t;
    fsm_ops *ops;
    (void)state;
    assert_int_equal(fsm_cpu_ops_create(2, FSM_CPU_FP32, &ops), FSMOE_OK);
    assert_int_equal(fsm_products_measure(ops, 4, shapes, 10, &t), FSMOE_OK);
    assert_int_equal(t.count, 2 * 2 * FSM_PRODUCT_SIZES);
    assert_int_equal(t.threads, 2);
    for (int i = 0; i < t.count; i++) {
        const double *gflops = t.items[i].gflops;
        assert_true(gflops[FSM_PRODUCT_SGEMM] > 0);
        assert_int_equal(gflops[FSM_PRODUCT_PLAIN] > 0, FSMOE_PRODUCTS_HAVE_WAYS);
        assert_int_equal(gflops[FSM_PRODUCT_PACKED] > 0, FSMOE_PRODUCTS_HAVE_WAYS);
        assert_true(gflops[t.items[i].chosen] >= gflops[FSM_PRODUCT_SGEMM]);
    }
    fsm_ops_destroy(ops);
}

static void test_products_of_experts_are_measured_both_ways(void **state)
{
    static const struct {
        int threads;
        int64_t count, rows, measured;
        bool both;
    } cases[] = {{2, 8, 60, 8, true}, {2, 1, 60, 1, false}, {1, 8, 60, 8, false}, {2, 8, 0, 0, false}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fsm_products t = {.experts = {cases[i].count, cases[i].rows, OUT, IN, {0}, false}};
        fsm_ops *ops;
        assert_int_equal(fsm_cpu_ops_create(cases[i].threads, FSM_CPU_FP32, &ops), FSMOE_OK);
        assert_int_equal(fsm_products_measure_experts(ops, &t), FSMOE_OK);
        assert_int_equal(t.experts.count, cases[i].measured);
        assert_int_equal(t.experts.gflops[0] > 0 && t.experts.gflops[1] > 0, cases[i].both);
        assert_true(!t.experts.side_by_side || t.experts.gflops[1] > t.experts.gflops[0]);
        assert_null(fsm_cpu_products(ops));
        fsm_ops_destroy(ops);
    }
}

/* What a way does of n rows: none where it is sgemm's, or not in this build; else all but fewer than 16, its smallest
 * piece. */
static int64_t rows_by(fsm_product_way way, int64_t n)
{
    return way == FSM_PRODUCT_SGEMM || !FSMOE_PRODUCTS_HAVE_WAYS ? 0 : n - n % 16;
}

/* A table of forward and backward, each with one way. */
static void check_linears(fsm_arena *arena, const fsm_ops *ops, fsm_product_way forward, fsm_product_way backward,
                          int64_t n)
{
    fsm_weight weight = {test_floats(arena, OUT * IN), OUT, IN, NULL};
    const float *x = test_floats(arena, n * IN), *dy = test_floats(arena, n * OUT);
    outputs y = test_outputs(arena, n * OUT), dx = test_outputs(arena, n * IN);
    assert_true(ops->weight_create(ops, &weight));
    assert_int_equal(fsm_cpu_packed_forward(ops, n, &weight, x, y.of[1]), rows_by(forward, n));
    assert_int_equal(fsm_cpu_packed_backward_input(ops, n, &weight, dy, dx.of[1]), rows_by(backward, n));
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *table = run == 0 ? &fsm_ops_reference : ops;
        table->linear_forward(table, n, &weight, NULL, fsm_reals(x, IN), fsm_reals(y.of[run], OUT));
        table->linear_backward_input(table, n, &weight, fsm_reals(dy, OUT), 0, fsm_reals(dx.of[run], IN));
    }
    ops->weight_destroy(ops, &weight);
    test_assert_agree("linear_forward", y, 1e-5);
    test_assert_agree("linear_backward_input", dx, 1e-5);
}

static void test_products_by_every_way_agree_with_the_reference(void **state)
{
    for (int way = 0; way < FSM_PRODUCT_WAYS * FSM_PRODUCT_WAYS; way++) {
        fsm_product_way forward = way / FSM_PRODUCT_WAYS, backward = way % FSM_PRODUCT_WAYS;
        fsm_products t = table_of(forward, backward);
        fsm_ops *ops;
        assert_int_equal(fsm_cpu_ops_create(2, FSM_CPU_FP32, &ops), FSMOE_OK);
        assert_int_equal(fsm_cpu_use_products(ops, &t), FSMOE_OK);
        for (int64_t n = 1; n <= MOST_ROWS; n = 2 * n + 13) {
            ((fsm_arena *)*state)->used = 0;
            check_linears(*state, ops, forward, backward, n);
        }
        fsm_ops_destroy(ops);
    }
}

/* As a copy keeps what the weight was until it is told. */
static void test_products_of_packed_weights_follow_an_update(void **state)
{
    fsm_products t = table_of(FSM_PRODUCT_PACKED, FSM_PRODUCT_PACKED);
    fsm_ops *ops;
    assert_int_equal(fsm_cpu_ops_create(1, FSM_CPU_FP32, &ops), FSMOE_OK);
    assert_int_equal(fsm_cpu_use_products(ops, &t), FSMOE_OK);
    float *w = test_floats(*state, OUT * IN), *y = test_floats(*state, 64 * OUT);
    const float *x = test_floats(*state, 64 * IN);
    fsm_weight weight = {w, OUT, IN, NULL};
    assert_true(ops->weight_create(ops, &weight));
    for (int64_t i = 0; i < OUT * IN; i++) w[i] = 0;
    ops->linear_forward(ops, 64, &weight, NULL, fsm_reals(x, IN), fsm_reals(y, OUT));
    assert_int_equal(y[0] != 0, FSMOE_PRODUCTS_HAVE_WAYS);
    ops->weight_update(ops, &weight);
    ops->linear_forward(ops, 64, &weight, NULL, fsm_reals(x, IN), fsm_reals(y, OUT));
    for (int64_t i = 0; i < 64 * OUT; i++) assert_true(y[i] == 0);
    ops->weight_destroy(ops, &weight);
    fsm_ops_destroy(ops);
}

static void test_profile_products_measures_every_weight_of_the_configuration(void **state)
{
    static fsmoe_products products;
    fsmoe_config *config;
    fsmoe_world *world;
    int found = 0;
    (void)state;
    assert_int_equal(fsmoe_world_create(&world), FSMOE_OK);
    assert_int_equal(fsmoe_config_create(&config), FSMOE_OK);
    assert_int_equal(fsmoe_config_set(config, "model.hidden=32"), FSMOE_OK);
    assert_int_equal(fsmoe_config_set(config, "model.num_heads=2"), FSMOE_OK);
    assert_int_equal(fsmoe_config_set(config, "model.ffn_hidden=48"), FSMOE_OK);
    assert_int_equal(fsmoe_config_set(config, "model.vocab_size=300"), FSMOE_OK);
    assert_int_equal(fsmoe_profile_products(world, config, 5, &products), FSMOE_OK);
    for (int i = 0; i < products.count; i++) {
        const fsmoe_product *p = &products.items[i];
        found |= p->out == 96 && p->in == 32 ? 1 : 0; /* gate and up of an expert; also Q K V */
        found |= p->out == 32 && p->in == 48 ? 2 : 0;
        found |= p->out == 300 && p->in == 32 ? 4 : 0;
        assert_true(p->chosen >= 0 && p->chosen < FSMOE_PRODUCT_WAYS && p->gflops[p->chosen] > 0);
    }
    assert_int_equal(found, 7);
    fsmoe_config_destroy(config);
    fsmoe_world_destroy(world);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_arena_setup, test_arena_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_products_way_is_that_of_the_next_smaller_number_of_rows),
        TEST(test_products_text_reads_back_as_the_same_table),
        TEST(test_products_parse_refuses_what_is_no_table),
        TEST(test_products_measured_have_every_shape_once_and_a_choice_that_is_there),
        cmocka_unit_test(test_products_of_experts_are_measured_both_ways),
        TEST(test_products_by_every_way_agree_with_the_reference),
        TEST(test_products_of_packed_weights_follow_an_update),
        TEST(test_profile_products_measures_every_weight_of_the_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
