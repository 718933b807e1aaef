/* What a graph takes under a cluster's costs: cost.h and simulate.h together.
 * In:  a checked graph, a cluster. Out: seconds.
 */
#ifndef FSM_PLAN_PREDICT_H
#define FSM_PLAN_PREDICT_H

#include "plan/cost.h"

/* The makespan, in order. ERROR_NUMERIC, ERROR_MEMORY. */
fsmoe_status fsm_predict(const fsm_graph *graph, const fsm_cluster *cluster, double *makespan_s);

#endif
