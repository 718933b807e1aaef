/* Steps that are run to be timed: a configuration made ready for that, and tokens to run them on.
 * In:  a configuration, ranks that have been placed. Out: a batch, any token as likely as another.
 */
#ifndef FSM_TRAIN_TRIAL_H
#define FSM_TRAIN_TRIAL_H

#include "train/stepper.h"

/* The step is in order, so that no task slows another down, and of so many micro-batches. The model
 * is cut to so many layers (0: it is not), and its vocabulary in proportion, so that what the ends of the model take
 * keeps its share. Completes and derives the configuration. Errors as of fsm_config_check; ERROR_CONFIG: it has fewer
 * layers, or those with experts would not keep their share. */
fsmoe_status fsm_trial_config(fsmoe_config *config, int layers, int micro_batches);

/* The stepper that such steps run on, which computes as a run of this configuration would: with train.products measured
 * a table is measured first, and on_message, which may be NULL, is told on rank 0. *samples: fsm_samples_a_group.
 * Collective; as fsm_stepper_create, and fsm_run_products_begin. */
fsmoe_status fsm_trial_stepper(const fsmoe_config *config, fsm_comm *world,
                               void (*on_message)(void *user, const char *sentence), void *user, int64_t *samples,
                               fsm_stepper *stepper);

/* *ids [2 samples L], malloc'd: ids, then targets, that the ranks of a data-parallel group have in common.
 * ERROR_MEMORY. */
fsmoe_status fsm_trial_tokens(const fsm_stepper *stepper, int64_t samples, int32_t **ids);

/* A step that failed on this rank alone leaves the others waiting for it in a collective, and only ending the job ends
 * them: its status as ERROR_COMM, with the rank. What all ranks see alike (ERROR_NUMERIC) stays what it is. */
fsmoe_status fsm_step_failed(const fsm_comm *world, fsmoe_status status);

/* Samples of a micro-batch that a rank's data-parallel group has, before ranks are placed. */
int64_t fsm_samples_a_group(const fsmoe_config *config, const fsm_comm *world);

#endif
