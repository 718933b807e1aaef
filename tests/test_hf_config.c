/* Oracles: the config.json of published models and of transformers itself, with the values they are known to mean. */
#include "base/file.h"
#include "config/config.h"
#include "model/hf_config.h"
#include "model/hf_config_keys.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char folder[] = "/tmp/fsmoe-hf-config-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return fsm_file_remove_tree(folder) == FSMOE_OK ? 0 : -1;
}

static fsmoe_config *defaults(void)
{
    fsmoe_config *config;
    assert_int_equal(fsmoe_config_create(&config), FSMOE_OK);
    return config;
}

static void set(fsmoe_config *config, const char *assignment)
{
    if (fsmoe_config_set(config, assignment) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
}

static fsmoe_status read_text(const char *text, fsmoe_config *config)
{
    char path[64];
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_int_equal(fsm_file_replace(path, text, strlen(text)), FSMOE_OK);
    return fsm_hf_config_read(folder, &config->model, &config->moe);
}

/* As mistralai/Mixtral-8x7B-v0.1 has it. */
static const char mixtral_8x7b[] =
    "{\"architectures\": [\"MixtralForCausalLM\"], \"attention_dropout\": 0.0, \"bos_token_id\": 1,"
    " \"eos_token_id\": 2,"
    " \"hidden_act\": \"silu\", \"hidden_size\": 4096, \"initializer_range\": 0.02, \"intermediate_size\": 14336,"
    " \"max_position_embeddings\": 32768, \"model_type\": \"mixtral\", \"num_attention_heads\": 32,"
    " \"num_experts_per_tok\": 2, \"num_hidden_layers\": 32, \"num_key_value_heads\": 8, \"num_local_experts\": 8,"
    " \"output_router_logits\": false, \"rms_norm_eps\": 1e-05, \"rope_theta\": 1000000.0,"
    " \"router_aux_loss_coef\": 0.02, \"sliding_window\": null, \"tie_word_embeddings\": false,"
    " \"torch_dtype\": \"bfloat16\", \"transformers_version\": \"4.36.0.dev0\", \"use_cache\": true,"
    " \"vocab_size\": 32000}";

static void test_hf_config_reads_mixtral_8x7b(void **state)
{
    (void)state;
    fsmoe_config *config = defaults();
    set(config, "moe.z_loss_coeff=0.5");
    set(config, "moe.order=tutel");
    set(config, "moe.noisy=true");
    set(config, "model.family=gpt2");
    assert_int_equal(read_text(mixtral_8x7b, config), FSMOE_OK);
    const fsmoe_model_config *model = &config->model;
    const fsmoe_moe_config *moe = &config->moe;
    assert_string_equal(model->family, "mixtral");
    assert_int_equal(model->vocab_size, 32000);
    assert_int_equal(model->hidden, 4096);
    assert_int_equal(model->ffn_hidden, 14336);
    assert_int_equal(model->num_layers, 32);
    assert_int_equal(model->num_heads, 32);
    assert_int_equal(model->num_kv_heads, 8);
    assert_int_equal(model->head_dim, 128);
    assert_int_equal(model->max_seq_len, 32768);
    assert_int_equal(model->moe_every, 1);
    assert_true(model->rope_theta == 1e6);
    assert_true(model->norm_eps == 1e-5);
    assert_true(model->init_std == 0.02);
    assert_false(model->tie_embeddings);
    assert_int_equal(moe->num_experts, 8);
    assert_int_equal(moe->top_k, 2);
    assert_true(moe->capacity_factor == 0);
    assert_string_equal(moe->gate, "gshard");
    assert_string_equal(moe->expert, "mixtral");
    assert_false(moe->noisy);
    assert_true(moe->normalize_top_k);
    assert_true(moe->aux_loss_coeff == 0.02);
    /* What the file does not know stays. */
    assert_true(moe->z_loss_coeff == 0.5);
    assert_string_equal(moe->order, "tutel");
    fsmoe_config_destroy(config);
}

static void test_hf_config_reads_the_recorded_folder_of_transformers(void **state)
{
    (void)state;
    fsmoe_config *config = defaults();
    if (fsm_hf_config_read(FSMOE_TEST_DATA "/golden/mixtral/model", &config->model, &config->moe) != FSMOE_OK)
        fail_msg("%s", fsmoe_last_error());
    assert_int_equal(config->model.hidden, 32);
    assert_int_equal(config->model.num_kv_heads, 2);
    assert_int_equal(config->model.head_dim, 8);
    assert_int_equal(config->moe.num_experts, 4);
    assert_true(config->model.rope_theta == 10000);
    fsmoe_config_destroy(config);
}

/* mixtral_8x7b with `key` given the JSON `value`; NULL takes the key away. The caller frees it. */
static char *with_key(const char *key, const char *value)
{
    json_t *json = json_loads(mixtral_8x7b, 0, NULL);
    if (value) json_object_set_new(json, key, json_loads(value, JSON_DECODE_ANY, NULL));
    else json_object_del(json, key);
    char *text = json_dumps(json, 0);
    json_decref(json);
    return text;
}

static void must_refuse(const char *key, const char *value, fsmoe_status expected)
{
    fsmoe_config *config = defaults();
    char *text = with_key(key, value);
    fsmoe_status status = read_text(text, config);
    if (status != expected || !strstr(fsmoe_last_error(), key) || !strstr(fsmoe_last_error(), "/config.json'"))
        fail_msg("%s: %s: wanted %d, got %d: %s", key, value ? value : "absent", expected, status, fsmoe_last_error());
    assert_int_equal(config->model.hidden, 128); /* nothing was touched */
    free(text);
    fsmoe_config_destroy(config);
}

static void must_accept(const char *key, const char *value)
{
    fsmoe_config *config = defaults();
    char *text = with_key(key, value);
    if (read_text(text, config) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    free(text);
    fsmoe_config_destroy(config);
}

static void test_hf_config_refuses_what_the_model_does_not_do(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
    } cases[] = {
        {"hidden_act", "\"gelu\""},
        {"router_jitter_noise", "0.1"},
        {"attention_dropout", "0.1"},
        {"attention_bias", "true"},
        {"sliding_window", "4096"},
        {"rope_scaling", "{\"type\": \"linear\", \"factor\": 2.0}"},
        {"rope_parameters", "{\"rope_theta\": 1e6, \"rope_type\": \"yarn\"}"},
        {"rope_parameters", "{\"rope_theta\": 1e6, \"rope_type\": \"default\", \"factor\": 2.0}"},
        {"rope_parameters", "{\"rope_theta\": 1e6, \"partial_rotary_factor\": 0.5}"},
        {"quantization_config", "{\"bits\": 4}"},
        {"model_type", "\"mistral\""},
        {"num_shared_experts", "1"},
        {"moe_every", "2"},
        {"family", "\"mixtral\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        must_refuse(cases[i].key, cases[i].value, FSMOE_ERROR_UNSUPPORTED);
}

static void test_hf_config_refuses_missing_or_wrong_values(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
    } cases[] = {
        {"model_type", NULL},
        {"hidden_size", NULL},
        {"rms_norm_eps", NULL},
        {"rope_theta", NULL},
        {"num_local_experts", NULL},
        {"hidden_size", "\"4096\""},
        {"hidden_size", "4096.0"},
        {"hidden_size", "4097"},
        {"vocab_size", "0"},
        {"num_hidden_layers", "-1"},
        {"num_key_value_heads", "0"},
        {"num_key_value_heads", "5"},
        {"head_dim", "127"},
        {"num_experts_per_tok", "9"},
        {"tie_word_embeddings", "1"},
        {"rope_theta", "0"},
        {"rope_parameters", "{\"rope_theta\": 10000.0, \"rope_type\": \"default\"}"},
        {"rope_parameters", "10000.0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        must_refuse(cases[i].key, cases[i].value, FSMOE_ERROR_FORMAT);
    fsmoe_config *config = defaults();
    assert_int_equal(read_text("{\"model_type\": \"mixtral\"", config), FSMOE_ERROR_FORMAT);
    assert_int_equal(read_text("{\"model_type\": \"mixtral\", \"model_type\": \"fsmoe\"}", config), FSMOE_ERROR_FORMAT);
    assert_int_equal(read_text("[]", config), FSMOE_ERROR_FORMAT);
    assert_int_equal(fsm_hf_config_read("/nowhere", &config->model, &config->moe), FSMOE_ERROR_IO);
    fsmoe_config_destroy(config);
}

static void test_hf_config_accepts_keys_without_effect(void **state)
{
    (void)state;
    must_accept("_name_or_path", "\"somewhere\"");
    must_accept("pad_token_id", "null");
    must_accept("sliding_window", "32768");
    must_accept("rope_scaling", "null");
    must_accept("attention_bias", "false");
    must_accept("attention_dropout", "0");
    must_accept("head_dim", "null");
    must_accept("tie_word_embeddings", NULL);
    must_accept("rope_parameters", "{\"rope_theta\": 1e6, \"rope_type\": \"default\"}");
}

static void must_equal(const fsmoe_config *a, const fsmoe_config *b)
{
    char *left, *right;
    assert_int_equal(fsmoe_config_dump(a, false, &left), FSMOE_OK);
    assert_int_equal(fsmoe_config_dump(b, false, &right), FSMOE_OK);
    assert_string_equal(left, right);
    free(left);
    free(right);
}

/* Writes `config`, reads it over `blank` and compares what they mean; returns the model_type in static storage.
 * Destroys both. */
static const char *round_trip(fsmoe_config *config, fsmoe_config *blank)
{
    static char type[16];
    char path[64];
    if (fsm_hf_config_write(folder, &config->model, &config->moe) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    if (fsm_hf_config_read(folder, &blank->model, &blank->moe) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    assert_string_equal(blank->moe.activation, strcmp(blank->moe.expert, "gpt") == 0 ? "gelu" : "swiglu");
    assert_int_equal(fsm_config_derive(config), FSMOE_OK);
    assert_int_equal(fsm_config_derive(blank), FSMOE_OK);
    must_equal(config, blank);
    snprintf(path, sizeof path, "%s/config.json", folder);
    json_t *json = json_load_file(path, 0, NULL);
    snprintf(type, sizeof type, "%s", json_string_value(json_object_get(json, "model_type")));
    json_decref(json);
    fsmoe_config_destroy(config);
    fsmoe_config_destroy(blank);
    return type;
}

/* Defaults with everything resolved that a folder says outright. */
static fsmoe_config *resolved(const char *family)
{
    bool gpt2 = strcmp(family, "gpt2") == 0;
    fsmoe_config *config = defaults();
    set(config, gpt2 ? "model.family=gpt2" : "model.family=mixtral");
    set(config, gpt2 ? "moe.expert=gpt" : "moe.expert=mixtral");
    set(config, "model.vocab_size=256");
    set(config, "model.max_seq_len=64");
    set(config, "model.num_kv_heads=4");
    set(config, "model.head_dim=32");
    return config;
}

static void test_hf_config_writes_mixtral_back_to_the_same_values(void **state)
{
    (void)state;
    fsmoe_config *config = resolved("mixtral");
    set(config, "moe.normalize_top_k=true");
    set(config, "model.num_kv_heads=2");
    set(config, "model.head_dim=16");
    set(config, "model.rope_theta=1234.5678901234567");
    set(config, "model.tie_embeddings=true");
    assert_string_equal(round_trip(config, defaults()), "mixtral");
}

static void test_hf_config_writes_everything_else_as_fsmoe(void **state)
{
    (void)state;
    static const char *const settings[] = {
        "model.moe_every=2",
        "moe.noisy=true",
        "moe.top_k=1",
        "moe.expert=gpt",
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        fsmoe_config *config = resolved("mixtral");
        const char *why = NULL;
        set(config, settings[i]);
        set(config, "moe.z_loss_coeff=0.001");
        assert_false(fsm_hf_config_is_mixtral(&config->model, &config->moe, &why));
        assert_non_null(why);
        assert_string_equal(round_trip(config, defaults()), "fsmoe");
    }
    fsmoe_config *blank = defaults();
    set(blank, "model.tie_embeddings=true"); /* the file says false outright */
    assert_string_equal(round_trip(resolved("gpt2"), blank), "fsmoe");
}

/* Dropping tokens is a matter of training: the folder says nothing of it. */
static void test_hf_config_counts_limited_capacity_as_mixtral(void **state)
{
    (void)state;
    fsmoe_config *config = resolved("mixtral");
    set(config, "moe.capacity_factor=1.25");
    assert_true(fsm_hf_config_is_mixtral(&config->model, &config->moe, NULL));
    fsmoe_config_destroy(config);
}

static void test_hf_config_counts_one_normalised_expert_as_mixtral(void **state)
{
    (void)state;
    fsmoe_config *config = resolved("mixtral");
    set(config, "moe.top_k=1");
    set(config, "moe.normalize_top_k=true");
    assert_true(fsm_hf_config_is_mixtral(&config->model, &config->moe, NULL));
    assert_string_equal(round_trip(config, defaults()), "mixtral");
}

static void test_hf_config_resolves_what_is_left_to_derive(void **state)
{
    (void)state;
    fsmoe_config *config = defaults(), *back = defaults();
    set(config, "model.vocab_size=256");
    assert_int_equal(fsm_hf_config_write(folder, &config->model, &config->moe), FSMOE_ERROR_INTERNAL);
    assert_non_null(strstr(fsmoe_last_error(), "max_seq_len"));
    set(config, "model.max_seq_len=64");
    assert_int_equal(fsm_hf_config_write(folder, &config->model, &config->moe), FSMOE_OK);
    assert_int_equal(fsm_hf_config_read(folder, &back->model, &back->moe), FSMOE_OK);
    assert_int_equal(back->model.num_kv_heads, 4);
    assert_int_equal(back->model.head_dim, 32);
    assert_string_equal(back->moe.expert, "mixtral");
    fsmoe_config_destroy(config);
    fsmoe_config_destroy(back);
}

static void test_hf_config_is_as_strict_with_its_own_type(void **state)
{
    (void)state;
    char path[64];
    fsmoe_config *config = resolved("gpt2");
    assert_int_equal(fsm_hf_config_write(folder, &config->model, &config->moe), FSMOE_OK);
    snprintf(path, sizeof path, "%s/config.json", folder);
    json_t *written = json_load_file(path, 0, NULL);
    const char *key;
    json_t *value;
    json_object_foreach(written, key, value)
    {
        json_t *less = json_copy(written);
        json_object_del(less, key);
        char *text = json_dumps(less, 0);
        const fsm_hf_field *field = fsm_hf_field_find(key, FSM_HF_FSMOE);
        bool optional = field && field->types == FSM_HF_FSMOE && field->optional;
        assert_int_equal(read_text(text, config), optional ? FSMOE_OK : FSMOE_ERROR_FORMAT);
        if (!optional) assert_non_null(strstr(fsmoe_last_error(), key));
        free(text);
        json_decref(less);
    }
    static const struct {
        const char *key, *value;
    } additions[] = {{"torch_dtype", "\"float32\""}, {"gate", "\"magic\""}, {"family", "\"llama\""}};
    for (size_t i = 0; i < 3; i++) {
        json_t *more = json_copy(written);
        json_object_set_new(more, additions[i].key, json_loads(additions[i].value, JSON_DECODE_ANY, NULL));
        char *text = json_dumps(more, 0);
        assert_int_equal(read_text(text, config), FSMOE_ERROR_UNSUPPORTED);
        assert_non_null(strstr(fsmoe_last_error(), additions[i].key));
        free(text);
        json_decref(more);
    }
    json_decref(written);
    fsmoe_config_destroy(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hf_config_reads_mixtral_8x7b),
        cmocka_unit_test(test_hf_config_reads_the_recorded_folder_of_transformers),
        cmocka_unit_test(test_hf_config_refuses_what_the_model_does_not_do),
        cmocka_unit_test(test_hf_config_refuses_missing_or_wrong_values),
        cmocka_unit_test(test_hf_config_accepts_keys_without_effect),
        cmocka_unit_test(test_hf_config_writes_mixtral_back_to_the_same_values),
        cmocka_unit_test(test_hf_config_writes_everything_else_as_fsmoe),
        cmocka_unit_test(test_hf_config_counts_limited_capacity_as_mixtral),
        cmocka_unit_test(test_hf_config_counts_one_normalised_expert_as_mixtral),
        cmocka_unit_test(test_hf_config_resolves_what_is_left_to_derive),
        cmocka_unit_test(test_hf_config_is_as_strict_with_its_own_type),
    };
    return cmocka_run_group_tests_name("hf_config", tests, make_folder, remove_folder);
}
