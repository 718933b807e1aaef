/* How a run that goes on computes: in the type and by the table of products that it began with, so that its bits are
 * those of a run that was not stopped. Through the command, as a user has it. */
#define _GNU_SOURCE
#include "resume_case.h"

#include "base/rng.h"
#include "cpu/cpu.h"
#include "cpu/gemm.h"
#include "cpu/products.h"

/* What a run began with it goes on with, though auto were something else on this machine. */
static void test_resume_computes_in_the_type_that_was_chosen_first(void **state)
{
    const command_case *c = *state;
#define TYPE(name) "--set", "train.compute_dtype=" name
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(4), EVERY(2), TYPE("bf16"), DIR("whole"))));
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(4), EVERY(2), TYPE("bf16"))));
    assert_told(run(c, ARGS("train", "config.yaml", STEPS(4), EVERY(2), TYPE("auto"), "--resume-from", "checkpoint-2")),
                "train.compute_dtype auto is bf16, as in the run so far");
    assert_same_file(c, "whole/model/model.safetensors", "run/model/model.safetensors");
    assert_told(run(c, ARGS("train", "config.yaml", STEPS(1), TYPE("auto"), DIR("now"))),
                "train.compute_dtype auto is ");
    const char *const parts[] = {"moe.hooks", "which looks at rows of fp32", NULL};
    assert_fails(run(c, ARGS("train", "config.yaml", STEPS(5), TYPE("auto"), "--set", "moe.hooks=[wire_bf16]",
                             "--resume")),
                 FSMOE_ERROR_CONFIG, parts);
}

/* Longer batches than others': of fewer rows all ways give the same bits. */
#define LONGER "--set", "data.seq_len=64", "--set", "train.global_batch=8"
#define MEASURED STEPS(4), EVERY(2), "--set", "train.products=measured", "--set", "parallel.threads=1", LONGER

/* What is measured differs from run to run, so the whole run and the one that goes on are one: its steps after the
 * checkpoint are done again, by the table that was kept. */
static void test_resume_computes_by_the_table_of_products_that_was_measured_first(void **state)
{
    const command_case *c = *state;
    assert_told(run(c, ARGS("train", "config.yaml", MEASURED)), "products measured now: ");
    assert_same_file(c, "run/products.json", "run/checkpoint-2/products.json");
    assert_works(spawn(c, ARGS("cp", "-r", "run", "whole"), (streams){0}));
    assert_told(run(c, ARGS("train", "config.yaml", MEASURED, "--resume-from", "checkpoint-2")),
                "products as measured at the run's beginning: ");
    assert_same_file(c, "whole/products.json", "run/products.json");
    assert_same_file(c, "whole/products.json", "run/checkpoint-4/products.json");
    assert_same_file(c, "whole/model/model.safetensors", "run/model/model.safetensors");
    assert_losses_agree(c, "whole", "run", 0);
    /* the table of one thread is none of two */
    assert_told(run(c, ARGS("train", "config.yaml", MEASURED, "--set", "parallel.threads=2", "--resume-from",
                            "checkpoint-2")),
                "products measured anew, since threads or shapes are others: ");
    damage(c, "run/checkpoint-4/products.json");
    assert_fails(run(c, ARGS("train", "config.yaml", MEASURED, "--resume")), FSMOE_ERROR_FORMAT,
                 ARGS("run/checkpoint-4/products.json", "checkpoint-2"));
}

/* A table that says one way for all, where it said what was measured; of how many products. */
static int say_way(const command_case *c, const char *checkpoint, const char *way)
{
    char name[256], path[FSM_PATH_BYTES];
    size_t i;
    json_t *row;
    snprintf(name, sizeof name, "%s/products.json", checkpoint);
    json_t *table = json_load_file(path_in(c, name, path), 0, NULL);
    assert_non_null(table);
    json_array_foreach(json_object_get(table, "products"), i, row)
        assert_int_equal(json_object_set_new(row, "way", json_string(way)), 0);
    assert_int_equal(json_dump_file(table, path, JSON_COMPACT), 0);
    json_decref(table);
    seal(c, checkpoint);
    return (int)i;
}

/* Whether it shows in the bits, on this processor, which way a product of many rows goes. */
static bool ways_differ(void)
{
    enum { ROWS = 512, OUT = 48, IN = 16 };
    static float w[OUT * IN], dy[ROWS * OUT], dx[2][ROWS * IN];
    fsm_weight weight = {w, OUT, IN, NULL};
    fsm_ops *ops;
    assert_int_equal(fsm_cpu_ops_create(1, FSM_CPU_FP32, &ops), FSMOE_OK);
    for (int i = 0; i < OUT * IN; i++) w[i] = (float)fsm_rng_normal(1, FSM_RNG_TEST, (uint64_t)i);
    for (int i = 0; i < ROWS * OUT; i++) dy[i] = (float)fsm_rng_normal(2, FSM_RNG_TEST, (uint64_t)i);
    assert_true(fsm_cpu_weight_create_ways(ops, &weight, 1U << FSM_PRODUCT_PACKED));
    fsm_cpu_sgemm(ops, false, false, ROWS, IN, OUT, 1, dy, OUT, w, IN, 0, dx[0], IN);
    int64_t done = fsm_cpu_multiply(ops, FSM_PRODUCT_PACKED, true, ROWS, &weight, dy, dx[1]);
    assert_int_equal(done, FSMOE_PRODUCTS_HAVE_WAYS ? ROWS : 0);
    ops->weight_destroy(ops, &weight);
    fsm_ops_destroy(ops);
    return done > 0 && memcmp(dx[0], dx[1], sizeof dx[0]) != 0;
}

/* Goes on from the second step by a table that says this way for all; `kept` is what became of the run. */
static void resume_by(const command_case *c, const char *way, const char *kept)
{
    char told[64], name[256];
    int count = say_way(c, "run/checkpoint-2", way);
    snprintf(told, sizeof told, ": %d of %d go another way than sgemm", strcmp(way, "sgemm") == 0 ? 0 : count, count);
    assert_told(run(c, ARGS("train", "config.yaml", MEASURED, "--resume-from", "checkpoint-2")), told);
    assert_works(spawn(c, ARGS("cp", "-r", "run", kept), (streams){0}));
    snprintf(name, sizeof name, "%s/checkpoint-4/products.json", kept);
    assert_same_file(c, "run/products.json", name);
}

static void test_resume_computes_by_what_the_table_says(void **state)
{
    const command_case *c = *state;
    if (!ways_differ()) skip();
    assert_works(run(c, ARGS("train", "config.yaml", MEASURED)));
    resume_by(c, "packed", "packed");
    resume_by(c, "sgemm", "sgemm");
    resume_by(c, "packed", "again");
    assert_same_file(c, "packed/model/model.safetensors", "again/model/model.safetensors");
    size_t sizes[2];
    char *packed = read_text(c, "packed/model/model.safetensors", &sizes[0]);
    char *sgemm = read_text(c, "sgemm/model/model.safetensors", &sizes[1]);
    assert_true(sizes[0] == sizes[1] && memcmp(packed, sgemm, sizes[0]) != 0);
    free(packed);
    free(sgemm);
}

static void test_resume_ranks_compute_by_the_table_of_the_first(void **state)
{
    const command_case *c = *state;
    if (!has_mpi(c)) skip();
    assert_works(run_ranks(c, "2", ARGS("train", "config.yaml", MEASURED)));
    assert_works(spawn(c, ARGS("cp", "-r", "run", "whole"), (streams){0}));
    assert_told(run_ranks(c, "2", ARGS("train", "config.yaml", MEASURED, "--resume-from", "checkpoint-2")),
                "products as measured at the run's beginning: ");
    assert_same_file(c, "whole/model/model.safetensors", "run/model/model.safetensors");
    assert_losses_agree(c, "whole", "run", 0);
}

/* A file in the run's folder is of the run as it is now. */
static void test_resume_with_fixed_products_has_no_table_left(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS("train", "config.yaml", MEASURED)));
    assert_true(has(c, "run/products.json"));
    assert_works(run(c, ARGS("train", "config.yaml", "--resume", STEPS(6), LONGER)));
    assert_true(!has(c, "run/products.json") && !has(c, "run/checkpoint-6/products.json"));
}

#undef MEASURED
#undef LONGER

static void test_resume_without_measured_products_keeps_no_table(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(2))));
    assert_true(!has(c, "run/products.json") && !has(c, "run/checkpoint-2/products.json"));
    assert_fails(run(c, ARGS("train", "config.yaml", "--set", "train.products=measured", "--set",
                             "parallel.canonical_sums=true")),
                 FSMOE_ERROR_CONFIG, ARGS("train.products", "parallel.canonical_sums has one way to multiply"));
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, make_case, remove_case)
    const struct CMUnitTest tests[] = {
        CASE(test_resume_computes_in_the_type_that_was_chosen_first),
        CASE(test_resume_computes_by_the_table_of_products_that_was_measured_first),
        CASE(test_resume_computes_by_what_the_table_says),
        CASE(test_resume_ranks_compute_by_the_table_of_the_first),
        CASE(test_resume_with_fixed_products_has_no_table_left),
        CASE(test_resume_without_measured_products_keeps_no_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
