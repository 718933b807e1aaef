/* Keys that must fit one another, and those that follow from others. Oracles: recorded messages, which name the keys
 * and the place, and values worked out by hand.
 */
#include "config_case.h"

#include <math.h>

static void test_config_check_names_both_keys_and_the_place(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *message;
    } cases[] = {
        {"moe:\n  top_k: 9\n",
         "demo.yaml:2: 'moe.top_k' is 9, more than 'moe.num_experts', which is 8: a token goes to different experts"},
        {"moe:\n  num_experts: 1\n",
         "demo.yaml:2: 'moe.top_k' is 2, more than 'moe.num_experts', which is 1: a token goes to different experts"},
        {"model:\n  hidden: 130\n",
         "demo.yaml:2: 'model.hidden' is 130, not a multiple of 'model.num_heads', which is 4: set model.head_dim"},
        {"model:\n  num_kv_heads: 3\n",
         "demo.yaml:2: 'model.num_heads' is 4, not a multiple of 'model.num_kv_heads', which is 3: every key head "
         "serves equally many query heads"},
        {"model:\n  head_dim: 7\n", "demo.yaml:2: 'model.head_dim' is 7, but rotary positions need an even one"},
        {"model:\n  hidden: 20\n", "demo.yaml:2: 'model.head_dim' is 5, but rotary positions need an even one"},
        {"model:\n  family: gpt2\n  num_kv_heads: 2\n",
         "demo.yaml:3: 'model.num_kv_heads' is 2, but model.family gpt2 has as many as 'model.num_heads', which is 4"},
        {"train:\n  micro_batch: 3\n",
         "demo.yaml:2: 'train.global_batch' is 8, not a multiple of 'train.micro_batch', which is 3: a step is a "
         "whole number of micro-batches"},
        {"model:\n  max_seq_len: 64\n",
         "demo.yaml:2: 'data.seq_len' is 128, more than 'model.max_seq_len', which is 64: the model knows no later "
         "positions"},
        {"moe: {capacity_factor: 1, capacity_group: 48}",
         "demo.yaml:1: 'data.seq_len' is 128, not a multiple of 'moe.capacity_group', which is 48: a sample is a "
         "whole number of capacity groups"},
        {"train:\n  min_lr: 0.1\n",
         "demo.yaml:2: 'train.min_lr' is 0.1, more than 'train.lr', which is 0.001: the cosine falls"},
        {"train:\n  steps: 5\n  warmup_steps: 6\n",
         "demo.yaml:3: 'train.warmup_steps' is 6, more than 'train.steps', which is 5: train.lr would never be "
         "reached"},
        {"parallel:\n  ep_size: 3\n",
         "demo.yaml:2: 'moe.num_experts' is 8, not a multiple of 'parallel.ep_size', which is 3: every rank holds "
         "equally many experts"},
        {"parallel:\n  esp_size: 3\n",
         "demo.yaml:2: 'model.ffn_hidden' is 256, not a multiple of 'parallel.esp_size', which is 3: every rank "
         "holds an equal slice of an expert"},
        {"parallel:\n  mp_size: 3\n",
         "demo.yaml:2: 'model.num_heads' is 4, not a multiple of 'parallel.mp_size', which is 3: every rank holds "
         "equally many heads"},
        {"model:\n  num_kv_heads: 2\nparallel:\n  mp_size: 4\n",
         "demo.yaml:2: 'model.num_kv_heads' is 2, not a multiple of 'parallel.mp_size', which is 4: every rank holds "
         "equally many key heads"},
        {"train:\n  compute_dtype: bf16\nparallel:\n  canonical_sums: true\n",
         "demo.yaml:2: 'train.compute_dtype' is bf16, but parallel.canonical_sums adds in fp32 alone"},
        {"moe:\n  hooks: [token_histogram, wire_bf16]\ntrain:\n  compute_dtype: bf16\n",
         "demo.yaml:2: 'moe.hooks' has wire_bf16, which looks at rows of fp32, but 'train.compute_dtype' is bf16"},
        {"model: {num_heads: 4096, head_dim: 512, hidden: 64}\ntrain: {compute_dtype: bf16}\n",
         "demo.yaml:1: 'model.head_dim' makes heads of 2097152 elements together, but 'train.compute_dtype' bf16 knows "
         "at "
         "most 1048576"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        fsmoe_config *config = create();
        expect_ok(load_text(config, cases[i].yaml));
        assert_int_equal(fsm_config_check(config), FSMOE_ERROR_CONFIG);
        assert_string_equal(fsmoe_last_error(), cases[i].message);
        fsmoe_config_destroy(config);
    }
}

static void test_config_check_refuses_keys_without_effect(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *message;
    } cases[] = {
        {"model:\n  family: gpt2\n  rope_theta: 500\n",
         "demo.yaml:3: 'model.rope_theta' has no effect: model.family gpt2 learns its positions instead of rotating "
         "by them"},
        {"moe:\n  capacity_group: 32\n",
         "demo.yaml:2: 'moe.capacity_group' has no effect: moe.capacity_factor 0 drops no tokens"},
        {"train:\n  eval_every: 5\n", "demo.yaml:2: 'train.eval_every' has no effect: data.valid is empty"},
        {"train:\n  eval_tokens: 5\n", "demo.yaml:2: 'train.eval_tokens' has no effect: data.valid is empty"},
        {"run:\n  sample_tokens: 5\n", "demo.yaml:2: 'run.sample_tokens' has no effect: run.sample_prompt is empty"},
        {"run:\n  sample_temperature: 1\n",
         "demo.yaml:2: 'run.sample_temperature' has no effect: run.sample_prompt is empty"},
        {"run:\n  sample_top_p: 1\n", "demo.yaml:2: 'run.sample_top_p' has no effect: run.sample_prompt is empty"},
        {"run: {sample_prompt: x, sample_top_p: 1, sample_temperature: 0}\n",
         "demo.yaml:1: 'run.sample_top_p' has no effect: run.sample_temperature 0 always takes the likeliest token"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        fsmoe_config *config = create();
        expect_ok(load_text(config, cases[i].yaml));
        assert_int_equal(fsm_config_check(config), FSMOE_ERROR_CONFIG);
        assert_string_equal(fsmoe_last_error(), cases[i].message);
        fsmoe_config_destroy(config);
    }
    static const char *const fine[] = {
        "moe: {top_k: 2, normalize_top_k: true}\n",
        "moe: {capacity_factor: 1.25, capacity_group: 32}\n",
        "model: {family: gpt2, rope_theta: 10000, num_kv_heads: 4, head_dim: 7}\n",
        "run: {sample_prompt: x, sample_top_p: 1, sample_tokens: 3}\n",
        "data: {valid: v.txt}\ntrain: {eval_every: 5}\n",
    };
    for (size_t i = 0; i < COUNT_OF(fine); i++) {
        fsmoe_config *config = create();
        expect_ok(load_text(config, fine[i]));
        expect_ok(fsm_config_check(config));
        fsmoe_config_destroy(config);
    }
}

static void test_config_check_names_set_and_direct_writes(void **state)
{
    (void)state;
    fsmoe_config *config = create();
    expect_ok(load_text(config, "moe:\n  capacity_group: 32\n"));
    expect_ok(fsmoe_config_set(config, "moe.capacity_group=64"));
    assert_int_equal(fsm_config_check(config), FSMOE_ERROR_CONFIG);
    assert_string_equal(fsmoe_last_error(),
                        "--set: 'moe.capacity_group' has no effect: moe.capacity_factor 0 drops no tokens");
    config->moe.capacity_group = 0;
    config->model.num_heads = 0;
    assert_int_equal(fsm_config_check(config), FSMOE_ERROR_CONFIG);
    assert_string_equal(fsmoe_last_error(), "'model.num_heads' is 0, valid are 1 to 4096");
    config->model.num_heads = 4;
    config->train.lr = NAN;
    assert_int_equal(fsm_config_check(config), FSMOE_ERROR_CONFIG);
    assert_string_equal(fsmoe_last_error(), "'train.lr' is nan, valid are 0 to 1000");
    fsmoe_config_destroy(config);
}

/* ---- keys that a --set silences ---- */

enum { MOST_WARNINGS = 8 };
typedef struct warnings {
    char text[MOST_WARNINGS][256];
    int count;
} warnings;

static void note(void *user, const char *sentence)
{
    warnings *heard = user;
    assert_in_range(heard->count, 0, MOST_WARNINGS - 1);
    snprintf(heard->text[heard->count++], sizeof heard->text[0], "%s", sentence);
}

static fsmoe_config *load_and_set(const char *yaml, const char *const *sets, warnings *heard)
{
    fsmoe_config *config = create();
    *heard = (warnings){0};
    fsmoe_config_on_warning(config, note, heard);
    expect_ok(load_text(config, yaml));
    for (; *sets; sets++) expect_ok(fsmoe_config_set(config, *sets));
    return config;
}

#define ENDLESS "parallel:\n  replan_every: 9\n"
#define TRIED "data:\n  valid: v.txt\ntrain:\n  eval_every: 5\n  eval_tokens: 7\n  warmup_steps: 50\n"

static void test_config_check_warns_of_what_a_set_silences(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *sets[3];
        const char *warnings[3];
    } cases[] = {
        {ENDLESS,
         {"parallel.schedule=dsmoe"},
         {"demo.yaml:2: 'parallel.replan_every' is left without effect: parallel.schedule dsmoe is not planned from "
          "costs"}},
        {TRIED,
         {"data.valid=[]", "train.steps=2"},
         {"demo.yaml:4: 'train.eval_every' is left without effect: data.valid is empty",
          "demo.yaml:5: 'train.eval_tokens' is left without effect: data.valid is empty",
          "demo.yaml:6: 'train.warmup_steps' is cut to train.steps: train.lr would never be reached"}},
        {"moe:\n  top_k: 2\n",
         {"moe.gate=switch"},
         {"demo.yaml:2: 'moe.top_k' is left without effect: moe.gate switch chooses 1"}},
        {"moe:\n  gate: switch\n  top_k: 1\n  jitter: 0.1\n",
         {"moe.gate=hash"},
         {"demo.yaml:4: 'moe.jitter' is left without effect: only moe.gate switch jitters its input"}},
        {"moe:\n  capacity_factor: 1\n  capacity_group: 32\n  drop_policy: probs\n",
         {"moe.capacity_factor=0"},
         {"demo.yaml:4: 'moe.drop_policy' is left without effect: moe.capacity_factor 0 drops no tokens",
          "demo.yaml:3: 'moe.capacity_group' is left without effect: moe.capacity_factor 0 drops no tokens"}},
        {"moe: {gate: switch}\n", {"train.steps=2"}, {NULL}}, /* nobody asked for another top_k than 1 */
        {"moe: {jitter: 0.1}\n", {"moe.gate=switch"}, {NULL}},
        {"parallel: {schedule: dsmoe}\n", {"parallel.cluster="}, {NULL}}, /* none is what it has */
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        warnings heard;
        fsmoe_config *config = load_and_set(cases[i].yaml, cases[i].sets, &heard), *back = create();
        expect_ok(fsm_config_check(config));
        int expected = 0;
        for (; expected < 3 && cases[i].warnings[expected]; expected++)
            assert_string_equal(heard.text[expected], cases[i].warnings[expected]);
        expect_ok(fsm_config_check(config));
        assert_int_equal(heard.count, expected); /* once */
        expect_ok(fsm_config_derive(config));
        char *text = dump(config, false);
        expect_ok(load_text(back, text));
        expect_ok(fsm_config_check(back)); /* all of it in one file */
        free(text);
        fsmoe_config_destroy(config);
        fsmoe_config_destroy(back);
    }
}

/* Each is without effect by what stands beside it, or was asked for now. */
static void test_config_check_refuses_what_was_written_beside_its_silencer(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *sets[3], *message;
    } cases[] = {
        {ENDLESS "  schedule: dsmoe\n",
         {"train.steps=2"},
         "demo.yaml:2: 'parallel.replan_every' has no effect: parallel.schedule dsmoe is not planned from costs"},
        {ENDLESS "  schedule: dsmoe\n",
         {"parallel.schedule=dsmoe"},
         "demo.yaml:2: 'parallel.replan_every' has no effect: parallel.schedule dsmoe is not planned from costs"},
        {"parallel: {schedule: dsmoe}\n",
         {"parallel.replan_every=9"},
         "--set: 'parallel.replan_every' has no effect: parallel.schedule dsmoe is not planned from costs"},
        {ENDLESS,
         {"parallel.replan_every=8", "parallel.schedule=dsmoe"},
         "--set: 'parallel.replan_every' has no effect: parallel.schedule dsmoe is not planned from costs"},
        {"moe:\n  jitter: 0.1\n",
         {"moe.gate=hash"},
         "demo.yaml:2: 'moe.jitter' has no effect: only moe.gate switch jitters its input"},
        {"moe:\n  gate: switch\n  top_k: 2\n",
         {"train.steps=2"},
         "demo.yaml:3: 'moe.top_k' is 2, but moe.gate switch chooses 1"},
        {"moe: {gate: switch, top_k: 1}\n", {"moe.top_k=2"}, "--set: 'moe.top_k' is 2, but moe.gate switch chooses 1"},
        {"train: {steps: 5}\n",
         {"train.warmup_steps=6"},
         "--set: 'train.warmup_steps' is 6, more than 'train.steps', which is 5: train.lr would never be reached"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        warnings heard;
        fsmoe_config *config = load_and_set(cases[i].yaml, cases[i].sets, &heard);
        assert_int_equal(fsm_config_check(config), FSMOE_ERROR_CONFIG);
        assert_string_equal(fsmoe_last_error(), cases[i].message);
        assert_int_equal(heard.count, 0);
        fsmoe_config_destroy(config);
    }
}

static void test_config_derive_fills_what_depends_on_other_keys(void **state)
{
    (void)state;
    fsmoe_config *config = create();
    expect_ok(fsm_config_derive(config));
    assert_int_equal(config->model.num_kv_heads, 4);
    assert_int_equal(config->model.head_dim, 32);
    assert_int_equal(config->model.max_seq_len, 128);
    assert_int_equal(config->train.micro_batch, 8);
    assert_string_equal(config->moe.expert, "mixtral");
    assert_string_equal(config->moe.order, "sorted");
    assert_string_equal(config->train.compute_dtype, "fp32");
    expect_ok(fsm_config_check(config));
    fsmoe_config_destroy(config);

    config = create();
    expect_ok(load_text(config, "model: {family: gpt2, head_dim: 8, max_seq_len: 512}\nmoe: {capacity_factor: 2}\n"
                                "train: {micro_batch: 2, compute_dtype: auto}\n"));
    expect_ok(fsm_config_derive(config));
    assert_string_equal(config->train.compute_dtype, "fp32");
    assert_int_equal(config->model.head_dim, 8);
    assert_int_equal(config->model.max_seq_len, 512);
    assert_int_equal(config->train.micro_batch, 2);
    assert_string_equal(config->moe.expert, "gpt");
    assert_string_equal(config->moe.order, "tutel");
    expect_ok(fsm_config_check(config));
    fsmoe_config_destroy(config);
}

/* It may read any key that a gate of the library reads; those of the rest are refused as ever. The last test: names
 * stay. */
static void test_config_check_leaves_keys_of_gates_to_a_gate_from_outside(void **state)
{
    (void)state;
    expect_ok(fsm_config_add_choice("moe.gate", "mine"));
    fsmoe_config *config = create();
    expect_ok(load_text(config,
                        "moe:\n  gate: mine\n  noisy: true\n  normalize_top_k: true\n  jitter: 0.1\n  top_k: 1\n"
                        "  balanced: true\n  proj_dim: 7\n  slots_per_expert: 3\n  normalize_slots: true\n"
                        "  n_group: 4\n  topk_group: 2\n  routed_scaling_factor: 2\n  bias_update_rate: 0.5\n"
                        "  hash: table\n"));
    expect_ok(fsm_config_check(config));
    expect_ok(fsmoe_config_set(config, "moe.drop_policy=probs"));
    assert_int_equal(fsm_config_check(config), FSMOE_ERROR_CONFIG);
    fsmoe_config_destroy(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_check_names_both_keys_and_the_place),
        cmocka_unit_test(test_config_check_refuses_keys_without_effect),
        cmocka_unit_test(test_config_check_names_set_and_direct_writes),
        cmocka_unit_test(test_config_check_warns_of_what_a_set_silences),
        cmocka_unit_test(test_config_check_refuses_what_was_written_beside_its_silencer),
        cmocka_unit_test(test_config_derive_fills_what_depends_on_other_keys),
        cmocka_unit_test(test_config_check_leaves_keys_of_gates_to_a_gate_from_outside),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
