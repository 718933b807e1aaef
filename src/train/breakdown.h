/* Steps of a run that are metered: what their operations counted, put together over ranks (run/breakdown.h).
 * In:  a trainer whose stepper's operations count. Out: run.dir/breakdown.json, and the table as text.
 * The first step of a process is left out where there are others: its memory is touched for the first time.
 */
#ifndef FSM_TRAIN_BREAKDOWN_H
#define FSM_TRAIN_BREAKDOWN_H

#include "train/trainer.h"

/* Measures what the machine reaches, before the first step, if there is one. Collective. ERROR_MEMORY, ERROR_COMM. */
fsmoe_status fsm_trainer_begin_breakdown(fsm_trainer *trainer);

/* Around each training step; nothing happens in a run that has no breakdown. After one that was well: trainer.step_s is
 * its time. */
void fsm_trainer_begin_metering(fsm_trainer *trainer);
void fsm_trainer_end_metering(fsm_trainer *trainer);

/* Of all steps that were metered; a sentence where there were none. The machine is measured once more: the faster
 * counts. Collective. ERROR_IO, ERROR_MEMORY, ERROR_COMM. */
fsmoe_status fsm_trainer_write_breakdown(fsm_trainer *trainer);

#endif
