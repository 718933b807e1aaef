/* Loss of a model folder on a text. */
#include <fsmoe/model.h>

#include "train/inference.h"

#include <math.h>

enum { DEFAULT_SEQ_LEN = 1024, TOKENS_AT_ONCE = 4096 };

static fsmoe_status set_sizes(fsm_inference *inference, int64_t seq_len)
{
    fsmoe_config *c = inference->config;
    int64_t longest = c->model.max_seq_len;
    if (seq_len == 0) seq_len = longest < DEFAULT_SEQ_LEN ? longest : DEFAULT_SEQ_LEN;
    if (seq_len < 1 || seq_len > longest)
        return fsm_fail(FSMOE_ERROR_CONFIG, "a window of %lld tokens does not fit the model's %lld positions",
                        (long long)seq_len, (long long)longest);
    c->data.seq_len = seq_len;
    c->train.micro_batch = c->train.global_batch = seq_len < TOKENS_AT_ONCE ? TOKENS_AT_ONCE / seq_len : 1;
    return FSMOE_OK;
}

static fsmoe_status measure(fsm_inference *inference, const fsmoe_tokens *tokens, fsmoe_eval_result *result)
{
    const fsmoe_config *c = inference->config;
    fsm_batches batches;
    fsm_model_sums sums;
    int64_t bytes = 0;
    FSM_TRY(fsm_batches_create(tokens, c->data.seq_len, 0, false, c->train.micro_batch, &inference->stepper.topo,
                               &batches));
    int64_t windows = batches.sampler.n_samples;
    fsmoe_status status = fsm_stepper_evaluate(&inference->stepper, &batches, 0, windows, &sums);
    /* the targets are tokens 1 … windows L */
    if (status == FSMOE_OK) status = fsmoe_tokens_bytes(tokens, 1, windows * c->data.seq_len, &bytes);
    fsm_batches_destroy(&batches);
    FSM_TRY(status);
    *result = (fsmoe_eval_result){
        .loss_per_token = sums.loss / sums.tokens,
        .loss_per_byte = bytes > 0 ? sums.loss / (double)bytes : NAN,
        .perplexity = exp(sums.loss / sums.tokens),
        .tokens = (int64_t)sums.tokens,
    };
    if (!isfinite(sums.loss)) return fsm_fail(FSMOE_ERROR_NUMERIC, "the loss is not finite, or a logit it is made of");
    return FSMOE_OK;
}

fsmoe_status fsmoe_eval(const char *model_dir, const fsmoe_eval_options *options, fsmoe_eval_result *result)
{
    fsm_inference inference;
    fsmoe_tokens *tokens = NULL;
    FSM_TRY(fsm_inference_open(model_dir, options->tokenizer, options->on_message, options->user, &inference));
    fsmoe_status status = set_sizes(&inference, options->seq_len);
    if (status == FSMOE_OK) status = fsmoe_tokens_open(&options->data, 1, inference.tokenizer, &tokens);
    if (status == FSMOE_OK && fsm_sampler_count(fsmoe_tokens_count(tokens), inference.config->data.seq_len) == 0)
        status =
            fsm_fail(FSMOE_ERROR_CONFIG, "'%s' has %lld tokens: fewer than one window of %lld and a target",
                     options->data, (long long)fsmoe_tokens_count(tokens), (long long)inference.config->data.seq_len);
    const fsm_model_options model_options = {.max_samples = inference.config->train.micro_batch};
    if (status == FSMOE_OK) status = fsm_inference_load(&inference, model_dir, &model_options);
    if (status == FSMOE_OK) status = measure(&inference, tokens, result);
    fsmoe_tokens_close(tokens);
    fsm_inference_close(&inference);
    return status;
}
