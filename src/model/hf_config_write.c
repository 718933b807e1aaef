#include "base/file.h"
#include "base/json.h"
#include "config/field.h"
#include "model/hf_config.h"
#include "model/hf_config_keys.h"

#include <stdlib.h>
#include <string.h>

enum { INDENT = 2, SHORT_DIGITS = 15 };

static const char *what_mixtral_lacks(const fsmoe_config *derived)
{
    const fsmoe_model_config *model = &derived->model;
    const fsmoe_moe_config *moe = &derived->moe;
    if (strcmp(model->family, "mixtral") != 0) return "a family other than mixtral";
    if (strcmp(moe->expert, "mixtral") != 0) return "experts other than mixtral";
    if (model->moe_every != 1) return "layers without experts (moe_every)";
    if (strcmp(moe->gate, "gshard") != 0) return "a gate other than gshard";
    if (strcmp(moe->activation, "swiglu") != 0) return "another activation";
    if (moe->shared_experts > 0) return "shared experts";
    if (moe->noisy) return "a noisy gate";
    if (moe->top_k == 1 && !moe->normalize_top_k) return "one expert a token, not normalised (normalize_top_k)";
    return NULL;
}

/* Not to be freed. */
static fsmoe_config derive(const fsmoe_model_config *model, const fsmoe_moe_config *moe)
{
    fsmoe_config flat = {.model = *model, .moe = *moe};
    fsm_config_derive_flat(&flat);
    return flat;
}

bool fsm_hf_config_is_mixtral(const fsmoe_model_config *model, const fsmoe_moe_config *moe, const char **why)
{
    const fsmoe_config derived = derive(model, moe);
    const char *lacks = what_mixtral_lacks(&derived);
    if (why) *why = lacks;
    return !lacks;
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
        if (!(field->types & type)) continue;
        fsm_json_set(json, field->key, fsm_field_to_json(config, fsm_config_find(field->config_key)), failed);
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
    bool failed = false;
    if (model->vocab_size == 0 || model->max_seq_len == 0)
        return fsm_fail(FSMOE_ERROR_INTERNAL, "the configuration of '%s' has no %s yet", folder,
                        model->vocab_size == 0 ? "vocab_size" : "max_seq_len");
    char path[FSM_PATH_BYTES];
    FSM_TRY(fsm_file_path(folder, "config.json", path));
    const fsmoe_config derived = derive(model, moe);
    fsm_hf_type type = what_mixtral_lacks(&derived) ? FSM_HF_FSMOE : FSM_HF_MIXTRAL;
    json_t *json = to_json(&derived, type, &failed);
    fsmoe_status status = write_json(json, failed, path);
    json_decref(json);
    return status;
}
