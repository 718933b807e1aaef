/* Lower bounds of a whole step.
 * In:  the step's shape, the cluster's costs, what a schedule may do with a layer; or a graph and the seconds of its
 * tasks.
 * Out: a time that no plan beats, and what it rests on.
 * Equations: docs/planner.md.
 */
#ifndef FSM_PLAN_BOUND_H
#define FSM_PLAN_BOUND_H

#include "plan/recipe.h"

typedef struct fsm_bound {
    double seconds;
    const char *binding; /* "path", "compute", "intra" or "inter" */
} fsm_bound;

/* Whatever the degrees, orders and gradient pieces of a schedule with this freedom: dense work and MoE layers follow
 * one another, each MoE layer takes at least its own bound, and from any layer of backward on each link has to carry
 * what is left. ERROR_MEMORY, ERROR_NUMERIC. */
fsmoe_status fsm_bound_step(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_freedom freedom,
                            fsm_bound *bound);

/* Of the very tasks of a graph, in whatever order: the longest path, and for each resource the least head, the load
 * and the least tail. ERROR_MEMORY. */
fsmoe_status fsm_bound_graph(const fsm_graph *graph, const double *seconds, fsm_bound *bound);

/* The same where tasks may be cut: seconds, what all pieces of a task take together at least; least_s, what must
 * pass while a task stands in the way of others. */
fsmoe_status fsm_bound_cut_graph(const fsm_graph *graph, const double *seconds, const double *least_s,
                                 fsm_bound *bound);

#endif
