/* The load of each resource: what it has to do in the plain step, in which every layer goes through in one piece and
 * one lane, and nothing slows anything. Cutting adds to it, so no step takes less than the largest, but for costs that
 * are cheaper in pieces.
 */
#ifndef FSM_PLAN_LOAD_H
#define FSM_PLAN_LOAD_H

#include "plan/step.h"
#include "profile/cluster.h"

/* ERROR_MEMORY, ERROR_NUMERIC. */
fsmoe_status fsm_step_loads(const fsm_step_shape *shape, const fsm_cluster *cluster, double load_s[FSM_RESOURCE_COUNT]);

/* A step's time over the largest of the loads; 0: they are not known, or there are none. */
double fsm_over_load(double step_s, const double load_s[FSM_RESOURCE_COUNT]);

#endif
