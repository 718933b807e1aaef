/* A model folder opened for use by one process: what eval and generate share.
 * In:  a model folder, a tokenizer's name or NULL.
 * Out: a stepper with the folder's weights.
 */
#ifndef FSM_TRAIN_INFERENCE_H
#define FSM_TRAIN_INFERENCE_H

#include "train/own_tokenizer.h"
#include "train/stepper.h"

typedef struct fsm_inference {
    fsmoe_config *config;
    fsm_comm *self;
    fsmoe_tokenizer *tokenizer;
    fsm_stepper stepper;
} fsm_inference;

/* Reads config.json, sees that the folder has the tensors it speaks of, and opens the tokenizer, the given one or
 * fsm_own_tokenizer's choice, which `say` is told. The model is not built yet: the caller sets data.seq_len and
 * train.micro_batch first. */
fsmoe_status fsm_inference_open(const char *folder, const char *tokenizer, fsm_say say, void *user,
                                fsm_inference *inference);

/* Builds the model and reads its weights. */
fsmoe_status fsm_inference_load(fsm_inference *inference, const char *folder, const fsm_model_options *options);
void fsm_inference_close(fsm_inference *inference);

/* ERROR_UNSUPPORTED: the gate looks at all tokens of a sample, so text cannot be continued one token at a time. */
fsmoe_status fsm_can_generate(const fsmoe_moe_config *config);

#endif
