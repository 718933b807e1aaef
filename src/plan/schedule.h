/* A schedule: a function from the sizes of a step to its task graph. One file and one row of the table each.
 * In:  the step's shape. Out: a whole-step graph, every gradient piece included. Nothing numerical is decided here.
 */
#ifndef FSM_PLAN_SCHEDULE_H
#define FSM_PLAN_SCHEDULE_H

#include "plan/step.h"

typedef struct fsm_schedule {
    const char *name, *description, *source;
    fsmoe_status (*build)(const fsm_step_shape *shape, fsm_graph *graph);
} fsm_schedule;

const fsm_schedule *fsm_schedule_find(const char *name);
extern const fsm_schedule fsm_schedule_dsmoe;

/* Every layer in `degree` even chunks a direction, in order, nothing overlapped: dsmoe is degree 1. Whatever the
 * degrees, a step gives the same gradients up to rounding. */
fsmoe_status fsm_schedule_in_order(const fsm_step_shape *shape, int forward_degree, int backward_degree,
                                   fsm_graph *graph);

#endif
