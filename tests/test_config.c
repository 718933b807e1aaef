/* Configuration: defaults, files, overrides, messages, dumps, the documentation, and damaged files.
 * Works in a temporary folder, so that messages name plain "demo.yaml". */
#define _GNU_SOURCE /* asprintf */
#include "base/file.h"
#include "base/rng.h"
#include "config/config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static char folder[] = "/tmp/fsmoe-test-config-XXXXXX";

static int enter_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int leave_folder(void **state)
{
    (void)state;
    return chdir("/") == 0 && fsm_file_remove_tree(folder) == FSMOE_OK ? 0 : -1;
}

static void write_file(const char *path, const char *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static fsmoe_config *create(void)
{
    fsmoe_config *config;
    assert_int_equal(fsmoe_config_create(&config), FSMOE_OK);
    return config;
}

static void expect_ok(fsmoe_status status)
{
    if (status != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
}

static fsmoe_status load_text(fsmoe_config *config, const char *yaml)
{
    write_file("demo.yaml", yaml, strlen(yaml));
    return fsmoe_config_load(config, "demo.yaml");
}

static char *dump(const fsmoe_config *config, bool comments)
{
    char *text;
    expect_ok(fsmoe_config_dump(config, comments, &text));
    return text;
}

static void expect_same_values(const fsmoe_config *a, const fsmoe_config *b)
{
    char *text_a = dump(a, false), *text_b = dump(b, false);
    assert_string_equal(text_a, text_b);
    free(text_a);
    free(text_b);
}

static void test_config_defaults_are_as_documented(void **state)
{
    (void)state;
    fsmoe_config *config = create();
    assert_string_equal(config->model.family, "mixtral");
    assert_int_equal(config->model.hidden, 128);
    assert_int_equal(config->moe.num_experts, 8);
    assert_true(config->model.norm_eps == 1e-5 && config->model.rope_theta == 10000 && config->train.adam_eps == 1e-8);
    assert_true(config->data.shuffle && !config->moe.noisy);
    assert_int_equal(config->data.train.count, 0);
    assert_string_equal(config->run.sample_prompt, "");
    for (size_t i = 0; i < fsm_config_field_count; i++)
        assert_true(fsm_config_is_default(config, &fsm_config_fields[i]));
    expect_ok(fsm_config_check(config));
    fsmoe_config_destroy(config);
}

static void test_config_table_has_every_field_in_a_known_section(void **state)
{
    (void)state;
    size_t bytes = 0;
    static const size_t sizes[] = {sizeof(int64_t), sizeof(double),        sizeof(bool),
                                   sizeof(char *),  sizeof(fsmoe_strings), sizeof(char *)};
    for (size_t i = 0; i < fsm_config_field_count; i++) {
        const fsm_config_field *field = &fsm_config_fields[i];
        assert_ptr_equal(fsm_config_find(field->key), field);
        size_t known = 0;
        for (size_t s = 0; s < fsm_config_section_count; s++) {
            size_t length = strlen(fsm_config_sections[s].name);
            known += strncmp(field->key, fsm_config_sections[s].name, length) == 0 && field->key[length] == '.';
        }
        assert_int_equal(known, 1);
        bytes += sizes[field->type];
    }
    /* What is not a field can only be the padding after a row of bools: of model, moe (three rows), parallel and data. */
    assert_in_range(sizeof(fsmoe_config) - bytes, 0, 6 * 7);
}

static void test_config_dump_reads_back_to_the_same_values(void **state)
{
    (void)state;
    for (int comments = 0; comments < 2; comments++) {
        fsmoe_config *config = create(), *back = create();
        expect_ok(fsmoe_config_set(config, "train.lr=0.30000000000000004"));
        expect_ok(fsmoe_config_set(config, "train.weight_decay=1e-310"));
        expect_ok(fsmoe_config_set(config, "train.seed=9007199254740992"));
        expect_ok(fsmoe_config_set(config, "data.train=[a.txt, 'b, c.txt', \"#d\", '']"));
        expect_ok(fsmoe_config_set(config, "model.tie_embeddings=true"));
        char *text = dump(config, comments);
        expect_ok(load_text(back, text));
        assert_true(back->train.lr == 0.1 + 0.2 && back->train.weight_decay == 1e-310);
        assert_int_equal(back->train.seed, INT64_C(9007199254740992));
        assert_int_equal(back->data.train.count, 4);
        assert_string_equal(back->data.train.items[1], "b, c.txt");
        assert_string_equal(back->data.train.items[3], "");
        expect_same_values(config, back);
        expect_ok(fsm_config_check(back));
        free(text);
        fsmoe_config_destroy(config);
        fsmoe_config_destroy(back);
    }
}

static void test_config_dump_keeps_every_bit_of_a_float(void **state)
{
    (void)state;
    fsmoe_config *config = create(), *back = create();
    for (uint64_t i = 0; i < 300; i++) {
        double value = exp(40 * fsm_rng_normal(1, FSM_RNG_TEST, i));
        config->model.init_std = value < 10 ? value : 1 / value;
        char *text = dump(config, false);
        expect_ok(load_text(back, text));
        assert_memory_equal(&back->model.init_std, &config->model.init_std, sizeof(double));
        free(text);
    }
    fsmoe_config_destroy(config);
    fsmoe_config_destroy(back);
}

/* Pieces that YAML treats specially, among them line breaks of Unicode, a byte order mark and an emoji. */
static void random_text(uint64_t seed, char *text)
{
    static const char *const pieces[] = {
        "a",
        " ",
        "\n",
        "\t",
        "'",
        "\"",
        "\\",
        "#",
        ": ",
        "- ",
        "{",
        "]",
        "%",
        "~",
        "\x01",
        "\x7f",
        "null",
        "\r",
        "---\n",
        "\xc2\x85",
        "\xe2\x80\xa8",
        "\xef\xbb\xbf",
        "\xf0\x9f\x98\x80",
        "\xc3\xa9",
        "...\n",
        "&x",
        "*x",
        "!t",
        ",",
        "\xef\xbf\xbe",
    };
    *text = 0;
    uint64_t count = fsm_rng_bits(seed, FSM_RNG_TEST, 0) % 12;
    for (uint64_t i = 1; i <= count; i++) strcat(text, pieces[fsm_rng_bits(seed, FSM_RNG_TEST, i) % COUNT_OF(pieces)]);
}

static void test_config_dump_carries_any_text(void **state)
{
    (void)state;
    fsmoe_config *config = create(), *back = create();
    for (uint64_t seed = 0; seed < 500; seed++) {
        free(config->run.sample_prompt);
        config->run.sample_prompt = calloc(1, 256);
        random_text(seed, config->run.sample_prompt);
        char *text = dump(config, false);
        expect_ok(load_text(back, text));
        assert_string_equal(back->run.sample_prompt, config->run.sample_prompt);
        free(text);
    }
    strcpy(config->run.sample_prompt, "\xff");
    char *text;
    assert_int_equal(fsmoe_config_dump(config, false, &text), FSMOE_ERROR_CONFIG);
    assert_null(text);
    assert_string_equal(fsmoe_last_error(), "'run.sample_prompt' cannot be written: its text is not UTF-8");
    fsmoe_config_destroy(config);
    fsmoe_config_destroy(back);
}

static void test_config_set_overrides_file_and_earlier_set(void **state)
{
    (void)state;
    fsmoe_config *config = create();
    expect_ok(load_text(config, "model: {hidden: 64, num_heads: 2}\ndata:\n  train: one.txt\n  valid:\n  - a\n  - 'b'\n"
                                "run:\n  sample_prompt: |\n    two\n    lines\ntrain:\n  # all of it commented out\n"));
    assert_int_equal(config->model.hidden, 64);
    assert_int_equal(config->data.train.count, 1);
    assert_int_equal(config->data.valid.count, 2);
    assert_string_equal(config->run.sample_prompt, "two\nlines\n");
    expect_ok(fsmoe_config_set(config, "model.hidden=96"));
    expect_ok(fsmoe_config_set(config, "model.hidden=32"));
    expect_ok(fsmoe_config_set(config, "data.train=[x, y, z]"));
    expect_ok(fsmoe_config_set(config, "run.sample_prompt=a=b"));
    assert_int_equal(config->model.hidden, 32);
    assert_int_equal(config->model.num_heads, 2);
    assert_int_equal(config->data.train.count, 3);
    assert_string_equal(config->run.sample_prompt, "a=b");
    assert_int_equal(fsmoe_config_set(config, "model.hidden=0"), FSMOE_ERROR_CONFIG);
    assert_int_equal(config->model.hidden, 32);
    expect_ok(load_text(config, "model:\n  hidden: 48\n"));
    assert_int_equal(config->model.hidden, 48);
    fsmoe_config_destroy(config);
}

static void test_config_empty_file_is_all_defaults(void **state)
{
    (void)state;
    static const char *const texts[] = {"",         "# nothing\n\n# at all", "---\n", "---\n...\n", "model:\n", "{}",
                                        "moe: {}\n"};
    fsmoe_config *defaults = create();
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        fsmoe_config *config = create();
        expect_ok(load_text(config, texts[i]));
        expect_same_values(config, defaults);
        fsmoe_config_destroy(config);
    }
    fsmoe_config_destroy(defaults);
}

static void test_config_missing_file_is_an_io_error(void **state)
{
    (void)state;
    fsmoe_config *config = create();
    assert_int_equal(fsmoe_config_load(config, "no.yaml"), FSMOE_ERROR_IO);
    assert_string_equal(fsmoe_last_error(), "cannot read 'no.yaml': No such file or directory");
    fsmoe_config_destroy(config);
}

static void test_config_load_names_file_line_and_key(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *message;
    } cases[] = {
        {"\n\nmoe:\n  num_expert: 4\n", "demo.yaml:4: unknown key 'moe.num_expert'; did you mean 'moe.num_experts'?"},
        {"train:\n  seq_len: 4\n", "demo.yaml:2: unknown key 'train.seq_len'; did you mean 'data.seq_len'?"},
        {"modle:\n  hidden: 4\n", "demo.yaml:1: unknown section 'modle'; did you mean 'model'?"},
        {"moe:\n  top_k: 1\n  noisy: true\n  top_k: 2\n", "demo.yaml:4: 'moe.top_k' is here twice, first on line 2"},
        {"moe:\n  top_k: 1\nmodel:\nmoe:\n", "demo.yaml:4: 'moe' is here twice, first on line 1"},
        {"model:\n  hidden: abc\n", "demo.yaml:2: 'model.hidden' expects an integer, got 'abc'"},
        {"model:\n  hidden: 4_096\n", "demo.yaml:2: 'model.hidden' expects an integer, got '4_096'"},
        {"model:\n  hidden: 0x10\n", "demo.yaml:2: 'model.hidden' expects an integer, got '0x10'"},
        {"model:\n  hidden: 12.0\n", "demo.yaml:2: 'model.hidden' expects an integer, got '12.0'"},
        {"model:\n  hidden: 99999999999999999999\n",
         "demo.yaml:2: 'model.hidden' expects an integer, got '99999999999999999999'"},
        {"model:\n  hidden: '12'\n", "demo.yaml:2: 'model.hidden' expects an integer, got the string \"12\""},
        {"model:\n  hidden:\n  num_heads: 2\n", "demo.yaml:2: 'model.hidden' expects an integer, got nothing"},
        {"model:\n  hidden: [1, 2]\n", "demo.yaml:2: 'model.hidden' expects an integer, got a list"},
        {"model:\n  hidden: {a: 1}\n",
         "demo.yaml:2: 'model.hidden' expects an integer, got a mapping (text with ': ' needs quotes)"},
        {"train:\n  lr: .inf\n", "demo.yaml:2: 'train.lr' expects a number, got '.inf'"},
        {"train:\n  lr: nan\n", "demo.yaml:2: 'train.lr' expects a number, got 'nan'"},
        {"train:\n  lr: 1e999\n", "demo.yaml:2: 'train.lr' expects a number, got '1e999'"},
        {"train:\n  lr: 1e-3x\n", "demo.yaml:2: 'train.lr' expects a number, got '1e-3x'"},
        {"moe:\n  noisy: yes\n", "demo.yaml:2: 'moe.noisy' expects true or false, got 'yes'"},
        {"run:\n  dir: null\n",
         "demo.yaml:2: 'run.dir' expects a string, got nothing (write \"\" for an empty string)"},
        {"run:\n  dir: [a]\n", "demo.yaml:2: 'run.dir' expects a string, got a list"},
        {"run:\n  dir: \"a\\0b\"\n", "demo.yaml:2: text must not contain a zero byte"},
        {"data:\n  train: [a, [b]]\n", "demo.yaml:2: every item of a list must be a string"},
        {"data:\n  train:\n", "demo.yaml:2: 'data.train' expects a list of strings, got nothing"},
        {"moe:\n  top_k: 0\n", "demo.yaml:2: 'moe.top_k' is 0, valid are 1 to 65536"},
        {"train:\n  clip_grad: -0.5\n", "demo.yaml:2: 'train.clip_grad' is -0.5, valid are 0 to 1000000000000"},
        {"model:\n  family: gpt3\n", "demo.yaml:2: 'model.family' is 'gpt3', valid are gpt2, mixtral"},
        {"model:\n  family: gpt2, mixtral\n",
         "demo.yaml:2: 'model.family' is 'gpt2, mixtral', valid are gpt2, mixtral"},
        {"model:\n  family: ''\n", "demo.yaml:2: 'model.family' is '', valid are gpt2, mixtral"},
        {"model:\n  hidden: &h 4\n", "demo.yaml:2: anchors, aliases and tags are not supported"},
        {"model:\n  hidden: *h\n", "demo.yaml:2: anchors, aliases and tags are not supported"},
        {"model: !!map\n  hidden: 4\n", "demo.yaml:1: anchors, aliases and tags are not supported"},
        {"model:\n  <<: {hidden: 4}\n", "demo.yaml:2: merge keys (<<) are not supported"},
        {"model:\n  [a]: 4\n", "demo.yaml:2: a key must be a name"},
        {"model: 3\n", "demo.yaml:1: section 'model' expects keys, got a single value"},
        {"model:\n- hidden\n", "demo.yaml:1: section 'model' expects keys, got a list"},
        {"# hello\n- model\n", "demo.yaml:2: expected sections of keys, got a list"},
        {"model:\n  hidden: 4\n---\nmoe:\n", "demo.yaml:3: a second YAML document; one is expected"},
        {"model:\n  hidden: [4\nmoe:\n", "demo.yaml:3: not YAML: did not find expected ',' or ']'"},
        {"model:\n\n  hidden: \xff\n", "demo.yaml:3: not YAML: invalid leading UTF-8 octet"},
        {"model:\n  \"new\\nline\": 4\n", "demo.yaml:2: unknown key 'model.new?line'; did you mean 'model.family'?"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        fsmoe_config *config = create();
        assert_int_equal(load_text(config, cases[i].yaml), FSMOE_ERROR_CONFIG);
        assert_string_equal(fsmoe_last_error(), cases[i].message);
        fsmoe_config_destroy(config);
    }
}

static void test_config_set_names_itself(void **state)
{
    (void)state;
    static const struct {
        const char *assignment, *message;
    } cases[] = {
        {"model.hidden", "--set: expected section.key=value, got 'model.hidden'"},
        {"hidden=3", "--set: unknown key 'hidden'; did you mean 'model.hidden'?"},
        {"=3", "--set: unknown key ''; did you mean 'run.dir'?"},
        {"model.hidden=", "--set: 'model.hidden' expects an integer, got nothing"},
        {"model.hidden=3 4", "--set: 'model.hidden' expects an integer, got '3 4'"},
        {"model.hidden=[3", "--set: not YAML: did not find expected ',' or ']'"},
        {"model.hidden=3\n--- 4", "--set: a second YAML document; one is expected"},
        {"data.train=[a, {b: c}]", "--set: every item of a list must be a string"},
        {"run.sample_prompt=Note: this",
         "--set: 'run.sample_prompt' expects a string, got a mapping (text with ': ' needs quotes)"},
    };
    fsmoe_config *config = create(), *defaults = create();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(fsmoe_config_set(config, cases[i].assignment), FSMOE_ERROR_CONFIG);
        assert_string_equal(fsmoe_last_error(), cases[i].message);
    }
    expect_same_values(config, defaults);
    fsmoe_config_destroy(config);
    fsmoe_config_destroy(defaults);
}

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
    expect_ok(fsm_config_check(config));
    fsmoe_config_destroy(config);

    config = create();
    expect_ok(load_text(config, "model: {family: gpt2, head_dim: 8, max_seq_len: 512}\nmoe: {capacity_factor: 2}\n"
                                "train: {micro_batch: 2}\n"));
    expect_ok(fsm_config_derive(config));
    assert_int_equal(config->model.head_dim, 8);
    assert_int_equal(config->model.max_seq_len, 512);
    assert_int_equal(config->train.micro_batch, 2);
    assert_string_equal(config->moe.expert, "gpt");
    assert_string_equal(config->moe.order, "tutel");
    expect_ok(fsm_config_check(config));
    fsmoe_config_destroy(config);
}

/* The documentation holds exactly what the table says. */
static void test_config_documentation_matches_the_table(void **state)
{
    (void)state;
    static const char path[] = FSMOE_SOURCE_DIR "/docs/configuration.md";
    char *page, *block;
    size_t size;
    fsmoe_config *config = create();
    char *text = dump(config, true);
    expect_ok(fsm_file_read(path, &page, &size));
    assert_true(asprintf(&block, "```yaml\n%s```\n", text) > 0);
    char *found = strstr(page, "```yaml\n");
    assert_non_null(found);
    if (getenv("FSMOE_UPDATE_DOCS")) {
        char *fresh;
        assert_true(asprintf(&fresh, "%.*s%s", (int)(found - page), page, block) > 0);
        expect_ok(fsm_file_replace(path, fresh, strlen(fresh)));
        free(fresh);
    } else if (strcmp(found, block) != 0) {
        fail_msg("%s is stale: run this test with FSMOE_UPDATE_DOCS=1", path);
    }
    free(block);
    free(text);
    free(page);
    fsmoe_config_destroy(config);
}

static uint64_t draw(uint64_t seed, uint64_t index, uint64_t below)
{
    return fsm_rng_bits(seed, FSM_RNG_TEST, index) % below;
}

/* Replaces, removes or doubles up to eight bytes. */
static size_t mutate(uint64_t seed, char *bytes, size_t size)
{
    static const char special[] = ":{}[],&*!|>'\"%@`#-?\n\t \\0\xff~<=";
    uint64_t changes = 1 + draw(seed, 0, 8);
    for (uint64_t i = 0; i < changes && size > 1; i++) {
        size_t at = draw(seed, 4 * i + 1, size);
        uint64_t how = draw(seed, 4 * i + 2, 4);
        if (how == 0) bytes[at] = (char)draw(seed, 4 * i + 3, 256);
        if (how == 1) bytes[at] = special[draw(seed, 4 * i + 3, sizeof special)];
        if (how == 2) memmove(bytes + at, bytes + at + 1, --size - at);
        if (how == 3) memmove(bytes + at + 1, bytes + at, size++ - at);
    }
    return size;
}

static void load_mutant(uint64_t seed, const char *valid)
{
    char *bytes = calloc(1, strlen(valid) + 16);
    memcpy(bytes, valid, strlen(valid));
    size_t size = mutate(seed, bytes, strlen(valid));
    write_file("fuzz.yaml", bytes, size);
    free(bytes);
    fsmoe_config *config = create(), *back = create();
    fsmoe_status status = fsmoe_config_load(config, "fuzz.yaml");
    if (status == FSMOE_OK) {
        char *text = dump(config, seed % 2);
        expect_ok(load_text(back, text));
        expect_same_values(config, back);
        free(text);
        status = fsm_config_check(config);
        if (status == FSMOE_OK) expect_ok(fsm_config_derive(config));
    }
    if (status != FSMOE_OK) {
        assert_int_equal(status, FSMOE_ERROR_CONFIG);
        assert_memory_equal(fsmoe_last_error(), "fuzz.yaml:", strlen("fuzz.yaml:"));
        assert_null(strchr(fsmoe_last_error(), '\n'));
    }
    fsmoe_config_destroy(config);
    fsmoe_config_destroy(back);
}

static void test_config_damaged_file_loads_or_names_itself(void **state)
{
    (void)state;
    static const char small[] = "model:\n  family: gpt2\n  hidden: 64\n  norm_eps: 1e-5\nmoe: {top_k: 1, noisy: true}\n"
                                "data:\n  train: [a.txt, 'b']\n  valid:\n    - \"c\"\n"
                                "run:\n  sample_prompt: |\n    hello\n";
    fsmoe_config *config = create();
    char *full = dump(config, true);
    fsmoe_config_destroy(config);
    for (uint64_t seed = 0; seed < 1000; seed++) load_mutant(seed, seed % 4 ? small : full);
    free(full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_defaults_are_as_documented),
        cmocka_unit_test(test_config_table_has_every_field_in_a_known_section),
        cmocka_unit_test(test_config_dump_reads_back_to_the_same_values),
        cmocka_unit_test(test_config_dump_keeps_every_bit_of_a_float),
        cmocka_unit_test(test_config_dump_carries_any_text),
        cmocka_unit_test(test_config_set_overrides_file_and_earlier_set),
        cmocka_unit_test(test_config_empty_file_is_all_defaults),
        cmocka_unit_test(test_config_missing_file_is_an_io_error),
        cmocka_unit_test(test_config_load_names_file_line_and_key),
        cmocka_unit_test(test_config_set_names_itself),
        cmocka_unit_test(test_config_check_names_both_keys_and_the_place),
        cmocka_unit_test(test_config_check_refuses_keys_without_effect),
        cmocka_unit_test(test_config_check_names_set_and_direct_writes),
        cmocka_unit_test(test_config_derive_fills_what_depends_on_other_keys),
        cmocka_unit_test(test_config_documentation_matches_the_table),
        cmocka_unit_test(test_config_damaged_file_loads_or_names_itself),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
