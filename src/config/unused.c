/* Keys that the others leave without effect: each is a row of a table with the reason that its message gives. */
#include "config/check.h"

#include <stdio.h>

static bool has_biases(const fsmoe_config *config)
{
    return is_gpt2(config) || strcmp(config->moe.expert, "gpt") == 0;
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

/* What a gate from outside looks at, nobody here knows. */
static bool is_from_outside(const fsmoe_config *config)
{
    return fsm_config_is_added("moe.gate", config->moe.gate);
}

/* The predicate of a key that one gate of the library alone reads. */
#define NOT_GATE(gate)                                              \
    static bool is_not_##gate(const fsmoe_config *config)           \
    {                                                               \
        return !is_gate(config, #gate) && !is_from_outside(config); \
    }
NOT_GATE(gshard)
NOT_GATE(switch)
NOT_GATE(sigmoid)
NOT_GATE(xmoe)
NOT_GATE(deepseek)
NOT_GATE(hash)
NOT_GATE(soft)
#undef NOT_GATE

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
    return is_not_gshard(config) && is_not_xmoe(config);
}

static bool has_no_shared(const fsmoe_config *config)
{
    return config->moe.shared_experts == 0;
}

static bool is_greedy(const fsmoe_config *config)
{
    return config->run.sample_temperature == 0;
}

/* Their weights are normalised anyhow; true says just that, false is the default. */
static bool weighs_several(const fsmoe_config *config)
{
    return config->moe.top_k > 1;
}

static bool sums_canonically(const fsmoe_config *config)
{
    return config->parallel.canonical_sums;
}

static bool has_no_lanes(const fsmoe_config *config)
{
    return strcmp(config->parallel.schedule, "fsmoe-lanes") != 0;
}

/* `key` has no effect when `unused` holds. */
static const struct rule {
    const char *key;
    bool (*unused)(const fsmoe_config *);
    const char *reason; /* NULL: no matter, whatever the key says */
} rules[] = {
    {"model.rope_theta", is_gpt2, "model.family gpt2 learns its positions instead of rotating by them"},
    {"parallel.canonical_sums", has_biases,
     "sums with biases (model.family gpt2, moe.expert gpt) depend on the layout"},
    {"parallel.cluster", is_unplanned, "parallel.schedule dsmoe is not planned from costs"},
    {"parallel.forward_degree", is_planned, "a parallel.schedule other than dsmoe plans its own"},
    {"parallel.backward_degree", is_planned, "a parallel.schedule other than dsmoe plans its own"},
    {"parallel.lanes", has_no_lanes, "only parallel.schedule fsmoe-lanes chooses lanes"},
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
    {"moe.normalize_top_k", weighs_several, NULL},
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
    {"train.products", sums_canonically, "parallel.canonical_sums has one way to multiply"},
    {"train.eval_every", has_no_valid, "data.valid is empty"},
    {"train.eval_tokens", has_no_valid, "data.valid is empty"},
    {"run.sample_tokens", has_no_prompt, "run.sample_prompt is empty"},
    {"run.sample_temperature", has_no_prompt, "run.sample_prompt is empty"},
    {"run.sample_top_p", has_no_prompt, "run.sample_prompt is empty"},
    {"run.sample_top_p", is_greedy, "run.sample_temperature 0 always takes the likeliest token"},
};

enum { RULE_COUNT = sizeof rules / sizeof *rules };

bool fsm_config_has_effect(const fsmoe_config *config, const fsm_config_field *field)
{
    for (int i = 0; i < RULE_COUNT; i++)
        if (strcmp(rules[i].key, field->key) == 0 && rules[i].unused(config)) return false;
    return true;
}

/* What a file said had an effect until something later took it away. */
static bool is_silenced(const fsmoe_config *config, const struct rule *rule, const fsm_config_field *field)
{
    if (!rule->reason || !rule->unused(config) || fsm_config_is_default(config, field)) return false;
    fsm_config_source source = fsm_config_origin_of(config, field)->source;
    if (source == FSM_CONFIG_BY_FILE) return !rule->unused(&((const fsm_config *)config)->files);
    return source == FSM_CONFIG_BY_FOLDER; /* that is how a model was trained, and nobody's wish */
}

/* Says it of a key that a file gave. */
static void warn(const fsmoe_config *config, const fsm_config_field *field, const char *what, const char *reason)
{
    char text[1024];
    const fsm_config *whole = (const fsm_config *)config;
    const fsm_config_origin *origin = fsm_config_origin_of(config, field);
    if (origin->source != FSM_CONFIG_BY_FILE || !whole->on_warning) return;
    snprintf(text, sizeof text, "%s: '%s' is %s: %s", origin->where, field->key, what, reason);
    whole->on_warning(whole->user, text);
}

/* The default of moe.top_k is none of switch's, which has no other than 1: whoever chose the gate chose that. */
static fsmoe_status choose_one(fsmoe_config *config)
{
    const fsm_config_field *field = fsm_config_find("moe.top_k");
    const fsm_config_origin *gate = fsm_config_origin_of(config, fsm_config_find("moe.gate"));
    const fsmoe_config one = {.moe = {.top_k = 1}};
    fsm_config_source source = fsm_config_origin_of(config, field)->source;
    bool is_free = source == FSM_CONFIG_BY_NOBODY && fsm_config_is_default(config, field);
    bool is_silenced = source == FSM_CONFIG_BY_FILE && !is_gate(&((const fsm_config *)config)->files, "switch");
    if (!is_gate(config, "switch") || config->moe.top_k == 1 || !(is_free || is_silenced)) return FSMOE_OK;
    warn(config, field, "left without effect", "moe.gate switch chooses 1");
    return fsm_config_take(config, &one, field, gate->source, gate->where);
}

/* A run that is cut short, to try a file, warms up no longer than it is. */
static fsmoe_status shorten_warmup(fsmoe_config *config)
{
    const fsm_config_field *field = fsm_config_find("train.warmup_steps");
    const fsmoe_train_config *files = &((const fsm_config *)config)->files.train;
    bool is_of_file = fsm_config_origin_of(config, field)->source == FSM_CONFIG_BY_FILE;
    int64_t steps = config->train.steps;
    if (!is_of_file || config->train.warmup_steps <= steps || files->warmup_steps > files->steps) return FSMOE_OK;
    warn(config, field, "cut to train.steps", "train.lr would never be reached");
    FSM_TRY(fsm_config_reset(config, field));
    config->train.warmup_steps = steps;
    return FSMOE_OK;
}

fsmoe_status fsmoe_config_drop_silenced(fsmoe_config *config)
{
    for (int i = 0; i < RULE_COUNT; i++) {
        const fsm_config_field *field = fsm_config_find(rules[i].key);
        if (!is_silenced(config, &rules[i], field)) continue;
        warn(config, field, "left without effect", rules[i].reason);
        FSM_TRY(fsm_config_reset(config, field));
    }
    FSM_TRY(shorten_warmup(config));
    return choose_one(config);
}

static fsmoe_status fail_unused(const fsmoe_config *config, const struct rule *rule)
{
    return fsm_config_fail_at(config, rule->key, NULL, "'%s' has no effect: %s", rule->key, rule->reason);
}

/* A key that holds its default disturbs nobody. */
fsmoe_status fsm_config_check_unused(const fsmoe_config *config)
{
    for (int i = 0; i < RULE_COUNT; i++) {
        const struct rule *rule = &rules[i];
        if (!rule->reason || !rule->unused(config)) continue;
        if (!fsm_config_is_default(config, fsm_config_find(rule->key))) return fail_unused(config, rule);
    }
    return FSMOE_OK;
}

fsmoe_status fsm_config_check_given(const fsmoe_config *config)
{
    for (int i = 0; i < RULE_COUNT; i++) {
        const struct rule *rule = &rules[i];
        if (!rule->reason || !rule->unused(config)) continue;
        if (fsm_config_where(config, fsm_config_find(rule->key))) return fail_unused(config, rule);
    }
    return FSMOE_OK;
}
