/* What is said of a run's memory: evaluation stays within training's rows at the same loss, a run that does not fit is
 * refused, a peak is near its prediction. Oracles: rows by hand; a dropless run; the system. test_lanes_parts.c has the
 * kinds. */
#define _GNU_SOURCE
#include "base/machine.h"
#include "command_case.h"
#include "model/lanes.h"
#include "model_case.h"
#include "train/backend.h"
#include "train/memory.h"
#include "train/products.h"

/* ---- evaluation ---- */

/* Of 8 samples a group. */
static void wires_of(const char *capacity, const char *other, fsm_wire_shape *reserved, fsm_wire_shape *expected,
                     int64_t *eval_samples)
{
    const char *const settings[] = {"data.seq_len=16",
                                    "train.global_batch=32",
                                    "model.vocab_size=256",
                                    "parallel.ep_size=4",
                                    "moe.top_k=2",
                                    capacity,
                                    other,
                                    NULL};
    fsmoe_config *config = model_case_config(settings);
    fsm_topo topo;
    assert_int_equal(fsm_topo_create(1, 4, &config->parallel, 0, &topo), FSMOE_OK);
    fsm_lanes_wire(config, &topo, 8, reserved);
    *eval_samples = fsm_lanes_eval_samples(config, &topo, 8);
    fsm_lanes_wire_within(config, &topo, 8, *eval_samples, true, expected);
    fsmoe_config_destroy(config);
}

/* 8 samples of 16 tokens: an expert takes 5 of 16 tokens from each of 4 ranks; a rank has 2 of 8 experts. */
static void test_memory_rows_are_those_of_training(void **state)
{
    (void)state;
    fsm_wire_shape reserved, expected;
    int64_t samples;
    wires_of("moe.capacity_factor=1.25", "moe.capacity_group=16", &reserved, &expected, &samples);
    assert_int_equal(reserved.max_expert_rows, 4 * 2 * 5 * 8);
    assert_int_equal(expected.max_expert_rows, reserved.max_expert_rows);
    assert_int_equal(samples, 4 * 2 * 5 * 8 / (4 * 2 * 16)); /* all tokens of 4 ranks, to both experts */
}

static void test_memory_batches_that_may_not_be_cut_are_whole(void **state)
{
    (void)state;
    fsm_wire_shape reserved, expected;
    int64_t samples;
    wires_of("moe.capacity_factor=0", "moe.order=sorted", &reserved, &expected, &samples);
    assert_int_equal(samples, 8);
    assert_int_equal(reserved.max_expert_rows, 4 * 8 * 16 * 2);
    assert_int_equal(expected.max_expert_rows, (int64_t)(FSM_MOE_UNEVEN * 8 * 16 * 2));
    wires_of("moe.capacity_factor=1.25", "parallel.canonical_sums=true", &reserved, &expected, &samples);
    assert_int_equal(samples, 8);
}

/* At a learning rate of 0 both runs evaluate the same weights. */
static void check_same_loss(const command_case *c, const char *ranks, const char *ep)
{
#define SMALL "--set", "train.steps=1", "--set", "train.lr=0", "--set", ep
    const char *const whole[] = {"train", "config.yaml",           SMALL, "--set", "run.dir=whole",
                                 "--set", "moe.capacity_factor=0", NULL};
    const char *const cut[] = {
        "train", "config.yaml",           SMALL, "--set", "run.dir=cut", "--set", "moe.capacity_factor=0.5",
        "--set", "moe.capacity_group=16", NULL};
    size_t n;
    assert_works(ranks ? run_ranks(c, ranks, whole) : run(c, whole));
    assert_works(ranks ? run_ranks(c, ranks, cut) : run(c, cut));
    double *of_whole = read_log(c, "whole", "val_loss", &n), *of_cut = read_log(c, "cut", "val_loss", &n);
    if (!(fabs(of_cut[0] - of_whole[0]) <= 1e-6 * of_whole[0]))
        fail_msg("a validation loss of %.9g in pieces, %.9g whole", of_cut[0], of_whole[0]);
    free(of_whole);
    free(of_cut);
}

static void test_memory_evaluation_in_pieces_has_the_same_loss(void **state)
{
    check_same_loss(*state, NULL, "parallel.ep_size=1");
    if (has_mpi(*state)) check_same_loss(*state, "2", "parallel.ep_size=2");
}

/* ---- runs ---- */

static void test_memory_of_too_large_a_run_is_refused_by_kind(void **state)
{
    const command_case *c = *state;
    assert_fails(run(c, ARGS("train", "config.yaml", "--set", "model.hidden=65536", "--set", "model.ffn_hidden=262144",
                             "--set", "run.dir=large")),
                 FSMOE_ERROR_MEMORY,
                 ARGS("does not fit", "available", "parameters ", "optimizer ", "saved rows ", "--force"));
    assert_false(has(c, "large/config.yaml"));
}

/* Rank 0 alone reads the model for the sample: fp32 values of all of it, some 0.7 MB more than another rank takes. */
static void test_memory_of_a_machine_has_what_only_the_first_rank_takes_once(void **state)
{
    (void)state;
    const char *const settings[] = {"model.hidden=128",
                                    "model.vocab_size=256",
                                    "data.seq_len=16",
                                    "train.global_batch=32",
                                    "parallel.ep_size=4",
                                    "run.sample_prompt=Emma",
                                    NULL};
    const fsm_memory_options how = {.threads = 1};
    fsmoe_config *config = model_case_config(settings);
    fsm_topo topo;
    fsm_memory_ranks m;
    assert_int_equal(fsm_topo_create(1, 4, &config->parallel, 2, &topo), FSMOE_OK);
    assert_int_equal(fsm_memory_predict_ranks(config, &topo, &how, &m), FSMOE_OK);
    double first = (double)fsmoe_memory_total(&m.first), other = (double)fsmoe_memory_total(&m.other);
    assert_true(first > other + 0.5e6);
    assert_true(fsm_memory_of_ranks(&m, 4, true) == first + 3 * other);
    assert_true(fsm_memory_of_ranks(&m, 4, false) == 4 * other);
    fsmoe_config_destroy(config);
}

/* With the model read again by rank 0, two ranks take less than twice what it does. */
static void test_memory_of_two_ranks_is_not_twice_that_of_the_first(void **state)
{
    const command_case *c = *state;
    if (!has_mpi(c)) skip();
    outcome o =
        run_ranks(c, "2",
                  ARGS("train", "config.yaml", "--set", "model.hidden=65536", "--set", "model.ffn_hidden=65536",
                       "--set", "run.sample_prompt=Emma", "--set", "run.sample_tokens=2", "--set", "run.dir=large"));
    const char *both = strstr(o.err, "2 ranks of this machine take "), *first = strstr(o.err, "the first takes ");
    if (!both || !first) fail_msg("%s", o.err);
    double needed = atof(both + strlen("2 ranks of this machine take ")),
           one = atof(first + strlen("the first takes "));
    if (!(needed > one && needed < 1.9 * one)) fail_msg("two ranks take %g GB, the first %g GB", needed, one);
    forget(o);
}

/* As a plan's are: none of it is allocated here. Four lanes, of 0.4 of what there is each, are too much where one is
 * not. */
static void test_memory_of_lanes_that_do_not_fit_is_refused(void **state)
{
    char micro[48], global[48], warning[FSM_MEMORY_SENTENCE_BYTES];
    const char *const settings[] = {
        "model.hidden=128", "model.vocab_size=256", "data.seq_len=1024", micro, global, "parallel.threads=1", NULL};
    fsmoe_memory m[2], predicted = {0};
    fsm_topo topo;
    fsm_comm *self;
    (void)state;
    for (int i = 0; i < 3; i++) {
        double samples = i < 2 ? i + 1
                               : 0.4 * fsm_machine_available_bytes() /
                                     (double)(fsmoe_memory_total(&m[1]) - fsmoe_memory_total(&m[0]));
        snprintf(micro, sizeof micro, "train.micro_batch=%.0f", samples);
        snprintf(global, sizeof global, "train.global_batch=%.0f", 4 * floor(samples + 0.5));
        fsmoe_config *config = model_case_config(settings);
        fsm_memory_options how = {.threads = 1};
        assert_int_equal(fsm_topo_create(1, 1, &config->parallel, 0, &topo), FSMOE_OK);
        if (i < 2) assert_int_equal(fsm_memory_predict(config, &topo, &how, &m[i]), FSMOE_OK);
        assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
        if (i == 2) {
            assert_int_equal(fsm_memory_check(config, self, &how, false, &predicted, warning), FSMOE_OK);
            how.lanes = (fsm_lanes){.lanes = 4, .parts = 1};
            assert_int_equal(fsm_memory_check(config, self, &how, false, &predicted, warning), FSMOE_ERROR_MEMORY);
            assert_int_equal(fsm_memory_check(config, self, &how, true, &predicted, warning), FSMOE_OK);
            assert_has(warning, "does not fit");
        }
        fsm_comm_destroy(self);
        fsmoe_config_destroy(config);
    }
}

/* ---- products that are measured ---- */

/* Whether this build's library packs weights at all. */
static bool packs(void)
{
    static const fsm_products table = {.threads = 1,
                                       .count = 1,
                                       .items = {{.out = 64, .in = 64, .chosen = FSM_PRODUCT_PACKED}}};
    const fsm_backend_options how = {.threads = 1, .products = &table};
    fsm_ops *ops;
    assert_int_equal(fsm_backend_create_to_measure(&how, &ops), FSMOE_OK);
    bool does = ops->weight_bytes(ops, 64, 64) > 0;
    fsm_ops_destroy(ops);
    return does;
}

static fsmoe_memory memory_with(const char *products, const fsm_products *table)
{
    const char *const settings[] = {"model.hidden=128", "model.vocab_size=256", "data.seq_len=16", products, NULL};
    const fsm_memory_options how = {.threads = 1, .products = table};
    fsmoe_config *config = model_case_config(settings);
    fsm_topo topo;
    fsmoe_memory m;
    assert_int_equal(fsm_topo_create(1, 1, &config->parallel, 0, &topo), FSMOE_OK);
    assert_int_equal(fsm_memory_predict(config, &topo, &how, &m), FSMOE_OK);
    fsmoe_config_destroy(config);
    return m;
}

/* Copies for both directions of nearly all parameters; embeddings, norms and gates have none. */
static void test_memory_of_products_yet_to_be_measured_is_the_most(void **state)
{
    (void)state;
    if (!packs()) skip();
    fsmoe_memory m = memory_with("train.products=measured", NULL);
    double share = (double)m.packed / (double)m.parameters;
    if (!(share > 1.7 && share < 2.6)) fail_msg("packed copies take %g times what parameters do", share);
}

static void test_memory_of_products_is_that_of_their_table(void **state)
{
    (void)state;
    static fsm_products table = {.threads = 1};
    fsmoe_memory fixed = memory_with("train.products=fixed", NULL);
    assert_true(memory_with("train.products=measured", &table).packed == 0);
    table.items[table.count++] = (fsm_product){.rows = 16, .out = 256, .in = 128, .chosen = FSM_PRODUCT_PACKED};
    fsmoe_memory m = memory_with("train.products=measured", &table); /* the head alone */
    if (packs()) assert_in_range(m.packed, 2 * sizeof(float) * 256 * 128, 3 * sizeof(float) * 256 * 128);
    assert_true(fsmoe_memory_total(&m) - m.packed == fsmoe_memory_total(&fixed) - fixed.packed);
}

/* Of a step of some 180 MB, with a further argument. Sanitizers keep memory of their own. */
static void check_peak(const command_case *c, const char *argument)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(FSMOE_ONE_THREAD)
    (void)c, (void)argument;
    skip();
#else
    assert_works(run(c, ARGS("train", "config.yaml", "--set", "model.hidden=128", "--set", "model.ffn_hidden=512",
                             "--set", "model.num_layers=4", "--set", "model.moe_every=1", "--set", "moe.num_experts=8",
                             "--set", "train.steps=1", argument)));
    char *text = read_text(c, "run/run.json", NULL);
    json_t *record = json_loads(text, 0, NULL), *memory = json_object_get(record, "memory");
    double predicted = number(json_object_get(memory, "predicted_bytes"), "total"), peak = number(memory, "peak_bytes");
    if (!(predicted > 100e6 && fabs(peak - predicted) <= 0.1 * predicted))
        fail_msg("%.0f bytes at the peak, %.0f predicted", peak, predicted);
    json_decref(record);
    free(text);
#endif
}

static void test_memory_peak_is_near_its_prediction(void **state)
{
    check_peak(*state, NULL);
}

/* Which measures the machine's bandwidth on arrays of 64 MiB when all else is in use. */
static void test_memory_peak_of_a_breakdown_is_near_its_prediction(void **state)
{
    check_peak(*state, "--breakdown");
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_case, remove_case)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_rows_are_those_of_training),
        cmocka_unit_test(test_memory_batches_that_may_not_be_cut_are_whole),
        IN_FOLDER(test_memory_evaluation_in_pieces_has_the_same_loss),
        IN_FOLDER(test_memory_of_too_large_a_run_is_refused_by_kind),
        cmocka_unit_test(test_memory_of_a_machine_has_what_only_the_first_rank_takes_once),
        IN_FOLDER(test_memory_of_two_ranks_is_not_twice_that_of_the_first),
        cmocka_unit_test(test_memory_of_lanes_that_do_not_fit_is_refused),
        cmocka_unit_test(test_memory_of_products_yet_to_be_measured_is_the_most),
        cmocka_unit_test(test_memory_of_products_is_that_of_their_table),
        IN_FOLDER(test_memory_peak_is_near_its_prediction),
        IN_FOLDER(test_memory_peak_of_a_breakdown_is_near_its_prediction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
