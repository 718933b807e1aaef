#include "train/adopt.h"

#include "config/config.h"
#include "model/hf_config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The keys that make a model the model it is; the rest of `moe` is how it is trained. */
static bool is_of_the_model(const char *key)
{
    static const char *const moe_keys[] = {"moe.num_experts",
                                           "moe.top_k",
                                           "moe.gate",
                                           "moe.expert",
                                           "moe.activation",
                                           "moe.bias",
                                           "moe.shared_experts",
                                           "moe.shared_gate",
                                           "moe.noisy",
                                           "moe.normalize_top_k",
                                           "moe.proj_dim",
                                           "moe.slots_per_expert",
                                           "moe.normalize_slots",
                                           "moe.n_group",
                                           "moe.topk_group",
                                           "moe.routed_scaling_factor",
                                           "moe.allow_non_causal",
                                           "moe.hash"};
    if (strncmp(key, "model.", 6) == 0) return strcmp(key, "model.init_std") != 0;
    for (size_t i = 0; i < sizeof moe_keys / sizeof *moe_keys; i++)
        if (strcmp(key, moe_keys[i]) == 0) return true;
    return false;
}

/* A zero or "auto" leaves the choice to others. */
static bool leaves_open(const fsmoe_config *config, const fsm_config_field *field)
{
    const void *at = fsm_config_at(config, field);
    if (field->type == FSM_CONFIG_INT) return *(const int64_t *)at == 0;
    return field->type == FSM_CONFIG_CHOICE && strcmp(*(char *const *)at, "auto") == 0;
}

static bool equal(const fsmoe_config *a, const fsmoe_config *b, const fsm_config_field *field)
{
    const void *x = fsm_config_at(a, field), *y = fsm_config_at(b, field);
    switch (field->type) {
    case FSM_CONFIG_INT:
        return *(const int64_t *)x == *(const int64_t *)y;
    case FSM_CONFIG_FLOAT:
        return *(const double *)x == *(const double *)y;
    case FSM_CONFIG_BOOL:
        return *(const bool *)x == *(const bool *)y;
    default:
        return strcmp(*(char *const *)x, *(char *const *)y) == 0;
    }
}

static fsmoe_status take(fsmoe_config *to, const fsmoe_config *from, const fsm_config_field *field)
{
    void *x = (char *)to + field->offset;
    const void *y = fsm_config_at(from, field);
    switch (field->type) {
    case FSM_CONFIG_INT:
        *(int64_t *)x = *(const int64_t *)y;
        return FSMOE_OK;
    case FSM_CONFIG_FLOAT:
        *(double *)x = *(const double *)y;
        return FSMOE_OK;
    case FSM_CONFIG_BOOL:
        *(bool *)x = *(const bool *)y;
        return FSMOE_OK;
    default:
        break;
    }
    char *copy = strdup(*(char *const *)y);
    if (!copy) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for %s", field->key);
    free(*(char **)x);
    *(char **)x = copy;
    return FSMOE_OK;
}

enum { VALUE_BYTES = 64 };

static void print_value(const fsmoe_config *config, const fsm_config_field *field, char text[VALUE_BYTES])
{
    const void *at = fsm_config_at(config, field);
    switch (field->type) {
    case FSM_CONFIG_INT:
        snprintf(text, VALUE_BYTES, "%" PRId64, *(const int64_t *)at);
        break;
    case FSM_CONFIG_FLOAT:
        snprintf(text, VALUE_BYTES, "%.15g", *(const double *)at);
        break;
    case FSM_CONFIG_BOOL:
        snprintf(text, VALUE_BYTES, "%s", *(const bool *)at ? "true" : "false");
        break;
    default:
        snprintf(text, VALUE_BYTES, "%s", *(char *const *)at);
    }
}

static fsmoe_status fail_differs(const fsmoe_config *config, const fsmoe_config *saved, const fsm_config_field *field,
                                 const char *where, const char *folder)
{
    char mine[VALUE_BYTES], theirs[VALUE_BYTES];
    print_value(config, field, mine);
    print_value(saved, field, theirs);
    return fsm_fail(FSMOE_ERROR_CONFIG, "%s: '%s' is %s, but %s in the model in '%s'; leave it out to take the model's",
                    where, field->key, mine, theirs, folder);
}

static fsmoe_status adopt_field(fsmoe_config *config, const fsmoe_config *saved, size_t row, const char *folder)
{
    const fsm_config_field *field = &fsm_config_fields[row];
    const char *where = ((const fsm_config *)config)->where[row];
    if (!is_of_the_model(field->key) || equal(config, saved, field)) return FSMOE_OK;
    /* top_k > 1 always normalises, whatever the key says */
    if (strcmp(field->key, "moe.normalize_top_k") == 0 && saved->moe.top_k > 1) return FSMOE_OK;
    if (!where || leaves_open(config, field)) return take(config, saved, field);
    return fail_differs(config, saved, field, where, folder);
}

fsmoe_status fsm_adopt_model(fsmoe_config *config, const char *folder)
{
    fsmoe_config *saved;
    FSM_TRY(fsmoe_config_create(&saved));
    fsmoe_status status = fsm_hf_config_read(folder, &saved->model, &saved->moe);
    for (size_t row = 0; status == FSMOE_OK && row < fsm_config_field_count; row++)
        status = adopt_field(config, saved, row, folder);
    fsmoe_config_destroy(saved);
    return status;
}
