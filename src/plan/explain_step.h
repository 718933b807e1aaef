/* Why this step: what its resources wait for, and what other lanes and chunks would cost.
 * In:  a plan, the costs it was made from. Out: lines of text. */
#ifndef FSM_PLAN_EXPLAIN_STEP_H
#define FSM_PLAN_EXPLAIN_STEP_H

#include "plan/plan.h"

#include <stdio.h>

/* Of each resource its load in the plain step, how long it is busy and idle, and what for. ERROR_MEMORY. */
fsmoe_status fsm_plan_explain_waits(const fsm_plan *plan, FILE *out);

/* The same step with a lane more or less, and in the plan's lanes with a chunk more or less in one direction.
 * layer: one with experts. ERROR_MEMORY, ERROR_NUMERIC. */
fsmoe_status fsm_plan_explain_lanes(const fsm_plan *plan, const fsm_cluster *cluster, int layer, FILE *out);

#endif
