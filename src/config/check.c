/* Relations between keys: each is a row of a table with the reason that its message gives. */
#include "config/check.h"

#include <fsmoe/cluster.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A program may have written the struct directly, so ranges are looked at once more. */
static fsmoe_status check_ranges(const fsmoe_config *config)
{
    for (size_t i = 0; i < fsm_config_field_count; i++) {
        const fsm_config_field *field = &fsm_config_fields[i];
        fsmoe_status status = fsm_config_check_field(config, field);
        if (status == FSMOE_OK) continue;
        return fsm_config_where(config, field) ? fsm_fail_within(status, "%s", fsm_config_where(config, field))
                                               : status;
    }
    return FSMOE_OK;
}

fsmoe_status fsm_config_fail_at(const fsmoe_config *config, const char *key, const char *other, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *place = fsm_config_where(config, fsm_config_find(key));
    if (!place && other) place = fsm_config_where(config, fsm_config_find(other));
    return fsm_fail(FSMOE_ERROR_CONFIG, "%s%s%s", place ? place : "", place ? ": " : "", text);
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
    {"moe.num_experts", "moe.n_group", "groups of experts are equally large"},
    {"model.ffn_hidden", "parallel.esp_size", "every rank holds an equal slice of an expert"},
    {"model.num_heads", "parallel.mp_size", "every rank holds equally many heads"},
    {"model.num_kv_heads", "parallel.mp_size", "every rank holds equally many key heads"},
};

/* Key is at most other. */
static const relation upper_bounds[] = {
    {"moe.top_k", "moe.num_experts", "a token goes to different experts"},
    {"moe.topk_group", "moe.n_group", "experts come from different groups"},
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
            return fsm_config_fail_at(config, r->key, r->other,
                                      "'%s' is %" PRId64 ", not a multiple of '%s', which is %" PRId64 ": %s", r->key,
                                      a, r->other, b, r->reason);
    }
    for (size_t i = 0; i < sizeof upper_bounds / sizeof *upper_bounds; i++) {
        const relation *r = &upper_bounds[i];
        int64_t a = int_at(derived, r->key), b = int_at(derived, r->other);
        if (a > b)
            return fsm_config_fail_at(config, r->key, r->other,
                                      "'%s' is %" PRId64 ", more than '%s', which is %" PRId64 ": %s", r->key, a,
                                      r->other, b, r->reason);
    }
    return FSMOE_OK;
}

static fsmoe_status check_heads(const fsmoe_config *config, const fsmoe_model_config *derived)
{
    const fsmoe_model_config *model = &config->model;
    if (model->head_dim == 0 && model->hidden % model->num_heads != 0)
        return fsm_config_fail_at(config, "model.hidden", "model.num_heads",
                                  "'model.hidden' is %" PRId64
                                  ", not a multiple of 'model.num_heads', which is %" PRId64 ": set model.head_dim",
                                  model->hidden, model->num_heads);
    if (!is_gpt2(config) && derived->head_dim % 2 != 0)
        return fsm_config_fail_at(config, "model.head_dim", "model.hidden",
                                  "'model.head_dim' is %" PRId64 ", but rotary positions need an even one",
                                  derived->head_dim);
    if (is_gpt2(config) && derived->num_kv_heads != derived->num_heads)
        return fsm_config_fail_at(config, "model.num_kv_heads", NULL,
                                  "'model.num_kv_heads' is %" PRId64
                                  ", but model.family gpt2 has as many as 'model.num_heads', "
                                  "which is %" PRId64,
                                  derived->num_kv_heads, derived->num_heads);
    return FSMOE_OK;
}

/* Sums over ranks are added in the order of ranks; only of two is that the order of the tree. */
static fsmoe_status check_canonical_sums(const fsmoe_config *config)
{
    const fsmoe_parallel_config *p = &config->parallel;
    if (p->canonical_sums && (p->forward_degree > 1 || p->backward_degree > 1))
        return fsm_config_fail_at(config,
                                  p->forward_degree > 1 ? "parallel.forward_degree" : "parallel.backward_degree", NULL,
                                  "parallel.canonical_sums has one chunk a layer");
    static const char *const keys[] = {"parallel.esp_size", "parallel.mp_size"};
    for (size_t i = 0; config->parallel.canonical_sums && i < sizeof keys / sizeof *keys; i++)
        if (int_at(config, keys[i]) > 2)
            return fsm_config_fail_at(config, keys[i], "parallel.canonical_sums",
                                      "'%s' is %" PRId64 ", but "
                                      "parallel.canonical_sums knows at most 2",
                                      keys[i], int_at(config, keys[i]));
    return FSMOE_OK;
}

/* Rows of bf16 are widened a block at a time into work memory of a fixed size. */
static fsmoe_status check_dtype(const fsmoe_config *config, const fsmoe_config *derived)
{
    static const int64_t widest = 1 << 20;
    const int64_t heads = derived->model.num_heads * derived->model.head_dim;
    if (strcmp(derived->train.compute_dtype, "bf16") != 0) return FSMOE_OK;
    if (config->parallel.canonical_sums)
        return fsm_config_fail_at(config, "train.compute_dtype", "parallel.canonical_sums",
                                  "'train.compute_dtype' is bf16, but parallel.canonical_sums adds in fp32 alone");
    for (size_t i = 0; i < config->moe.hooks.count; i++)
        if (strcmp(config->moe.hooks.items[i], "token_histogram") != 0)
            return fsm_config_fail_at(
                config, "moe.hooks", "train.compute_dtype",
                "'moe.hooks' has %s, which looks at rows of fp32, but 'train.compute_dtype' is bf16",
                config->moe.hooks.items[i]);
    if (fsm_config_expert_is_on_host(config))
        return fsm_config_fail_at(config, "moe.expert", "train.compute_dtype",
                                  "'moe.expert' is %s, which looks at rows of fp32, but 'train.compute_dtype' is bf16",
                                  config->moe.expert);
    if (heads > widest)
        return fsm_config_fail_at(config, "model.head_dim", "train.compute_dtype",
                                  "'model.head_dim' makes heads of %" PRId64
                                  " elements together, but 'train.compute_dtype' bf16 knows at most %" PRId64,
                                  heads, widest);
    return FSMOE_OK;
}

static fsmoe_status check_memory(const fsmoe_config *config)
{
    double bytes;
    if (!*config->parallel.memory ||
        fsmoe_quantity_parse(config->parallel.memory, FSMOE_QUANTITY_BYTES, &bytes) == FSMOE_OK)
        return FSMOE_OK;
    char why[256];
    snprintf(why, sizeof why, "%s", fsmoe_last_error());
    return fsm_config_fail_at(config, "parallel.memory", NULL, "'parallel.memory': %s", why);
}

/* What a gate asks of other keys. */
static fsmoe_status check_gate(const fsmoe_config *config)
{
    const fsmoe_moe_config *moe = &config->moe;
    if (is_gate(config, "switch") && moe->top_k != 1)
        return fsm_config_fail_at(config, "moe.top_k", "moe.gate",
                                  "'moe.top_k' is %" PRId64 ", but moe.gate switch chooses 1", moe->top_k);
    if (is_gate(config, "deepseek") && moe->top_k * moe->n_group > moe->topk_group * moe->num_experts)
        return fsm_config_fail_at(config, "moe.top_k", "moe.topk_group",
                                  "'moe.top_k' is %" PRId64 ", more than the experts of 'moe.topk_group' groups",
                                  moe->top_k);
    if (is_dropless(config) && (experts_choose(config) || strcmp(moe->order, "gshard") == 0))
        return fsm_config_fail_at(config, "moe.capacity_factor", "moe.gate",
                                  "'moe.capacity_factor' is 0, but %s needs a capacity",
                                  experts_choose(config) ? "moe.gate expert_choice" : "moe.order gshard");
    if (!moe->allow_non_causal && (experts_choose(config) || is_soft(config)))
        return fsm_config_fail_at(config, "moe.gate", NULL,
                                  "moe.gate %s looks at later tokens, which a causal model must not: "
                                  "moe.allow_non_causal: true says that this is meant",
                                  moe->gate);
    return FSMOE_OK;
}

fsmoe_status fsm_config_place(const fsmoe_config *config, fsmoe_status status)
{
    char key[128], colon[2];
    if (status != FSMOE_ERROR_CONFIG) return status;
    if (sscanf(fsmoe_last_error(), "%127[a-z0-9_.]%1[:]", key, colon) != 2) return status;
    const fsm_config_field *field = fsm_config_find(key);
    return field && fsm_config_where(config, field) ? fsm_fail_within(status, "%s", fsm_config_where(config, field))
                                                    : status;
}

fsmoe_status fsm_config_check(fsmoe_config *config)
{
    FSM_TRY(check_ranges(config));
    FSM_TRY(fsmoe_config_drop_silenced(config));
    FSM_TRY(fsm_config_check_unused(config));
    fsmoe_config derived = *config;
    fsm_config_derive_flat(&derived);
    if (is_soft(config)) derived.moe.top_k = 1; /* it has no effect */
    FSM_TRY(check_heads(config, &derived.model));
    FSM_TRY(check_relations(config, &derived));
    FSM_TRY(check_gate(config));
    FSM_TRY(check_canonical_sums(config));
    FSM_TRY(check_dtype(config, &derived));
    FSM_TRY(check_memory(config));
    if (config->train.min_lr > config->train.lr)
        return fsm_config_fail_at(config, "train.min_lr", "train.lr",
                                  "'train.min_lr' is %.15g, more than 'train.lr', which is "
                                  "%.15g: the cosine falls",
                                  config->train.min_lr, config->train.lr);
    return FSMOE_OK;
}
