/* The config.json of a model folder, as Hugging Face lays folders out.
 * In:  FOLDER/config.json of model_type "mixtral" (transformers' MixtralForCausalLM) or "fsmoe" (everything it has no
 *      counterpart for: GPT-2 style, layers without experts, one choice without normalisation, noise).
 * Out: the model and moe sections of the configuration; or the other way round.
 * Strict: a key that is neither used nor known to be without effect is an error: nothing asked for is dropped.
 */
#ifndef FSM_MODEL_HF_CONFIG_H
#define FSM_MODEL_HF_CONFIG_H

#include "base/status.h"

#include <fsmoe/config.h>
#include <stdbool.h>

/* Reads FOLDER/config.json over the sections, whose strings are freed and replaced; untouched on failure.
 * Not in the file, so kept as they are: order, alltoall, and for "mixtral" z_loss_coeff.
 * What it fills is derived: nothing of it is left open (0, "auto"), but capacity_group of gate soft, which is 0.
 * ERROR_IO: cannot read; ERROR_FORMAT: not JSON, a missing or ill-typed key, a value out of range; ERROR_UNSUPPORTED:
 * another model_type, an unknown key, or a value that asks for what fsmoe does not do; ERROR_MEMORY. */
fsmoe_status fsm_hf_config_read(const char *folder, fsmoe_model_config *model, fsmoe_moe_config *moe);

/* Whether transformers has this model, so that it is written as "mixtral"; if not, *why says which setting it lacks
 * (static text; why may be NULL). Loss coefficients and capacity do not count: they are the training's, not the
 * model's. */
bool fsm_hf_config_is_mixtral(const fsmoe_model_config *model, const fsmoe_moe_config *moe, const char **why);

/* Replaces FOLDER/config.json; vocab_size and max_seq_len must be known (not 0).
 * ERROR_IO; ERROR_MEMORY; ERROR_INTERNAL: one of the two is 0. */
fsmoe_status fsm_hf_config_write(const char *folder, const fsmoe_model_config *model, const fsmoe_moe_config *moe);

#endif
