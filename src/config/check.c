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

static bool is_planned(const fsmoe_config *config)
{
    return !is_unplanned(config);
}

static bool is_gate(const fsmoe_config *config, const char *gate)
{
    return strcmp(config->moe.gate, gate) == 0;
}

/* The predicate of a key that one gate alone reads. */
#define NOT_GATE(gate)                                    \
    static bool is_not_##gate(const fsmoe_config *config) \
    {                                                     \
        return !is_gate(config, #gate);                   \
    }
NOT_GATE(gshard)
NOT_GATE(switch)
NOT_GATE(sigmoid)
NOT_GATE(xmoe)
NOT_GATE(deepseek)
NOT_GATE(hash)
NOT_GATE(soft)
#undef NOT_GATE

static bool is_soft(const fsmoe_config *config)
{
    return is_gate(config, "soft");
}

/* A derived configuration has what follows for the groups and the order of soft. */
static bool mixes_samples(const fsmoe_config *config)
{
    return is_soft(config) && config->moe.capacity_group != config->data.seq_len;
}

static bool orders_slots(const fsmoe_config *config)
{
    return is_soft(config) && strcmp(config->moe.order, "sorted") != 0;
}

static bool needs_no_group(const fsmoe_config *config)
{
    return is_dropless(config) && !config->moe.balanced && !is_soft(config);
}

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

static bool has_no_aux_loss(const fsmoe_config *config)
{
    static const char *const without[] = {"sigmoid", "expert_choice", "soft", "hash", "balanced_test"};
    if (strcmp(config->moe.aux_loss, "auto") != 0) return strcmp(config->moe.aux_loss, "none") == 0;
    return is_one_of(config->moe.gate, without, sizeof without / sizeof *without);
}

static bool asks_z_loss_in_vain(const fsmoe_config *config)
{
    static const char *const without[] = {"soft", "hash", "balanced_test"};
    return config->moe.z_loss_coeff != 0 && is_one_of(config->moe.gate, without, sizeof without / sizeof *without);
}

static bool asks_aux_loss_in_vain(const fsmoe_config *config)
{
    return config->moe.aux_loss_coeff != 0 && has_no_aux_loss(config);
}

/* Sums over a rank's tokens that are not formed in canonical's tree. */
static bool has_plain_sums(const fsmoe_config *config)
{
    return config->moe.shared_gate || is_gate(config, "xmoe") || is_soft(config);
}

static bool never_normalizes(const fsmoe_config *config)
{
    return !is_gate(config, "gshard") && !is_gate(config, "xmoe");
}

static bool experts_choose(const fsmoe_config *config)
{
    return is_gate(config, "expert_choice");
}

static bool has_no_shared(const fsmoe_config *config)
{
    return config->moe.shared_experts == 0;
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
    {"parallel.forward_degree", is_planned, "a parallel.schedule other than dsmoe plans its own"},
    {"parallel.backward_degree", is_planned, "a parallel.schedule other than dsmoe plans its own"},
    {"parallel.replan_every", is_unplanned, "parallel.schedule dsmoe is not planned from costs"},
    {"moe.top_k", is_soft, "with moe.gate soft every token goes to every slot"},
    {"moe.capacity_factor", is_soft, "with moe.gate soft an expert has moe.slots_per_expert slots a sample"},
    {"moe.capacity_group", mixes_samples, "the groups of moe.gate soft are samples"},
    {"moe.order", orders_slots, "moe.gate soft makes rows of its own"},
    {"moe.drop_policy", is_soft, "moe.gate soft drops nothing"},
    {"moe.drop_policy", experts_choose, "moe.gate expert_choice drops nothing"},
    {"moe.drop_policy", is_dropless, "moe.capacity_factor 0 drops no tokens"},
    {"moe.capacity_group", needs_no_group, "moe.capacity_factor 0 drops no tokens"},
    {"moe.noisy", is_not_gshard, "only moe.gate gshard has noise"},
    {"moe.normalize_top_k", never_normalizes, "only moe.gate gshard and xmoe normalise over the chosen"},
    {"moe.jitter", is_not_switch, "only moe.gate switch jitters its input"},
    {"moe.balanced", is_not_sigmoid, "only moe.gate sigmoid knows it"},
    {"moe.proj_dim", is_not_xmoe, "only moe.gate xmoe projects"},
    {"moe.slots_per_expert", is_not_soft, "only moe.gate soft has slots"},
    {"moe.normalize_slots", is_not_soft, "only moe.gate soft has slots"},
    {"moe.n_group", is_not_deepseek, "only moe.gate deepseek has groups of experts"},
    {"moe.topk_group", is_not_deepseek, "only moe.gate deepseek has groups of experts"},
    {"moe.routed_scaling_factor", is_not_deepseek, "only moe.gate deepseek scales its weights"},
    {"moe.bias_update_rate", is_not_deepseek, "only moe.gate deepseek has a bias that moves"},
    {"moe.hash", is_not_hash, "only moe.gate hash looks at token ids"},
    {"moe.shared_gate", has_no_shared, "moe.shared_experts is 0"},
    {"moe.aux_loss_scope", has_no_aux_loss, "there is no load-balancing loss (moe.aux_loss, or that of moe.gate)"},
    {"moe.aux_loss_coeff", asks_aux_loss_in_vain,
     "there is no load-balancing loss (moe.aux_loss, or that of moe.gate)"},
    {"moe.z_loss_coeff", asks_z_loss_in_vain, "moe.gate soft, hash and balanced_test have no z-loss"},
    {"parallel.canonical_sums", has_plain_sums,
     "sums of moe.gate xmoe and soft, and of moe.shared_gate, depend on the layout"},
    {"train.eval_every", has_no_valid, "data.valid is empty"},
    {"train.eval_tokens", has_no_valid, "data.valid is empty"},
    {"run.sample_tokens", has_no_prompt, "run.sample_prompt is empty"},
    {"run.sample_temperature", has_no_prompt, "run.sample_prompt is empty"},
    {"run.sample_top_p", has_no_prompt, "run.sample_prompt is empty"},
    {"run.sample_top_p", is_greedy, "run.sample_temperature 0 always takes the likeliest token"},
};

/* A key that holds its default disturbs nobody, unless `given` ones are asked about. */
static fsmoe_status check_unused(const fsmoe_config *config, bool given)
{
    for (size_t i = 0; i < sizeof unused_rules / sizeof *unused_rules; i++) {
        const struct unused_rule *rule = &unused_rules[i];
        const fsm_config_field *field = fsm_config_find(rule->key);
        if (!rule->unused(config) || (given ? !where(config, field) : fsm_config_is_default(config, field))) continue;
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
    const fsmoe_parallel_config *p = &config->parallel;
    if (p->canonical_sums && (p->forward_degree > 1 || p->backward_degree > 1))
        return fail_at(config, p->forward_degree > 1 ? "parallel.forward_degree" : "parallel.backward_degree", NULL,
                       "parallel.canonical_sums has one chunk a layer");
    static const char *const keys[] = {"parallel.esp_size", "parallel.mp_size"};
    for (size_t i = 0; config->parallel.canonical_sums && i < sizeof keys / sizeof *keys; i++)
        if (int_at(config, keys[i]) > 2)
            return fail_at(config, keys[i], "parallel.canonical_sums",
                           "'%s' is %" PRId64 ", but "
                           "parallel.canonical_sums knows at most 2",
                           keys[i], int_at(config, keys[i]));
    return FSMOE_OK;
}

/* What a gate asks of other keys. */
static fsmoe_status check_gate(const fsmoe_config *config)
{
    const fsmoe_moe_config *moe = &config->moe;
    if (is_gate(config, "switch") && moe->top_k != 1)
        return fail_at(config, "moe.top_k", "moe.gate", "'moe.top_k' is %" PRId64 ", but moe.gate switch chooses 1",
                       moe->top_k);
    if (is_gate(config, "deepseek") && moe->top_k * moe->n_group > moe->topk_group * moe->num_experts)
        return fail_at(config, "moe.top_k", "moe.topk_group",
                       "'moe.top_k' is %" PRId64 ", more than the experts of 'moe.topk_group' groups", moe->top_k);
    if (is_dropless(config) && (experts_choose(config) || strcmp(moe->order, "gshard") == 0))
        return fail_at(config, "moe.capacity_factor", "moe.gate", "'moe.capacity_factor' is 0, but %s needs a capacity",
                       experts_choose(config) ? "moe.gate expert_choice" : "moe.order gshard");
    if (!moe->allow_non_causal && (experts_choose(config) || is_soft(config)))
        return fail_at(config, "moe.gate", NULL,
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
    return field && where(config, field) ? fsm_fail_within(status, "%s", where(config, field)) : status;
}

fsmoe_status fsm_config_check_given(const fsmoe_config *config)
{
    return check_unused(config, true);
}

fsmoe_status fsm_config_check(const fsmoe_config *config)
{
    FSM_TRY(check_ranges(config));
    FSM_TRY(check_unused(config, false));
    fsmoe_config derived = *config;
    fsm_config_derive_flat(&derived);
    if (is_soft(config)) derived.moe.top_k = 1; /* it has no effect */
    FSM_TRY(check_heads(config, &derived.model));
    FSM_TRY(check_relations(config, &derived));
    FSM_TRY(check_gate(config));
    FSM_TRY(check_canonical_sums(config));
    if (config->train.min_lr > config->train.lr)
        return fail_at(config, "train.min_lr", "train.lr",
                       "'train.min_lr' is %.15g, more than 'train.lr', which is "
                       "%.15g: the cosine falls",
                       config->train.min_lr, config->train.lr);
    return FSMOE_OK;
}
