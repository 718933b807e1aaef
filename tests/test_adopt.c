/* What a run takes from the model folder it starts from. Oracles: a folder written from one configuration is the same
 * model for every way of spelling that configuration, and another one for every other value of a key with an effect.
 */
#define _GNU_SOURCE /* asprintf */
#include "config_case.h"

#include "config/field.h"
#include "model/hf_config.h"
#include "model/hf_config_keys.h"
#include "moe/expert/expert.h"
#include "train/adopt.h"

/* Models that differ in which keys have an effect; assignments between blanks. */
static const char *const models[] = {
    "",
    "moe.top_k=1",
    "moe.top_k=1 moe.normalize_top_k=true model.tie_embeddings=true",
    "model.num_kv_heads=2 model.head_dim=16 model.moe_every=2 moe.noisy=true",
    "moe.expert=gpt",
    "moe.expert=gpt moe.activation=relu moe.bias=false",
    "moe.activation=geglu moe.shared_experts=2 moe.shared_gate=true",
    "model.family=gpt2",
    "model.family=gpt2 moe.expert=mixtral moe.shared_experts=1",
    "moe.gate=switch moe.top_k=1",
    "moe.gate=sigmoid",
    "moe.gate=xmoe moe.top_k=1",
    "moe.gate=xmoe moe.proj_dim=8",
    "moe.gate=expert_choice moe.capacity_factor=2 moe.allow_non_causal=true",
    "moe.gate=soft moe.slots_per_expert=2 moe.normalize_slots=true moe.allow_non_causal=true",
    "moe.gate=deepseek moe.n_group=4 moe.topk_group=2 moe.routed_scaling_factor=2.5",
    "moe.gate=hash moe.hash=table moe.top_k=1",
};

static void set_all(fsmoe_config *config, const char *assignments)
{
    char *copy = strdup(assignments), *save = NULL;
    for (char *one = strtok_r(copy, " ", &save); one; one = strtok_r(NULL, " ", &save))
        expect_ok(fsmoe_config_set(config, one));
    free(copy);
}

/* The derived configuration of a run that has saved itself to "model". */
static fsmoe_config *save(const char *assignments)
{
    fsmoe_config *config = create();
    expect_ok(fsmoe_config_set(config, "model.vocab_size=300"));
    set_all(config, assignments);
    expect_ok(fsm_config_check(config));
    expect_ok(fsm_config_derive(config));
    expect_ok(fsm_file_make_dirs("model"));
    expect_ok(fsm_hf_config_write("model", &config->model, &config->moe));
    return config;
}

static void expect_adopted(fsmoe_config *config, const char *what)
{
    if (fsm_adopt_model(config, "model") != FSMOE_OK) fail_msg("%s: %s", what, fsmoe_last_error());
}

static void expect_same_model(const fsmoe_config *config, const fsmoe_config *saved, const char *what)
{
    for (size_t i = 0; i < fsm_config_field_count; i++) {
        const fsm_config_field *field = &fsm_config_fields[i];
        if (!field->in_folder || !fsm_config_has_effect(saved, field)) continue;
        if (!fsm_field_equal(config, saved, field)) fail_msg("%s: %s", what, field->key);
    }
}

static void test_adopt_takes_what_nobody_set(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(models); i++) {
        fsmoe_config *saved = save(models[i]), *config = create();
        expect_adopted(config, models[i]);
        expect_ok(fsm_config_check(config));
        expect_ok(fsm_config_derive(config));
        expect_same_model(config, saved, models[i]);
        fsmoe_config_destroy(saved);
        fsmoe_config_destroy(config);
    }
}

/* What the run dumped, what its user wrote, and everything the user left open, spelled out as open. */
static void test_adopt_agrees_with_every_spelling_of_the_same_model(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(models); i++) {
        fsmoe_config *saved = save(models[i]), *dumped = create(), *written = create(), *open = create();
        char *texts[2];
        set_all(written, models[i]);
        texts[0] = dump(saved, false);
        texts[1] = dump(written, true);
        expect_ok(load_text(dumped, texts[0]));
        expect_ok(load_text(open, texts[1]));
        fsmoe_config *spellings[] = {dumped, written, open};
        for (int s = 0; s < 3; s++) {
            expect_adopted(spellings[s], models[i]);
            expect_ok(fsm_config_check(spellings[s]));
            expect_ok(fsm_config_derive(spellings[s]));
            expect_same_model(spellings[s], saved, models[i]);
            fsmoe_config_destroy(spellings[s]);
        }
        free(texts[0]), free(texts[1]);
        fsmoe_config_destroy(saved);
    }
}

/* Another value than the saved one, as text; the caller frees it. */
static char *other_value(const fsmoe_config *saved, const fsm_config_field *field)
{
    const void *at = fsm_config_at(saved, field);
    char *text = NULL;
    if (field->type == FSM_CONFIG_INT) asprintf(&text, "%lld", (long long)*(const int64_t *)at + 1);
    else if (field->type == FSM_CONFIG_FLOAT) asprintf(&text, "%.9g", 1.5 * *(const double *)at);
    else if (field->type == FSM_CONFIG_BOOL) asprintf(&text, "%s", *(const bool *)at ? "false" : "true");
    else {
        const char *choice = field->choices;
        size_t length;
        for (;; choice += length + strspn(choice + length, ", ")) {
            length = strcspn(choice, ",");
            bool same = strlen(*(char *const *)at) == length && strncmp(choice, *(char *const *)at, length) == 0;
            if (!same && strncmp(choice, "auto", 4) != 0) break;
        }
        asprintf(&text, "%.*s", (int)length, choice);
    }
    assert_non_null(text);
    return text;
}

static void expect_refusal(const fsmoe_config *saved, const fsm_config_field *field)
{
    fsmoe_config *config = create();
    char *value = other_value(saved, field), *yaml, *message;
    const char *name = strchr(field->key, '.') + 1;
    asprintf(&yaml, "%.*s:\n  %s: %s\n", (int)(name - field->key - 1), field->key, name, value);
    expect_ok(load_text(config, yaml));
    asprintf(&message,
             "demo.yaml:2: '%s' is %s, but %s in the model in 'model'; leave it out to take the "
             "model's",
             field->key, fsm_field_excerpt(config, field).text, fsm_field_excerpt(saved, field).text);
    if (fsm_adopt_model(config, "model") != FSMOE_ERROR_CONFIG) fail_msg("%s: %s is taken", field->key, value);
    assert_string_equal(fsmoe_last_error(), message);
    free(value), free(yaml), free(message);
    fsmoe_config_destroy(config);
}

static void test_adopt_refuses_another_value_of_any_key_of_the_model(void **state)
{
    (void)state;
    bool *refused = calloc(fsm_config_field_count, sizeof *refused);
    for (size_t i = 0; i < COUNT_OF(models); i++) {
        fsmoe_config *saved = save(models[i]);
        for (size_t row = 0; row < fsm_config_field_count; row++) {
            const fsm_config_field *field = &fsm_config_fields[row];
            if (field->in_folder != FSM_CONFIG_FOLDER_DECIDES || !fsm_config_has_effect(saved, field)) continue;
            expect_refusal(saved, field);
            refused[row] = true;
        }
        fsmoe_config_destroy(saved);
    }
    for (size_t row = 0; row < fsm_config_field_count; row++)
        if (fsm_config_fields[row].in_folder == FSM_CONFIG_FOLDER_DECIDES && !refused[row])
            fail_msg("%s has an effect in none of the models", fsm_config_fields[row].key);
    free(refused);
}

/* A zero that means none is not a zero that leaves open. */
static void test_adopt_takes_no_experts_for_none(void **state)
{
    (void)state;
    fsmoe_config *saved = save("moe.shared_experts=2"), *config = create();
    expect_ok(fsmoe_config_set(config, "moe.shared_experts=0"));
    assert_int_equal(fsm_adopt_model(config, "model"), FSMOE_ERROR_CONFIG);
    assert_non_null(strstr(fsmoe_last_error(), "--set: 'moe.shared_experts' is 0, but 2 in the model"));
    fsmoe_config_destroy(saved);
    fsmoe_config_destroy(config);
}

static void test_adopt_lets_anyone_change_how_a_model_is_trained(void **state)
{
    (void)state;
    static const char trained[] = "moe.expert=gpt moe.aux_loss_coeff=0.5 moe.z_loss_coeff=0.25 model.init_std=0.125 "
                                  "moe.capacity_factor=1.5 moe.capacity_group=32";
    fsmoe_config *saved = save(trained), *config = create(), *other = create();
    expect_adopted(config, trained);
    expect_same_model(config, saved, trained);
    assert_true(config->moe.aux_loss_coeff == 0.5 && config->moe.z_loss_coeff == 0.25);
    assert_true(config->model.init_std == 0.125 && config->moe.capacity_factor == 1.5);
    set_all(other, "moe.aux_loss_coeff=0.01 moe.z_loss_coeff=0 model.init_std=1 moe.capacity_factor=0");
    set_all(other, "moe.capacity_group=0");
    expect_adopted(other, trained);
    assert_true(other->moe.aux_loss_coeff == 0.01 && other->moe.z_loss_coeff == 0 && other->model.init_std == 1);
    assert_true(other->moe.capacity_factor == 0 && other->moe.capacity_group == 0);
    fsmoe_config_destroy(saved);
    fsmoe_config_destroy(config);
    fsmoe_config_destroy(other);
}

/* A program that writes the struct has set what it wrote. */
static void test_adopt_keeps_what_a_program_wrote(void **state)
{
    (void)state;
    fsmoe_config *saved = save("moe.aux_loss_coeff=0.5"), *config = create();
    config->moe.aux_loss_coeff = 0.25;
    expect_adopted(config, "written");
    assert_true(config->moe.aux_loss_coeff == 0.25);
    fsmoe_config_destroy(config);
    config = create();
    config->model.num_layers = 5;
    assert_int_equal(fsm_adopt_model(config, "model"), FSMOE_ERROR_CONFIG);
    assert_string_equal(fsmoe_last_error(),
                        "'model.num_layers' is 5, but 4 in the model in 'model'; leave it out to take the model's");
    fsmoe_config_destroy(saved);
    fsmoe_config_destroy(config);
}

/* The column of the table and the keys of config.json are one list. */
static void test_adopt_knows_every_key_that_a_folder_has(void **state)
{
    (void)state;
    for (size_t row = 0; row < fsm_config_field_count; row++) {
        const fsm_config_field *field = &fsm_config_fields[row];
        bool in_folder = false;
        for (size_t i = 0; i < fsm_hf_field_count; i++)
            in_folder |= strcmp(fsm_hf_fields[i].config_key, field->key) == 0;
        if (in_folder != (field->in_folder != FSM_CONFIG_NOT_IN_FOLDER)) fail_msg("%s", field->key);
    }
}

/* derive.c stands below the experts, so it has what they say for itself. */
static void test_derive_knows_what_auto_is_for_every_expert(void **state)
{
    (void)state;
    const fsm_expert_kind *kind;
    for (int i = 0; (kind = fsm_expert_at(i)); i++) {
        fsmoe_config *config = create();
        char *expert;
        asprintf(&expert, "moe.expert=%s", kind->name);
        expect_ok(fsmoe_config_set(config, expert));
        expect_ok(fsm_config_derive(config));
        assert_string_equal(config->moe.activation, kind->activation);
        assert_string_equal(config->moe.bias, kind->has_bias ? "true" : "false");
        free(expert);
        fsmoe_config_destroy(config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adopt_takes_what_nobody_set),
        cmocka_unit_test(test_adopt_agrees_with_every_spelling_of_the_same_model),
        cmocka_unit_test(test_adopt_refuses_another_value_of_any_key_of_the_model),
        cmocka_unit_test(test_adopt_takes_no_experts_for_none),
        cmocka_unit_test(test_adopt_lets_anyone_change_how_a_model_is_trained),
        cmocka_unit_test(test_adopt_keeps_what_a_program_wrote),
        cmocka_unit_test(test_adopt_knows_every_key_that_a_folder_has),
        cmocka_unit_test(test_derive_knows_what_auto_is_for_every_expert),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
