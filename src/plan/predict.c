#include "plan/predict.h"

#include "plan/simulate.h"

#include <stdlib.h>

fsmoe_status fsm_predict(const fsm_graph *graph, const fsm_cluster *cluster, double *makespan_s)
{
    fsm_timeline timeline = {0};
    double *seconds = malloc(sizeof *seconds * ((size_t)graph->count + 1));
    if (!seconds) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the costs of %d tasks", graph->count);
    fsmoe_status status = fsm_cost_graph(graph, cluster, seconds);
    if (status == FSMOE_OK) status = fsm_simulate(graph, seconds, FSM_IN_ORDER, &timeline);
    *makespan_s = timeline.makespan_s;
    fsm_timeline_destroy(&timeline);
    free(seconds);
    return status;
}
