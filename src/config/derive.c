#include "config/config.h"

#include <stdlib.h>
#include <string.h>

void fsm_config_derive_numbers(fsmoe_config *config)
{
    fsmoe_model_config *model = &config->model;
    if (model->num_kv_heads == 0) model->num_kv_heads = model->num_heads;
    if (model->head_dim == 0) model->head_dim = model->hidden / model->num_heads;
    if (model->max_seq_len == 0) model->max_seq_len = config->data.seq_len;
    if (strcmp(config->moe.gate, "soft") == 0) config->moe.capacity_group = config->data.seq_len; /* it mixes samples */
    if (config->train.micro_batch == 0) config->train.micro_batch = config->train.global_batch;
}

static fsmoe_status replace_auto(char **kind, const char *chosen)
{
    if (strcmp(*kind, "auto") != 0) return FSMOE_OK;
    char *copy = strdup(chosen);
    if (!copy) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for '%s'", chosen);
    free(*kind);
    *kind = copy;
    return FSMOE_OK;
}

fsmoe_status fsm_config_derive(fsmoe_config *config)
{
    fsm_config_derive_numbers(config);
    FSM_TRY(replace_auto(&config->moe.expert, strcmp(config->model.family, "gpt2") == 0 ? "gpt" : "mixtral"));
    bool is_gpt = strcmp(config->moe.expert, "gpt") == 0;
    if (is_gpt || strcmp(config->moe.expert, "mixtral") == 0) { /* another has its own defaults */
        FSM_TRY(replace_auto(&config->moe.activation, is_gpt ? "gelu" : "swiglu"));
        FSM_TRY(replace_auto(&config->moe.bias, is_gpt ? "true" : "false"));
    }
    return replace_auto(&config->moe.order, config->moe.capacity_factor == 0 ? "sorted" : "tutel");
}
