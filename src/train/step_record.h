/* The latest step of a run as a file: planned and measured, of every rank (exec/step_times.h).
 * In:  a stepper that has trained, the planned times if there is a plan. Out: run.dir/step_times.json, by rank 0.
 */
#ifndef FSM_TRAIN_STEP_RECORD_H
#define FSM_TRAIN_STEP_RECORD_H

#include "plan/simulate.h"
#include "train/stepper.h"

/* Each rank's times begin when its own first task does. planned: of the graph in use, or NULL. Collective; all ranks
 * return the same status unless it is ERROR_COMM. ERROR_IO, ERROR_MEMORY. */
fsmoe_status fsm_step_record_write(const fsm_stepper *stepper, const fsm_timeline *planned, int64_t step,
                                   const char *path);

#endif
