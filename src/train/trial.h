/* Steps that are run to be timed: a configuration made ready for that, and tokens to run them on.
 * In:  a configuration, ranks that have been placed. Out: one micro-batch a step, any token as likely as another.
 */
#ifndef FSM_TRAIN_TRIAL_H
#define FSM_TRAIN_TRIAL_H

#include "train/stepper.h"

/* The step is in order, so that no task slows another down, and one micro-batch: more would cost the same again.
 * Completes and derives the configuration. Errors as of fsm_config_check. */
fsmoe_status fsm_trial_config(fsmoe_config *config);

/* *ids [2 samples L], malloc'd: ids, then targets, that the ranks of a data-parallel group have in common. ERROR_MEMORY. */
fsmoe_status fsm_trial_tokens(const fsm_stepper *stepper, int64_t samples, int32_t **ids);

#endif
