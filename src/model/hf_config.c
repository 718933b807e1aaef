#include "model/hf_config.h"

#include "base/file.h"
#include "base/json.h"
#include "config/config.h"
#include "model/hf_config_keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The file being read, for messages. */
typedef struct source {
    const char *path;
    fsm_hf_type type;
} source;

/* "'PATH': KEY is VALUE; <expectation>" */
static fsmoe_status refuse(fsmoe_status status, const source *from, const char *key, const json_t *value,
                           const char *expectation)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    fsm_fail(status, "'%s': %s is %s; %s", from->path, key, text ? fsm_config_excerpt_of(text).text : "?", expectation);
    free(text);
    return status;
}

/* Stores a value of the right type; a text still belongs to the JSON. False: the wrong type. */
static bool store(const fsm_config_field *field, const json_t *value, void *at)
{
    switch (field->type) {
    case FSM_CONFIG_INT:
        *(int64_t *)at = json_integer_value(value);
        return json_is_integer(value);
    case FSM_CONFIG_FLOAT:
        *(double *)at = json_number_value(value);
        return json_is_number(value);
    case FSM_CONFIG_BOOL:
        *(bool *)at = json_is_true(value);
        return json_is_boolean(value);
    default: /* CHOICE */
        *(const char **)at = json_string_value(value);
        return json_is_string(value);
    }
}

static fsmoe_status read_field(const source *from, const fsm_hf_field *field, const json_t *value, fsmoe_config *config)
{
    const fsm_config_field *target = fsm_config_find(field->config_key);
    if (json_is_null(value) && field->optional && from->type == FSM_HF_MIXTRAL) return FSMOE_OK;
    if (!store(target, value, (char *)config + target->offset))
        return refuse(FSMOE_ERROR_FORMAT, from, field->key, value, "that is not of the right type");
    bool is_zero = json_is_integer(value) && json_integer_value(value) == 0;
    if (is_zero && target->type == FSM_CONFIG_INT && !field->may_be_zero)
        return refuse(FSMOE_ERROR_FORMAT, from, field->key, value, "it must be at least 1");
    if (fsm_config_check_field(config, target) == FSMOE_OK) return FSMOE_OK;
    fsmoe_status status = target->type == FSM_CONFIG_CHOICE ? FSMOE_ERROR_UNSUPPORTED : FSMOE_ERROR_FORMAT;
    return fsm_fail_within(status, "'%s': %s", from->path, field->key);
}

/* Numbers compare as numbers: 0 and 0.0 are the same value. */
static fsmoe_status check_fixed(const source *from, const char *key, const json_t *value, const char *fixed)
{
    json_t *wanted = json_loads(fixed, JSON_DECODE_ANY, NULL);
    bool numbers = json_is_number(wanted) && json_is_number(value);
    bool same = numbers ? json_number_value(wanted) == json_number_value(value) : json_equal(wanted, value);
    json_decref(wanted);
    if (same || json_is_null(value)) return FSMOE_OK;
    char expectation[64];
    snprintf(expectation, sizeof expectation, "only %s is supported", fixed);
    return refuse(FSMOE_ERROR_UNSUPPORTED, from, key, value, expectation);
}

/* {"rope_theta": …, "rope_type": "default"}, the spelling of transformers 5. */
static fsmoe_status read_rope_parameters(const source *from, json_t *rope, fsmoe_config *config)
{
    const char *key;
    json_t *value;
    if (json_is_null(rope)) return FSMOE_OK;
    if (!json_is_object(rope))
        return refuse(FSMOE_ERROR_FORMAT, from, "rope_parameters", rope, "that is not of the right type");
    json_object_foreach(rope, key, value)
    {
        const fsm_hf_field *field = fsm_hf_field_find("rope_theta", FSM_HF_MIXTRAL);
        if (strcmp(key, field->key) == 0) FSM_TRY(read_field(from, field, value, config));
        else if (strcmp(key, "rope_type") == 0)
            FSM_TRY(check_fixed(from, "rope_parameters.rope_type", value, "\"default\""));
        else if (strcmp(key, "partial_rotary_factor") == 0)
            FSM_TRY(check_fixed(from, "rope_parameters.partial_rotary_factor", value, "1"));
        else return fsm_fail(FSMOE_ERROR_UNSUPPORTED, "'%s': rope_parameters.%s is unknown", from->path, key);
    }
    return FSMOE_OK;
}

static fsmoe_status read_key(const source *from, const char *key, json_t *value, fsmoe_config *config)
{
    const fsm_hf_field *field = fsm_hf_field_find(key, from->type);
    if (field) return read_field(from, field, value, config);
    if (strcmp(key, "model_type") == 0) return FSMOE_OK;
    if (from->type == FSM_HF_MIXTRAL) {
        const fsm_hf_fixed *fixed = fsm_hf_fixed_find(key);
        if (fixed) return check_fixed(from, key, value, fixed->json);
        if (strcmp(key, "rope_parameters") == 0) return read_rope_parameters(from, value, config);
        if (strcmp(key, "sliding_window") == 0) return FSMOE_OK; /* check_window has it when all keys are read */
        if (fsm_hf_key_is_descriptive(key)) return FSMOE_OK;
    }
    return fsm_fail(FSMOE_ERROR_UNSUPPORTED, "'%s': the key '%s' is unknown, so what it asks for would be missing",
                    from->path, key);
}

static fsmoe_status check_present(const source *from, json_t *json)
{
    for (size_t i = 0; i < fsm_hf_field_count; i++) {
        const fsm_hf_field *field = &fsm_hf_fields[i];
        bool is_later = field->types == FSM_HF_FSMOE && field->optional; /* folders from before it mean the default */
        bool may_lack = !(field->types & from->type) || (field->optional && from->type == FSM_HF_MIXTRAL) || is_later;
        if (!may_lack && !json_object_get(json, field->key))
            return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' lacks the key '%s'", from->path, field->key);
    }
    return FSMOE_OK;
}

/* A "mixtral" has its base of frequencies at one of two places, or the same at both. */
static fsmoe_status check_rope(const source *from, json_t *json)
{
    const json_t *plain = json_object_get(json, "rope_theta");
    const json_t *nested = json_object_get(json_object_get(json, "rope_parameters"), "rope_theta");
    if (!json_is_number(plain) && !json_is_number(nested))
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' lacks the key 'rope_theta', also in rope_parameters", from->path);
    if (json_is_number(plain) && json_is_number(nested) && json_number_value(plain) != json_number_value(nested))
        return refuse(FSMOE_ERROR_FORMAT, from, "rope_theta", plain, "rope_parameters.rope_theta is another");
    return FSMOE_OK;
}

/* A window that no position can look out of has no effect. */
static fsmoe_status check_window(const source *from, const json_t *window, int64_t positions)
{
    if (!window || json_is_null(window)) return FSMOE_OK;
    if (json_is_integer(window) && json_integer_value(window) >= positions) return FSMOE_OK;
    return refuse(FSMOE_ERROR_UNSUPPORTED, from, "sliding_window", window,
                  "only null or at least max_position_embeddings is supported");
}

static fsmoe_status check_multiple(const source *from, const char *key, int64_t value, const char *divisor_key,
                                   int64_t divisor)
{
    if (value % divisor == 0) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %s %" PRId64 " is not a multiple of %s %" PRId64, from->path, key, value,
                    divisor_key, divisor);
}

/* Derives what may be left out, and checks how the numbers fit together. */
static fsmoe_status resolve(const source *from, fsmoe_config *config)
{
    fsmoe_model_config *model = &config->model;
    fsmoe_moe_config *moe = &config->moe;
    if (model->head_dim == 0)
        FSM_TRY(check_multiple(from, "hidden_size", model->hidden, "num_attention_heads", model->num_heads));
    if (strcmp(moe->expert, "auto") == 0) moe->expert = strcmp(model->family, "mixtral") == 0 ? "mixtral" : "gpt";
    fsm_config_derive_numbers(config);
    FSM_TRY(check_multiple(from, "num_attention_heads", model->num_heads, "num_key_value_heads", model->num_kv_heads));
    if (strcmp(model->family, "mixtral") == 0) FSM_TRY(check_multiple(from, "head_dim", model->head_dim, "two:", 2));
    if (moe->top_k <= moe->num_experts) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': num_experts_per_tok %" PRId64 " is more than num_local_experts %" PRId64,
                    from->path, moe->top_k, moe->num_experts);
}

static fsmoe_status read_type(source *from, json_t *json)
{
    const char *type = json_string_value(json_object_get(json, "model_type"));
    if (!type) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' lacks the key 'model_type'", from->path);
    if (strcmp(type, "mixtral") == 0) from->type = FSM_HF_MIXTRAL;
    else if (strcmp(type, "fsmoe") == 0) from->type = FSM_HF_FSMOE;
    else
        return fsm_fail(FSMOE_ERROR_UNSUPPORTED, "'%s': model_type is '%s'; only 'mixtral' and 'fsmoe' are supported",
                        from->path, fsm_config_excerpt_of(type).text);
    return FSMOE_OK;
}

/* What a Mixtral always is, and its files need not say. */
static void preset_mixtral(fsmoe_config *config)
{
    fsmoe_model_config *model = &config->model;
    fsmoe_moe_config *moe = &config->moe;
    model->family = moe->expert = "mixtral";
    model->moe_every = 1;
    model->num_kv_heads = model->head_dim = 0;
    model->tie_embeddings = false;
    moe->gate = "gshard";
    moe->activation = moe->bias = "auto";
    moe->shared_experts = 0;
    moe->noisy = false;
    moe->normalize_top_k = true;
    moe->capacity_factor = 0;
    moe->capacity_group = 0;
}

static fsmoe_status read_config(source *from, json_t *json, fsmoe_config *config)
{
    const char *key;
    json_t *value;
    FSM_TRY(read_type(from, json));
    if (from->type == FSM_HF_MIXTRAL) preset_mixtral(config);
    json_object_foreach(json, key, value) FSM_TRY(read_key(from, key, value, config));
    FSM_TRY(check_present(from, json));
    if (from->type == FSM_HF_MIXTRAL) {
        FSM_TRY(check_rope(from, json));
        FSM_TRY(check_window(from, json_object_get(json, "sliding_window"), config->model.max_seq_len));
    }
    return resolve(from, config);
}

static void free_choices(fsmoe_config *config)
{
    for (size_t i = 0; i < fsm_hf_field_count; i++) {
        const fsm_config_field *field = fsm_config_find(fsm_hf_fields[i].config_key);
        if (field->type == FSM_CONFIG_CHOICE) free(*(char **)((char *)config + field->offset));
    }
}

/* Texts of its own for all choices that a file may have set; false: no memory, and none are left. */
static bool own_choices(fsmoe_config *config)
{
    bool owned = true;
    for (size_t i = 0; i < fsm_hf_field_count; i++) {
        const fsm_config_field *field = fsm_config_find(fsm_hf_fields[i].config_key);
        char **text = (char **)((char *)config + field->offset);
        if (field->type != FSM_CONFIG_CHOICE) continue;
        *text = owned ? strdup(*text) : NULL;
        owned &= *text != NULL;
    }
    if (!owned) free_choices(config);
    return owned;
}

/* Moves what was read into the sections. */
static fsmoe_status commit(const fsmoe_config *read, fsmoe_model_config *model, fsmoe_moe_config *moe)
{
    fsmoe_config fresh = {.model = read->model, .moe = read->moe}, old = {.model = *model, .moe = *moe};
    if (!own_choices(&fresh)) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a model's configuration");
    free_choices(&old);
    *model = fresh.model;
    *moe = fresh.moe;
    return FSMOE_OK;
}

fsmoe_status fsm_hf_config_read(const char *folder, fsmoe_model_config *model, fsmoe_moe_config *moe)
{
    json_t *json = NULL;
    char *path = fsm_file_join(folder, "config.json");
    if (!path) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to read '%s'", folder);
    source from = {.path = path};
    fsmoe_config config = {.model = *model, .moe = *moe};
    fsmoe_status status;
    FSM_TRY_GOTO(status, fsm_json_read(path, &json), done);
    FSM_TRY_GOTO(status, read_config(&from, json, &config), done);
    status = commit(&config, model, moe);
done:
    json_decref(json);
    free(path);
    return status;
}
