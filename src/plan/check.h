/* The checker of plans: believes nothing that a plan claims.
 * In:  a plan and the costs it was made with, from whoever made it.
 * Out: OK, or the first thing that is wrong.
 * It shares with the planner the definition of a step (step.h), the tasks and data dependencies of the plainest one
 * (builder.h), and the bounds (bound.h):
 *  - every dependency of the plain step holds between all tasks with rows in common, directly or through others;
 *  - nothing that a pass saved is written over while it is needed (check_lanes.h, by the layout of memory, not the
 * builder's);
 *  - every piece of work is there once: rows of each stage, gradient elements, optimizer slices;
 *  - no gradient is sent before it is finished, none is used before it is sent;
 *  - no two tasks overlap on a resource, tasks start after what they wait for and take what they cost;
 *  - makespan and bounds are what they are claimed to be.
 */
#ifndef FSM_PLAN_CHECK_H
#define FSM_PLAN_CHECK_H

#include "plan/plan.h"

/* ERROR_FORMAT names the task and what is wrong with it; ERROR_MEMORY. */
fsmoe_status fsm_plan_check(const fsm_plan *plan, const fsm_cluster *cluster);

/* The graph alone, against its step. */
fsmoe_status fsm_plan_check_graph(const fsm_graph *graph, const fsm_step_shape *shape);

#endif
