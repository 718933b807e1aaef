/* What no key can tell alone: keys that the others leave without effect, and relations between keys. Each is a row of
 * a table with the reason that its message gives. */
#include "config/config.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *where(const fsmoe_config *config, const fsm_config_field *field)
{
    return ((const fsm_config *)config)->where[field - fsm_config_fields];
}

/* Fails with the place of `key`, or of `other` (may be NULL) when only that one was set by somebody. */
static fsmoe_status fail_at(const fsmoe_config *config, const char *key, const char *other, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static fsmoe_status fail_at(const fsmoe_config *config, const char *key, const char *other, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *place = where(config, fsm_config_find(key));
    if (!place && other) place = where(config, fsm_config_find(other));
    return fsm_fail(FSMOE_ERROR_CONFIG, "%s%s%s", place ? place : "", place ? ": " : "", text);
}

/* A program may have written the struct directly, so ranges are looked at once more. */
static fsmoe_status check_ranges(const fsmoe_config *config)
{
    for (size_t i = 0; i < fsm_config_field_count; i++) {
        const fsm_config_field *field = &fsm_config_fields[i];
        fsmoe_status status = fsm_config_check_field(config, field);
        if (status == FSMOE_OK) continue;
        return where(config, field) ? fsm_fail_within(status, "%s", where(config, field)) : status;
    }
    return FSMOE_OK;
}

static bool is_gpt2(const fsmoe_config *config)
{
    return strcmp(config->model.family, "gpt2") == 0;
}

static bool has_biases(const fsmoe_config *config)
{
    return is_gpt2(config) || strcmp(config->moe.expert, "gpt") == 0;
}

static bool is_dropless(const fsmoe_config *config)
{
    return config->moe.capacity_factor == 0;
}

static bool has_no_valid(const fsmoe_config *config)
{
    return config->data.valid.count == 0;
}

static bool has_no_prompt(const fsmoe_config *config)
{
    return !*config->run.sample_prompt;
}

static bool is_unplanned(const fsmoe_config *config)
{
    return strcmp(config->parallel.schedule, "dsmoe") == 0;
}

static bool is_greedy(const fsmoe_config *config)
{
    return config->run.sample_temperature == 0;
}

/* `key` has no effect when `unused` holds. moe.normalize_top_k is not here: with top_k > 1 the weights are normalised
 * anyhow, true says just that and false is the default. */
static const struct unused_rule {
    const char *key;
    bool (*unused)(const fsmoe_config *);
    const char *reason;
} unused_rules[] = {
    {"model.rope_theta", is_gpt2, "model.family gpt2 learns its positions instead of rotating by them"},
    {"parallel.canonical_sums", has_biases,
     "sums with biases (model.family gpt2, moe.expert gpt) depend on the layout"},
    {"parallel.cluster", is_unplanned, "parallel.schedule dsmoe is not planned from costs"},
    {"parallel.replan_every", is_unplanned, "parallel.schedule dsmoe is not planned from costs"},
    {"moe.capacity_group", is_dropless, "moe.capacity_factor 0 drops no tokens"},
    {"train.eval_every", has_no_valid, "data.valid is empty"},
    {"train.eval_tokens", has_no_valid, "data.valid is empty"},
    {"run.sample_tokens", has_no_prompt, "run.sample_prompt is empty"},
    {"run.sample_temperature", has_no_prompt, "run.sample_prompt is empty"},
    {"run.sample_top_p", has_no_prompt, "run.sample_prompt is empty"},
    {"run.sample_top_p", is_greedy, "run.sample_temperature 0 always takes the likeliest token"},
};

static fsmoe_status check_unused(const fsmoe_config *config)
{
    for (size_t i = 0; i < sizeof unused_rules / sizeof *unused_rules; i++) {
        const struct unused_rule *rule = &unused_rules[i];
        if (!rule->unused(config) || fsm_config_is_default(config, fsm_config_find(rule->key))) continue;
        return fail_at(config, rule->key, NULL, "'%s' has no effect: %s", rule->key, rule->reason);
    }
    return FSMOE_OK;
}

typedef struct relation {
    const char *key, *other, *reason;
} relation;

/* Key is a multiple of other; nothing is asked while other is 0. */
static const relation multiples[] = {
    {"model.num_heads", "model.num_kv_heads", "every key head serves equally many query heads"},
    {"train.global_batch", "train.micro_batch", "a step is a whole number of micro-batches"},
    {"data.seq_len", "moe.capacity_group", "a sample is a whole number of capacity groups"},
    {"moe.num_experts", "parallel.ep_size", "every rank holds equally many experts"},
    {"model.ffn_hidden", "parallel.esp_size", "every rank holds an equal slice of an expert"},
    {"model.num_heads", "parallel.mp_size", "every rank holds equally many heads"},
    {"model.num_kv_heads", "parallel.mp_size", "every rank holds equally many key heads"},
};

/* Key is at most other. */
static const relation upper_bounds[] = {
    {"moe.top_k", "moe.num_experts", "a token goes to different experts"},
    {"data.seq_len", "model.max_seq_len", "the model knows no later positions"},
    {"train.warmup_steps", "train.steps", "train.lr would never be reached"},
};

static int64_t int_at(const fsmoe_config *config, const char *key)
{
    return *(const int64_t *)fsm_config_at(config, fsm_config_find(key));
}

/* `derived` is `config` with its zeros filled in. */
static fsmoe_status check_relations(const fsmoe_config *config, const fsmoe_config *derived)
{
    for (size_t i = 0; i < sizeof multiples / sizeof *multiples; i++) {
        const relation *r = &multiples[i];
        int64_t a = int_at(derived, r->key), b = int_at(derived, r->other);
        if (b != 0 && a % b != 0)
            return fail_at(config, r->key, r->other,
                           "'%s' is %" PRId64 ", not a multiple of '%s', which is %" PRId64 ": %s", r->key, a, r->other,
                           b, r->reason);
    }
    for (size_t i = 0; i < sizeof upper_bounds / sizeof *upper_bounds; i++) {
        const relation *r = &upper_bounds[i];
        int64_t a = int_at(derived, r->key), b = int_at(derived, r->other);
        if (a > b)
            return fail_at(config, r->key, r->other, "'%s' is %" PRId64 ", more than '%s', which is %" PRId64 ": %s",
                           r->key, a, r->other, b, r->reason);
    }
    return FSMOE_OK;
}

static fsmoe_status check_heads(const fsmoe_config *config, const fsmoe_model_config *derived)
{
    const fsmoe_model_config *model = &config->model;
    if (model->head_dim == 0 && model->hidden % model->num_heads != 0)
        return fail_at(config, "model.hidden", "model.num_heads",
                       "'model.hidden' is %" PRId64 ", not a multiple of 'model.num_heads', which is %" PRId64
                       ": set model.head_dim",
                       model->hidden, model->num_heads);
    if (!is_gpt2(config) && derived->head_dim % 2 != 0)
        return fail_at(config, "model.head_dim", "model.hidden",
                       "'model.head_dim' is %" PRId64 ", but rotary positions need an even one", derived->head_dim);
    if (is_gpt2(config) && derived->num_kv_heads != derived->num_heads)
        return fail_at(config, "model.num_kv_heads", NULL,
                       "'model.num_kv_heads' is %" PRId64 ", but model.family gpt2 has as many as 'model.num_heads', "
                       "which is %" PRId64,
                       derived->num_kv_heads, derived->num_heads);
    return FSMOE_OK;
}

/* Sums over ranks are added in the order of ranks; only of two is that the order of the tree. */
static fsmoe_status check_canonical_sums(const fsmoe_config *config)
{
    static const char *const keys[] = {"parallel.esp_size", "parallel.mp_size"};
    for (size_t i = 0; config->parallel.canonical_sums && i < sizeof keys / sizeof *keys; i++)
        if (int_at(config, keys[i]) > 2)
            return fail_at(config, keys[i], "parallel.canonical_sums",
                           "'%s' is %" PRId64 ", but "
                           "parallel.canonical_sums knows at most 2",
                           keys[i], int_at(config, keys[i]));
    return FSMOE_OK;
}

fsmoe_status fsm_config_check(const fsmoe_config *config)
{
    FSM_TRY(check_ranges(config));
    FSM_TRY(check_unused(config));
    fsmoe_config derived = *config;
    fsm_config_derive_numbers(&derived);
    FSM_TRY(check_heads(config, &derived.model));
    FSM_TRY(check_relations(config, &derived));
    FSM_TRY(check_canonical_sums(config));
    if (config->train.min_lr > config->train.lr)
        return fail_at(config, "train.min_lr", "train.lr",
                       "'train.min_lr' is %.15g, more than 'train.lr', which is "
                       "%.15g: the cosine falls",
                       config->train.min_lr, config->train.lr);
    return FSMOE_OK;
}
