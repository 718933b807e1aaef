/* The run folder as rank 0 keeps it: config.yaml, run.json, log.jsonl.
 * In:  the configuration, one record a step.
 * Out: files that are whole at any time: the log is appended line by line, the others replaced.
 */
#ifndef FSM_TRAIN_RUN_FOLDER_H
#define FSM_TRAIN_RUN_FOLDER_H

#include "base/file.h"
#include "train/stepper.h"

#include <fsmoe/train.h>
#include <stdio.h>

typedef struct fsm_run_folder {
    const char *dir;
    FILE *log;
} fsm_run_folder;

/* Makes the folder. Unless `resume`, a folder that holds a run already is renamed to dir.1, dir.2, … first and
 * moved_to says so ("" otherwise). */
fsmoe_status fsm_run_folder_create(const fsmoe_config *config, bool resume, char moved_to[FSM_PATH_BYTES]);

/* Opens the log for appending after `step`: later lines, and a torn last one, are cut off. */
fsmoe_status fsm_run_folder_open(const fsmoe_config *config, int64_t step, fsm_run_folder *folder);
fsmoe_status fsm_run_folder_close(fsm_run_folder *folder);

/* One line of log.jsonl. `sums`: of the step, all ranks. */
fsmoe_status fsm_run_folder_log(fsm_run_folder *folder, const fsmoe_train_progress *progress, const fsm_model *model,
                                double *sums);

/* run.json. sample NULL or val_loss NaN: left out. */
fsmoe_status fsm_run_folder_describe(const fsm_stepper *stepper, const fsmoe_train_options *options, double val_loss,
                                     const char *sample);

#endif
