/* The lower bound of a step in lanes.
 * In:  the step's shape, the cluster's costs. Out: a time that no plan beats, whatever its lanes, degrees, orders and
 * pieces of gradients, and wherever its weight gradients run. Equations and proof: docs/planner.md.
 */
#ifndef FSM_PLAN_BOUND_LANES_H
#define FSM_PLAN_BOUND_LANES_H

#include "plan/bound.h"

/* ERROR_MEMORY, ERROR_NUMERIC. */
fsmoe_status fsm_bound_lanes(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_bound *bound);

#endif
