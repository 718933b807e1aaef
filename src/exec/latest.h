/* When each task of the latest step ran, always kept: it costs two numbers a task.
 * In:  an executor's word. Out: start_s and end_s by task (fsm_clock_s), 0 for what has not run yet.
 */
#ifndef FSM_EXEC_LATEST_H
#define FSM_EXEC_LATEST_H

#include "exec/exec.h"

typedef struct fsm_latest_step {
    double *start_s, *end_s; /* [count]; one block, owned */
    int count;
} fsm_latest_step;

/* Room for a graph of `count` tasks, all 0. Destroys what it was before; {0} is fine. ERROR_MEMORY. */
fsmoe_status fsm_latest_step_reset(fsm_latest_step *latest, int count);
void fsm_latest_step_destroy(fsm_latest_step *latest);

/* What to give fsm_exec_run. */
fsm_observer fsm_latest_step_observer(fsm_latest_step *latest);

#endif
