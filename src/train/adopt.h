/* The model a run starts from decides the shape: keys nobody set, or left open (0, auto), are taken from its
 * config.json, those that were set and make the model what it is must mean the same there (the table in
 * src/config/sections.c says which). How it was trained (capacity, coefficients of the losses) anyone may change.
 * In:  a configuration before it is derived; a model folder (or checkpoint). Out: the configuration completed.
 */
#ifndef FSM_TRAIN_ADOPT_H
#define FSM_TRAIN_ADOPT_H

#include "base/status.h"

#include <fsmoe/config.h>

/* ERROR_CONFIG names the key, where it was set, and both values; else fsm_hf_config_read's errors. */
fsmoe_status fsm_adopt_model(fsmoe_config *config, const char *folder);

#endif
