/* What a zero or "auto" means: one row a key. */
#include "config/field.h"

#include <string.h>

/* What auto stands for in moe.activation and moe.bias, by moe.expert. */
typedef struct expert_defaults {
    const char *expert, *activation, *bias;
    bool on_host;
} expert_defaults;

enum { MOST_EXPERTS = 18 };
static expert_defaults experts[MOST_EXPERTS] = {{"gpt", "gelu", "true", false}, {"mixtral", "swiglu", "false", false}};
static int expert_count = 2;

fsmoe_status fsm_config_add_expert(const char *name, const char *activation, bool has_bias, bool on_host)
{
    if (expert_count == MOST_EXPERTS)
        return fsm_fail(FSMOE_ERROR_CONFIG, "moe.expert: more than %d are added", MOST_EXPERTS - 2);
    experts[expert_count++] = (expert_defaults){name, activation, has_bias ? "true" : "false", on_host};
    return FSMOE_OK;
}

static const expert_defaults *defaults_of(const fsmoe_config *config)
{
    for (int i = 0; i < expert_count; i++)
        if (strcmp(experts[i].expert, config->moe.expert) == 0) return &experts[i];
    return NULL;
}

bool fsm_config_expert_is_on_host(const fsmoe_config *config)
{
    const expert_defaults *expert = defaults_of(config);
    return expert && expert->on_host;
}

static const char *expert_of_family(const fsmoe_config *config)
{
    return strcmp(config->model.family, "gpt2") == 0 ? "gpt" : "mixtral";
}

static const char *activation_of_expert(const fsmoe_config *config)
{
    const expert_defaults *expert = defaults_of(config);
    return expert ? expert->activation : "auto";
}

static const char *bias_of_expert(const fsmoe_config *config)
{
    const expert_defaults *expert = defaults_of(config);
    return expert ? expert->bias : "auto";
}

static const char *order_of_capacity(const fsmoe_config *config)
{
    return config->moe.capacity_factor == 0 ? "sorted" : "tutel";
}

static int64_t all_heads(const fsmoe_config *config)
{
    return config->model.num_heads;
}

static int64_t share_of_hidden(const fsmoe_config *config)
{
    return config->model.num_heads > 0 ? config->model.hidden / config->model.num_heads : 0;
}

static int64_t sample_length(const fsmoe_config *config)
{
    return config->data.seq_len;
}

static int64_t whole_batch(const fsmoe_config *config)
{
    return config->train.global_batch;
}

static int64_t projection_width(const fsmoe_config *config)
{
    enum { MOST = 32 };
    int64_t half = config->model.hidden / 2 > 0 ? config->model.hidden / 2 : 1;
    if (strcmp(config->moe.gate, "xmoe") != 0) return 0; /* no other gate projects */
    return half < MOST ? half : MOST;
}

/* What a run makes of it where products of bf16 are faster is known when it begins (train/dtype.h). */
static const char *plain_dtype(const fsmoe_config *config)
{
    (void)config;
    return "fp32";
}

int64_t fsm_config_row_bytes(const fsmoe_config *config)
{
    enum { FP32_BYTES = 4, BF16_BYTES = 2 };
    return strcmp(config->train.compute_dtype, "bf16") == 0 ? BF16_BYTES : FP32_BYTES;
}

/* In this order: what a row reads is derived before it. */
static const struct rule {
    const char *key;
    int64_t (*number)(const fsmoe_config *); /* of an integer that is 0 */
    const char *(*name)(
        const fsmoe_config *); /* of a choice that is "auto": static text, or "auto" where others know */
} rules[] = {
    {"model.vocab_size", NULL, NULL}, /* the tokenizer's, which is opened later */
    {"model.num_kv_heads", all_heads, NULL},
    {"model.head_dim", share_of_hidden, NULL},
    {"model.max_seq_len", sample_length, NULL},
    {"train.micro_batch", whole_batch, NULL},
    {"moe.proj_dim", projection_width, NULL},
    {"moe.expert", NULL, expert_of_family},
    {"moe.activation", NULL, activation_of_expert},
    {"moe.bias", NULL, bias_of_expert},
    {"moe.order", NULL, order_of_capacity},
    {"train.compute_dtype", NULL, plain_dtype},
};
enum { RULE_COUNT = sizeof rules / sizeof *rules };

static bool is_open(const fsmoe_config *config, const fsm_config_field *field)
{
    const void *at = fsm_config_at(config, field);
    if (field->type == FSM_CONFIG_INT) return *(const int64_t *)at == 0;
    const char *text = *(char *const *)at; /* NULL in a section that is left out (model/hf_config_write.c) */
    return text && strcmp(text, "auto") == 0;
}

bool fsm_config_is_open(const fsmoe_config *config, const fsm_config_field *field)
{
    for (int i = 0; i < RULE_COUNT; i++)
        if (strcmp(rules[i].key, field->key) == 0) return is_open(config, field);
    return false;
}

void fsm_config_derive_flat(fsmoe_config *flat)
{
    for (int i = 0; i < RULE_COUNT; i++) {
        const fsm_config_field *field = fsm_config_find(rules[i].key);
        void *at = (char *)flat + field->offset;
        if (!is_open(flat, field)) continue;
        if (rules[i].number) *(int64_t *)at = rules[i].number(flat);
        if (rules[i].name) *(const char **)at = rules[i].name(flat);
    }
    if (strcmp(flat->moe.gate, "soft") == 0) flat->moe.capacity_group = flat->data.seq_len; /* it mixes samples */
}

fsmoe_status fsm_config_derive(fsmoe_config *config)
{
    fsmoe_config flat = *config;
    fsm_config_derive_flat(&flat);
    config->moe.capacity_group = flat.moe.capacity_group;
    for (int i = 0; i < RULE_COUNT; i++) {
        const fsm_config_field *field = fsm_config_find(rules[i].key);
        if (!fsm_field_equal(config, &flat, field)) FSM_TRY(fsm_field_copy(config, &flat, field));
    }
    return FSMOE_OK;
}
