/* What a run says of itself: config.yaml and run.json.
 * In:  the configuration, the stepper, how the run was started. Out: files in run.dir that are replaced whole.
 */
#ifndef FSM_TRAIN_RUN_RECORD_H
#define FSM_TRAIN_RUN_RECORD_H

#include "train/memory.h"
#include "train/stepper.h"

#include <fsmoe/train.h>
#include <time.h>

/* config.yaml, as fsmoe_config_load reads it back. */
fsmoe_status fsm_run_record_config(const fsmoe_config *config);

/* run.json; memory: its peaks where they are known. sample NULL or val_loss NaN: left out. */
fsmoe_status fsm_run_record_write(const fsm_stepper *stepper, const fsmoe_train_options *options,
                                  const fsm_memory_record *memory, time_t started, double val_loss, const char *sample);

#endif
