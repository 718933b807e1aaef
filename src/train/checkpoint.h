/* Checkpoints: everything a run needs to go on bit for bit, and the model folders that others read.
 * In:  model, optimizer, where training stands.
 * Out: RUN_DIR/checkpoint-N/ with config.json, model.safetensors, optimizer.safetensors, state.json, products.json
 *      where the run computes by a table (train/products.h), and the seal over them.
 * A folder is written under a temporary name, fsynced, read back and sealed (run/seal.h), and only then named and
 * older ones removed (run/owned.h). Tensors are whole, so a checkpoint loads on any layout; numbers drawn by counter
 * need no state but the seed.
 */
#ifndef FSM_TRAIN_CHECKPOINT_H
#define FSM_TRAIN_CHECKPOINT_H

#include "train/state.h"

/* Whether every value and moment is a finite number; ERROR_NUMERIC names a tensor that is not. Collective. */
fsmoe_status fsm_checkpoint_check_finite(const fsm_stepper *stepper);

/* Saves what stands after state->step steps, then removes all but the `keep` newest that are the run's. Collective; all
 * ranks return the same status. On failure, and so with values that are not finite, nothing has changed. */
fsmoe_status fsm_checkpoint_save(fsm_stepper *stepper, const char *run_dir, const fsm_run_state *state, int64_t keep);

/* The checkpoint to go on from: `from`, the name of one in run_dir or its path, or NULL for the newest. It is read
 * whole: ERROR_FORMAT or ERROR_IO name the damaged file and, where there is one, an older checkpoint that is sound.
 * ERROR_IO too when there is none. Rank 0. */
fsmoe_status fsm_checkpoint_choose(const char *run_dir, const char *from, const fsm_run_id *run,
                                   char folder[FSM_PATH_BYTES]);

/* What a checkpoint that has been chosen says of its run, held against the present one (`now`). ERROR_FORMAT also when
 * its step is not what its name says; else as fsm_state_read. */
fsmoe_status fsm_checkpoint_read_state(const fsm_stepper *stepper, const char *folder, const fsm_run_state *now,
                                       fsm_run_state *state, fsm_state_changes *changes);

/* Loads its weights and moments into the stepper, saved after `step` steps. Collective. ERROR_FORMAT for a tensor that
 * does not fit, naming it. */
fsmoe_status fsm_checkpoint_load(fsm_stepper *stepper, const char *folder, int64_t step);

/* Before anything is allocated for the model of `config`, derived and checked: whether the files have its tensors, each
 * of its shape. ERROR_FORMAT names a tensor and its shapes; ERROR_IO. Not collective. */
fsmoe_status fsm_checkpoint_check_tensors(const fsmoe_config *config, const char *folder);

/* The same of a model folder, and where a run has sealed it, that its weights are what was written. */
fsmoe_status fsm_checkpoint_check_model(const fsmoe_config *config, const char *folder);

/* The number in "…checkpoint-N"; -1 for any other name. */
int64_t fsm_checkpoint_number(const char *folder);

/* The run's checkpoints later than `step` step aside as checkpoint-N.superseded. *count: how many. ERROR_IO: one is not
 * the run's. Rank 0. */
fsmoe_status fsm_checkpoint_supersede(const char *run_dir, const fsm_run_id *run, int64_t step, int *count);

/* Writes a model folder, or replaces one of the run's. Collective. */
fsmoe_status fsm_checkpoint_write_model(fsm_stepper *stepper, const char *folder, const fsm_run_id *run);

/* Reads the weights of a model folder into the stepper. Collective. ERROR_NUMERIC names a tensor that is not finite. */
fsmoe_status fsm_checkpoint_read_model(fsm_stepper *stepper, const char *folder);

#endif
