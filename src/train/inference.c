#include "train/inference.h"

#include "config/config.h"
#include "model/hf_config.h"
#include "train/checkpoint.h"

/* Dropless, without noise: order "sorted" wastes no row. Where experts choose, or slots mix, sizes are the model's
 * own. */
static fsmoe_status settle(fsmoe_config *c)
{
    const fsm_gate_kind *gate = fsm_gate_find(c->moe.gate);
    if (gate && !gate->experts_choose) c->moe.capacity_factor = 0;
    if (gate && !gate->experts_choose) c->moe.capacity_group = 0;
    return fsmoe_config_set(c, "moe.order=sorted");
}

/* A vocabulary larger than the model's would read beyond its embeddings. */
static fsmoe_status check_ids(const fsm_inference *inference, const char *folder)
{
    int32_t ids = fsmoe_tokenizer_vocab_size(inference->tokenizer);
    int64_t rows = inference->config->model.vocab_size;
    if (ids <= rows) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_CONFIG, "tokenizer '%s' has %d ids, the model in '%s' only %lld",
                    fsmoe_tokenizer_name(inference->tokenizer), ids, folder, (long long)rows);
}

fsmoe_status fsm_inference_open(const char *folder, const char *tokenizer, fsm_say say, void *user,
                                fsm_inference *inference)
{
    *inference = (fsm_inference){0};
    fsmoe_status status = fsmoe_config_create(&inference->config);
    if (status == FSMOE_OK) status = fsm_hf_config_read(folder, &inference->config->model, &inference->config->moe);
    if (status == FSMOE_OK) status = settle(inference->config);
    if (status == FSMOE_OK) status = fsm_config_derive(inference->config);
    if (status == FSMOE_OK) status = fsm_checkpoint_check_model(inference->config, folder);
    if (status == FSMOE_OK)
        status =
            fsm_own_tokenizer(folder, inference->config->model.vocab_size, tokenizer, say, user, &inference->tokenizer);
    if (status == FSMOE_OK) status = check_ids(inference, folder);
    if (status == FSMOE_OK) status = fsm_comm_create_self(&inference->self);
    if (status != FSMOE_OK) fsm_inference_close(inference);
    return status;
}

fsmoe_status fsm_inference_load(fsm_inference *inference, const char *folder, const fsm_model_options *options)
{
    FSM_TRY(fsm_config_derive(inference->config));
    fsm_model_options own = *options;
    own.values_follow = true;
    FSM_TRY(fsm_stepper_create(inference->config, inference->self, &own, &inference->stepper));
    return fsm_checkpoint_read_model(&inference->stepper, folder);
}

void fsm_inference_close(fsm_inference *inference)
{
    fsm_stepper_destroy(&inference->stepper);
    fsmoe_tokenizer_destroy(inference->tokenizer);
    fsm_comm_destroy(inference->self);
    fsmoe_config_destroy(inference->config);
    *inference = (fsm_inference){0};
}

fsmoe_status fsm_can_generate(const fsmoe_moe_config *config)
{
    const fsm_gate_kind *gate = fsm_gate_find(config->gate);
    if (!gate || (!gate->experts_choose && !gate->mixes)) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_UNSUPPORTED,
                    "moe.gate %s looks at all tokens of a sample: text cannot be continued one token at a time",
                    config->gate);
}
