/* Configuration from files and overrides. Oracles: the values written there; recorded messages, which name file, line
 * and key; damaged files either load and read back to the same values or are refused by name.
 */
#include "config_case.h"

#include "base/rng.h"

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

static void test_config_set_of_nothing_is_the_empty_string(void **state)
{
    (void)state;
    fsmoe_config *config = create();
    expect_ok(load_text(config, "run: {dir: here, sample_prompt: once}\nparallel: {cluster: c.json}\n"));
    expect_ok(fsmoe_config_set(config, "run.sample_prompt="));
    expect_ok(fsmoe_config_set(config, "parallel.cluster="));
    expect_ok(fsmoe_config_set(config, "run.dir=''"));
    assert_string_equal(config->run.sample_prompt, "");
    assert_string_equal(config->parallel.cluster, "");
    assert_string_equal(config->run.dir, "");
    static const char *const others[] = {"run.dir=null",  "run.dir=~", "moe.gate=", "data.train=",
                                         "model.hidden=", "train.lr=", "moe.noisy="};
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        assert_int_equal(fsmoe_config_set(config, others[i]), FSMOE_ERROR_CONFIG);
        assert_non_null(strstr(fsmoe_last_error(), ", got nothing"));
    }
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
        cmocka_unit_test(test_config_set_overrides_file_and_earlier_set),
        cmocka_unit_test(test_config_empty_file_is_all_defaults),
        cmocka_unit_test(test_config_missing_file_is_an_io_error),
        cmocka_unit_test(test_config_load_names_file_line_and_key),
        cmocka_unit_test(test_config_set_names_itself),
        cmocka_unit_test(test_config_set_of_nothing_is_the_empty_string),
        cmocka_unit_test(test_config_damaged_file_loads_or_names_itself),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
