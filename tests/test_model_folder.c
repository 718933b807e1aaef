/* Model folders that are not what they say, and models whose numbers are none: named before memory is reserved, at
 * loading, or when the first logit is not finite, by whatever reads them. Oracle: what was done to the folder.
 */
#include "command_case.h"

#include <float.h>

enum { VOCAB = 256, HIDDEN = 16 };

#define EVAL ARGS("eval", "bad", "--data", "valid.txt")
#define GENERATE ARGS("generate", "bad", "--prompt", "Emma", "--max-tokens", "5")
#define INIT ARGS("train", "open.yaml", "--init", "bad")
#define RESUME ARGS("train", "open.yaml", "--set", "run.dir=run", "--set", "train.steps=6", "--resume")

/* Takes the shape of whatever it starts from. */
static void write_open_config(const command_case *c)
{
    static const char open_shape[] = "data: {train: train.txt, seq_len: 16}\nparallel: {threads: 1}\n"
                                     "train: {steps: 4, global_batch: 4}\nrun: {dir: out}\n";
    write_text(c, "open.yaml", open_shape, strlen(open_shape));
}

/* A folder "bad" like the model of a run, which is trained unless it was. */
static void make_bad(const command_case *c, const char *family)
{
    char dir_key[80], family_key[80], model[80];
    const char *dir = dir_key + strlen("run.dir=");
    snprintf(dir_key, sizeof dir_key, "run.dir=of-%s", family);
    snprintf(family_key, sizeof family_key, "model.family=%s", family);
    snprintf(model, sizeof model, "of-%s/model", family);
    if (!has(c, dir)) assert_works(run(c, ARGS("train", "config.yaml", "--set", dir_key, "--set", family_key)));
    assert_works(spawn(c, ARGS("rm", "-rf", "bad"), (streams){0}));
    assert_works(spawn(c, ARGS("cp", "-a", model, "bad"), (streams){0}));
    assert_works(spawn(c, ARGS("rm", "bad/checksums"), (streams){0})); /* which would speak first */
}

/* ---- numbers of config.json ---- */

static void set_numbers(const command_case *c, const char *folder, const char *numbers)
{
    char name[64], path[FSM_PATH_BYTES];
    snprintf(name, sizeof name, "%s/config.json", folder);
    json_t *json = json_load_file(path_in(c, name, path), 0, NULL), *changed = json_loads(numbers, 0, NULL);
    assert_non_null(json);
    assert_non_null(changed);
    assert_int_equal(json_object_update_existing(json, changed), 0);
    assert_int_equal(json_dump_file(json, path, 0), 0);
    json_decref(json);
    json_decref(changed);
}

typedef struct wrong {
    const char *numbers;
    const char *const *parts;
} wrong;

/* The last would need more memory than an address has bits for: it is refused before any is reserved. */
#define FIRST_EXPERT "'model.layers.1.block_sparse_moe.experts.0.w1.weight'"
#define WRONG_NUMBERS                                                                                                  \
    {                                                                                                                  \
        {"{\"intermediate_size\": 3200}",                                                                              \
         ARGS(FIRST_EXPERT, "shape [32, 16], wanted [3200, 16]", "intermediate_size 3200")},                           \
            {"{\"num_local_experts\": 400}",                                                                           \
             ARGS("no tensor 'model.layers.1.block_sparse_moe.experts.4.w1.weight'", "num_local_experts 400")},        \
            {"{\"num_local_experts\": 2}",                                                                             \
             ARGS("'model.layers.1.block_sparse_moe.gate.weight'", "shape [4, 16], wanted [2, 16]")},                  \
            {"{\"num_hidden_layers\": 4000}", ARGS("no tensor 'model.layers.3999.", "num_hidden_layers 4000")},        \
            {"{\"num_hidden_layers\": 1}", ARGS(FIRST_EXPERT, "is not one of this model's", "num_hidden_layers 1")},   \
            {"{\"vocab_size\": 16000000}", ARGS("'lm_head.weight' has shape [256, 16], wanted [16000000, 16]")},       \
            {"{\"hidden_size\": 1024}", ARGS("'lm_head.weight' has shape [256, 16], wanted [256, 1024]")},             \
            {"{\"hidden_size\": 1048576, \"intermediate_size\": 1048576, \"num_local_experts\": 65536, \"head_dim\": " \
             "524288, \"vocab_size\": 16777216, \"num_hidden_layers\": 4096}",                                         \
             ARGS("wanted")},                                                                                          \
    }

static void test_model_folder_wrong_numbers_are_named_before_memory_is_reserved(void **state)
{
    const command_case *c = *state;
    const wrong cases[] = WRONG_NUMBERS;
    write_open_config(c);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_bad(c, "mixtral");
        set_numbers(c, "bad", cases[i].numbers);
        assert_fails(run(c, EVAL), FSMOE_ERROR_FORMAT, cases[i].parts);
        assert_fails(run(c, GENERATE), FSMOE_ERROR_FORMAT, cases[i].parts);
        assert_fails(run(c, INIT), FSMOE_ERROR_FORMAT, cases[i].parts);
        assert_false(has(c, "out"));
    }
    make_bad(c, "mixtral"); /* as it was, it is sound */
    assert_works(run(c, EVAL));
    assert_works(run(c, GENERATE));
    assert_works(run(c, INIT));
}

static void test_model_folder_wrong_numbers_of_a_checkpoint_are_refused(void **state)
{
    const command_case *c = *state;
    const wrong cases[] = WRONG_NUMBERS;
    write_open_config(c);
    assert_works(run(c, ARGS("train", "config.yaml")));
    assert_works(spawn(c, ARGS("cp", "-a", "run/checkpoint-4", "sound"), (streams){0}));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_works(spawn(c, ARGS("cp", "sound/config.json", "run/checkpoint-4"), (streams){0}));
        set_numbers(c, "run/checkpoint-4", cases[i].numbers);
        assert_fails(run(c, RESUME), FSMOE_ERROR_FORMAT, ARGS("run/checkpoint-4"));
    }
    assert_works(spawn(c, ARGS("cp", "sound/config.json", "run/checkpoint-4"), (streams){0}));
    assert_works(run(c, RESUME));
}

static void test_model_folder_wrong_numbers_end_all_ranks_alike(void **state)
{
    const command_case *c = *state;
    const wrong cases[] = WRONG_NUMBERS;
    if (!has_mpi(c)) skip();
    write_open_config(c);
    make_bad(c, "mixtral");
    set_numbers(c, "bad", cases[0].numbers);
    assert_fails(run_ranks(c, "4", ARGS("train", "open.yaml", "--init", "bad", "--set", "parallel.ep_size=4")),
                 FSMOE_ERROR_FORMAT, cases[0].parts);
}

/* ---- numbers that are none ---- */

static void overwrite(const command_case *c, const char *tensor, size_t first, size_t n, float value)
{
    overwrite_tensor(c, "bad/model.safetensors", tensor, first, n, value);
}

static void test_model_folder_names_what_is_not_finite_at_loading(void **state)
{
    const command_case *c = *state;
    static const struct {
        const char *tensor;
        size_t at;
        float value;
        const char *place;
    } cases[] = {
        {"model.embed_tokens.weight", 101 * HIDDEN, NAN, "NaN at [101, 0]"},
        {"model.layers.1.block_sparse_moe.experts.3.w2.weight", 5, -INFINITY, "-infinity at [0, 5]"},
        {"model.norm.weight", HIDDEN - 1, INFINITY, "infinity at [15]"},
    };
    write_open_config(c);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const *parts = ARGS("'bad'", cases[i].tensor, cases[i].place);
        make_bad(c, "mixtral");
        overwrite(c, cases[i].tensor, cases[i].at, 1, cases[i].value);
        assert_fails(run(c, EVAL), FSMOE_ERROR_NUMERIC, parts);
        assert_fails(run(c, GENERATE), FSMOE_ERROR_NUMERIC, parts);
        assert_fails(run(c, INIT), FSMOE_ERROR_NUMERIC, parts);
        assert_false(has(c, "out"));
    }
}

/* One rank of four holds it; all end, one says it. */
static void test_model_folder_what_one_rank_reads_ends_all(void **state)
{
    const command_case *c = *state;
    if (!has_mpi(c)) skip();
    write_open_config(c);
    make_bad(c, "mixtral");
    overwrite(c, "model.layers.1.block_sparse_moe.experts.2.w3.weight", 7, 1, NAN);
    assert_fails(run_ranks(c, "4", ARGS("train", "open.yaml", "--init", "bad", "--set", "parallel.ep_size=4")),
                 FSMOE_ERROR_NUMERIC, ARGS("experts.2.w3.weight", "NaN at [0, 7]"));
    assert_false(has(c, "out"));
}

/* The weights are finite, what is worked out from them is not. */
static void test_model_folder_logits_that_are_not_finite_end_eval_and_generate(void **state)
{
    const command_case *c = *state;
    write_open_config(c);
    make_bad(c, "mixtral");
    overwrite(c, "model.norm.weight", 0, HIDDEN, FLT_MAX);
    overwrite(c, "lm_head.weight", 0, VOCAB * HIDDEN, FLT_MAX);
    assert_fails(run(c, EVAL), FSMOE_ERROR_NUMERIC, ARGS("not finite"));
    outcome o = run(c, GENERATE);
    assert_string_equal(o.out, "Emma");
    assert_fails(o, FSMOE_ERROR_NUMERIC, ARGS("after 4 tokens", "logits are not finite"));
    assert_fails(run(c, ARGS("train", "open.yaml", "--init", "bad")), FSMOE_ERROR_NUMERIC,
                 ARGS("step 1", "not finite"));
    assert_false(has(c, "out/model"));
    assert_int_equal(count_matches(c, "out/checkpoint-*"), 0);
}

/* The final norm gives ones whatever the token, so that the logit of id 0, which the text has not, is -infinity and all
 * others and the loss are finite. */
static void test_model_folder_a_logit_of_minus_infinity_is_not_finite(void **state)
{
    const command_case *c = *state;
    make_bad(c, "gpt2");
    overwrite(c, "transformer.ln_f.weight", 0, HIDDEN, 0);
    overwrite(c, "transformer.ln_f.bias", 0, HIDDEN, 1);
    assert_works(run(c, EVAL));
    overwrite(c, "lm_head.weight", 0, HIDDEN, -FLT_MAX);
    assert_fails(run(c, EVAL), FSMOE_ERROR_NUMERIC, ARGS("not finite"));
    assert_fails(run(c, GENERATE), FSMOE_ERROR_NUMERIC, ARGS("logits are not finite: that of id 0 is -inf"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_model_folder_wrong_numbers_are_named_before_memory_is_reserved, make_case,
                                        remove_case),
        cmocka_unit_test_setup_teardown(test_model_folder_wrong_numbers_of_a_checkpoint_are_refused, make_case,
                                        remove_case),
        cmocka_unit_test_setup_teardown(test_model_folder_wrong_numbers_end_all_ranks_alike, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_model_folder_names_what_is_not_finite_at_loading, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_model_folder_what_one_rank_reads_ends_all, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_model_folder_logits_that_are_not_finite_end_eval_and_generate, make_case,
                                        remove_case),
        cmocka_unit_test_setup_teardown(test_model_folder_a_logit_of_minus_infinity_is_not_finite, make_case,
                                        remove_case),
    };
    return cmocka_run_group_tests_name("model_folder", tests, NULL, NULL);
}
