#include "base/file.h"
#include "base/json.h"
#include "config/config.h"
#include "model/hf_config.h"
#include "model/hf_config_keys.h"

#include <stdlib.h>
#include <string.h>

enum { INDENT = 2, SHORT_DIGITS = 15 };

/* "auto" resolved: experts are of the model's family. */
static const char *expert_kind(const fsmoe_model_config *model, const fsmoe_moe_config *moe)
{
    if (strcmp(moe->expert, "auto") != 0) return moe->expert;
    return strcmp(model->family, "mixtral") == 0 ? "mixtral" : "gpt";
}

bool fsm_hf_config_is_mixtral(const fsmoe_model_config *model, const fsmoe_moe_config *moe, const char **why)
{
    const char *lacks = NULL;
    if (strcmp(model->family, "mixtral") != 0) lacks = "a family other than mixtral";
    else if (strcmp(expert_kind(model, moe), "mixtral") != 0) lacks = "experts other than mixtral";
    else if (model->moe_every != 1) lacks = "layers without experts (moe_every)";
    else if (strcmp(moe->gate, "gshard") != 0) lacks = "a gate other than gshard";
    else if (strcmp(moe->activation, "auto") != 0 && strcmp(moe->activation, "swiglu") != 0)
        lacks = "another activation";
    else if (moe->shared_experts > 0) lacks = "shared experts";
    else if (moe->noisy) lacks = "a noisy gate";
    else if (moe->top_k == 1 && !moe->normalize_top_k) lacks = "one expert a token, not normalised (normalize_top_k)";
    if (why) *why = lacks;
    return !lacks;
}

static json_t *field_value(const fsm_hf_field *field, const fsmoe_config *config)
{
    const fsm_config_field *from = fsm_config_find(field->config_key);
    const void *at = fsm_config_at(config, from);
    switch (from->type) {
    case FSM_CONFIG_INT:
        return json_integer(*(const int64_t *)at);
    case FSM_CONFIG_FLOAT:
        return json_real(*(const double *)at);
    case FSM_CONFIG_BOOL:
        return json_boolean(*(const bool *)at);
    default: /* CHOICE */
        return json_string(*(char *const *)at);
    }
}

/* What transformers reads and fsmoe has no choice of. */
static void add_mixtral_constants(json_t *json, bool *failed)
{
    json_t *architectures = json_array();
    json_error_t why;
    fsm_json_append(architectures, json_string("MixtralForCausalLM"), failed);
    fsm_json_set(json, "architectures", architectures, failed);
    for (size_t i = 0; i < fsm_hf_fixed_count; i++) {
        const fsm_hf_fixed *fixed = &fsm_hf_fixed_keys[i];
        if (fixed->written)
            fsm_json_set(json, fixed->key, fsm_json_decode(fixed->json, strlen(fixed->json), JSON_DECODE_ANY, &why),
                         failed);
    }
    fsm_json_set(json, "sliding_window", json_null(), failed);
    fsm_json_set(json, "bos_token_id", json_null(), failed);
    fsm_json_set(json, "eos_token_id", json_null(), failed);
    fsm_json_set(json, "torch_dtype", json_string("float32"), failed);
}

static json_t *to_json(const fsmoe_config *config, fsm_hf_type type, bool *failed)
{
    json_t *json = json_object();
    fsm_json_set(json, "model_type", json_string(type == FSM_HF_MIXTRAL ? "mixtral" : "fsmoe"), failed);
    for (size_t i = 0; i < fsm_hf_field_count; i++) {
        const fsm_hf_field *field = &fsm_hf_fields[i];
        if (field->types & type) fsm_json_set(json, field->key, field_value(field, config), failed);
    }
    if (type == FSM_HF_MIXTRAL) add_mixtral_constants(json, failed);
    return json;
}

/* Few digits where they say the same numbers (1e-05), otherwise all 17. */
static fsmoe_status write_json(json_t *json, bool failed, const char *path)
{
    enum { ALL = JSON_INDENT(INDENT), SHORT = ALL | JSON_REAL_PRECISION(SHORT_DIGITS) };
    json_error_t why;
    char *text;
    FSM_TRY(fsm_json_text(json_incref(json), failed, SHORT, path, &text));
    json_t *back = fsm_json_decode(text, strlen(text), 0, &why);
    bool same = json_equal(json, back);
    free(text);
    if (!back) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to write '%s'", path);
    json_decref(back);
    return fsm_json_write(json_incref(json), failed, same ? SHORT : ALL, path);
}

fsmoe_status fsm_hf_config_write(const char *folder, const fsmoe_model_config *model, const fsmoe_moe_config *moe)
{
    fsmoe_config config = {.model = *model, .moe = *moe};
    if (model->vocab_size == 0 || model->max_seq_len == 0)
        return fsm_fail(FSMOE_ERROR_INTERNAL, "the configuration of '%s' has no %s yet", folder,
                        model->vocab_size == 0 ? "vocab_size" : "max_seq_len");
    fsm_config_derive_numbers(&config);
    config.moe.expert = (char *)expert_kind(model, moe);
    char path[FSM_PATH_BYTES];
    bool failed = false;
    FSM_TRY(fsm_file_path(folder, "config.json", path));
    json_t *json =
        to_json(&config, fsm_hf_config_is_mixtral(model, moe, NULL) ? FSM_HF_MIXTRAL : FSM_HF_FSMOE, &failed);
    fsmoe_status status = write_json(json, failed, path);
    json_decref(json);
    return status;
}
