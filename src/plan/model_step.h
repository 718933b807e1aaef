/* The step of a configuration on a cluster that is not there: shapes and sizes, no memory for values.
 * In:  a configuration, how many nodes and ranks. Out: what rank 0 does in a training step.
 */
#ifndef FSM_PLAN_MODEL_STEP_H
#define FSM_PLAN_MODEL_STEP_H

#include "plan/step.h"

/* model.vocab_size becomes the tokenizer's where it is 0. ERROR_IO, ERROR_FORMAT, ERROR_MEMORY. */
fsmoe_status fsm_config_take_vocabulary(fsmoe_config *config);

/* Checks and completes the configuration (vocab_size from the tokenizer when it is 0). ERROR_CONFIG, ERROR_LAYOUT,
 * ERROR_MEMORY. Destroy the shape. */
fsmoe_status fsm_step_of_config(fsmoe_config *config, int nodes, int ranks_per_node, fsm_step_shape *shape);

#endif
