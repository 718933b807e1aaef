/* Checkpoints: everything a run needs to go on bit for bit, and the model folder that others read.
 * In:  model, optimizer, where training stands.
 * Out: RUN_DIR/checkpoint-N/ with config.json, model.safetensors, optimizer.safetensors and state.json.
 * Written to a temporary folder, fsynced, checksummed (XXH3-64 in state.json), renamed; older ones are removed after.
 * Tensors are whole, so a checkpoint loads on any layout; numbers drawn by counter need no state but the seed.
 */
#ifndef FSM_TRAIN_CHECKPOINT_H
#define FSM_TRAIN_CHECKPOINT_H

#include "base/file.h"
#include "train/stepper.h"

/* Saves after `step` steps. Collective; all ranks return the same status. */
fsmoe_status fsm_checkpoint_save(fsm_stepper *stepper, const char *run_dir, int64_t step);

/* The folder of the newest checkpoint of run_dir. ERROR_IO when there is none. */
fsmoe_status fsm_checkpoint_newest(const char *run_dir, char folder[FSM_PATH_BYTES]);

/* Before anything is allocated for the model of `config`, derived and checked: the files are whole, and have its tensors,
 * each of its shape. ERROR_FORMAT names a damaged file, or a tensor and its shapes; ERROR_IO. Not collective. */
fsmoe_status fsm_checkpoint_check(const fsmoe_config *config, const char *folder);

/* The same of a model folder: names and shapes alone. */
fsmoe_status fsm_checkpoint_check_model(const fsmoe_config *config, const char *folder);

/* Loads a checkpoint, as fsm_checkpoint_newest names it, into the stepper and removes older ones that a kill may have
 * left beside it. *step: steps done. Collective. Its files are as fsm_checkpoint_check found them. ERROR_FORMAT for a
 * tensor that does not fit, ERROR_NUMERIC for one that is not finite, naming it; ERROR_CONFIG when the configuration's
 * seed, batch or data order is not the checkpoint's. */
fsmoe_status fsm_checkpoint_load(fsm_stepper *stepper, const char *folder, int64_t *step);

/* Writes (replaces) a model folder. Collective. */
fsmoe_status fsm_checkpoint_write_model(fsm_stepper *stepper, const char *folder);

/* Reads the weights of a model folder into the stepper. Collective. ERROR_NUMERIC names a tensor that is not finite. */
fsmoe_status fsm_checkpoint_read_model(fsm_stepper *stepper, const char *folder);

#endif
