/* The latest step of a run as a file: planned and measured, of every rank (exec/step_times.h).
 * In:  a stepper that has trained, its plan if there is one. Out: run.dir/step_times.json, by rank 0.
 */
#ifndef FSM_TRAIN_STEP_RECORD_H
#define FSM_TRAIN_STEP_RECORD_H

#include "train/planning.h"

/* Each rank's times begin when its own first task does. planning: of the graph in use, or NULL. Collective; all ranks
 * return the same status unless it is ERROR_COMM. ERROR_IO, ERROR_MEMORY. */
fsmoe_status fsm_step_record_write(const fsm_stepper *stepper, const fsm_planning *planning, int64_t step,
                                   const char *path);

#endif
