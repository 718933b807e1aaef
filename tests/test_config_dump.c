/* The table of keys, its defaults, and what is written from it. Oracles: what a dump says reads back to the same bits,
 * for any number and any text; the documentation holds the dump of the defaults.
 */
#define _GNU_SOURCE /* asprintf */
#include "config_case.h"

#include "base/rng.h"
#include "config/field.h"

#include <math.h>

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
    /* What is not a field can only be the padding after a row of bools: of model, moe (three), parallel and data. */
    assert_in_range(sizeof(fsmoe_config) - bytes, 0, 6 * 7);
}

/* One key of each type, and another value of it. */
static void test_config_values_are_compared_copied_and_swapped_by_type(void **state)
{
    (void)state;
    static const struct {
        const char *key, *assignment, *text;
    } cases[] = {
        {"model.hidden", "model.hidden=96", "96"},
        {"train.lr", "train.lr=0.1", "0.1"},
        {"moe.noisy", "moe.noisy=true", "true"},
        {"run.dir", "run.dir=here", "\"here\""},
        {"moe.gate", "moe.gate=switch", "switch"},
        {"data.train", "data.train=[a, b]", "[\"a\", \"b\"]"},
        {"data.valid", "data.valid=[a, c]", "[\"a\", \"c\"]"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const fsm_config_field *field = fsm_config_find(cases[i].key);
        fsmoe_config *plain = create(), *other = create(), *copy = create();
        expect_ok(fsmoe_config_set(other, cases[i].assignment));
        assert_false(fsm_field_equal(plain, other, field));
        expect_ok(fsm_field_copy(copy, other, field));
        assert_true(fsm_field_equal(copy, other, field) && !fsm_config_is_default(copy, field));
        fsm_field_swap(plain, other, field);
        assert_true(fsm_field_equal(copy, plain, field) && fsm_config_is_default(other, field));
        assert_string_equal(fsm_field_excerpt(plain, field).text, cases[i].text);
        expect_ok(fsm_config_reset(plain, field));
        assert_true(fsm_field_equal(plain, other, field));
        fsmoe_config_destroy(plain);
        fsmoe_config_destroy(other);
        fsmoe_config_destroy(copy);
    }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_defaults_are_as_documented),
        cmocka_unit_test(test_config_table_has_every_field_in_a_known_section),
        cmocka_unit_test(test_config_values_are_compared_copied_and_swapped_by_type),
        cmocka_unit_test(test_config_dump_reads_back_to_the_same_values),
        cmocka_unit_test(test_config_dump_keeps_every_bit_of_a_float),
        cmocka_unit_test(test_config_dump_carries_any_text),
        cmocka_unit_test(test_config_documentation_matches_the_table),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
