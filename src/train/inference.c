#include "train/inference.h"

#include "base/file.h"
#include "config/config.h"
#include "model/hf_config.h"
#include "train/checkpoint.h"

#include <stdlib.h>
#include <string.h>

static bool has_file(const char *folder, const char *name)
{
    char *path = fsm_file_join(folder, name);
    bool found = path && fsm_file_exists(path);
    free(path);
    return found;
}

static fsmoe_status pick_tokenizer(const char *folder, int64_t vocab_size, const char *given, const char **name)
{
    *name = given;
    if (given) return FSMOE_OK;
    if (has_file(folder, "tokenizer.json") || has_file(folder, "vocab.bpe") || has_file(folder, "merges.txt"))
        *name = folder;
    else if (vocab_size == 256) *name = "bytes";
    else if (vocab_size == 50257) *name = "gpt2";
    if (*name) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_CONFIG, "'%s' has no tokenizer and %lld ids; name one with --tokenizer", folder,
                    (long long)vocab_size);
}

/* Dropless, without noise: order "sorted" wastes no row. Where experts choose, or slots mix, sizes are the model's own. */
static fsmoe_status settle(fsmoe_config *c)
{
    const fsm_gate_kind *gate = fsm_gate_find(c->moe.gate);
    if (gate && !gate->experts_choose) c->moe.capacity_factor = 0;
    if (gate && !gate->experts_choose) c->moe.capacity_group = 0;
    return fsmoe_config_set(c, "moe.order=sorted");
}

fsmoe_status fsm_inference_open(const char *folder, const char *tokenizer, fsm_inference *inference)
{
    const char *name;
    *inference = (fsm_inference){0};
    fsmoe_status status = fsmoe_config_create(&inference->config);
    if (status == FSMOE_OK) status = fsm_hf_config_read(folder, &inference->config->model, &inference->config->moe);
    if (status == FSMOE_OK) status = settle(inference->config);
    if (status == FSMOE_OK) status = fsm_config_derive(inference->config);
    if (status == FSMOE_OK) status = fsm_checkpoint_check_model(inference->config, folder);
    if (status == FSMOE_OK) status = pick_tokenizer(folder, inference->config->model.vocab_size, tokenizer, &name);
    if (status == FSMOE_OK) status = fsmoe_tokenizer_create(name, &inference->tokenizer);
    if (status == FSMOE_OK && fsmoe_tokenizer_vocab_size(inference->tokenizer) > inference->config->model.vocab_size)
        status = fsm_fail(FSMOE_ERROR_CONFIG, "tokenizer '%s' has %d ids, the model in '%s' only %lld", name,
                          fsmoe_tokenizer_vocab_size(inference->tokenizer), folder,
                          (long long)inference->config->model.vocab_size);
    if (status == FSMOE_OK) status = fsm_comm_create_self(&inference->self);
    if (status != FSMOE_OK) fsm_inference_close(inference);
    return status;
}

fsmoe_status fsm_inference_load(fsm_inference *inference, const char *folder, const fsm_model_options *options)
{
    FSM_TRY(fsm_config_derive(inference->config));
    FSM_TRY(fsm_stepper_create(inference->config, inference->self, options, &inference->stepper));
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
