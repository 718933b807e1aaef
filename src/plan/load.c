#include "plan/load.h"

#include "plan/schedule/schedule.h"

#include <math.h>
#include <stdlib.h>

fsmoe_status fsm_step_loads(const fsm_step_shape *shape, const fsm_cluster *cluster, double load_s[FSM_RESOURCE_COUNT])
{
    fsm_graph plain;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) load_s[r] = 0;
    FSM_TRY(fsm_schedule_in_order(shape, 1, 1, &plain));
    double *seconds = malloc(sizeof *seconds * ((size_t)plain.count + 1));
    fsmoe_status status = seconds ? fsm_cost_tasks(&plain, cluster, false, seconds)
                                  : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the costs of %d tasks", plain.count);
    for (int i = 0; i < plain.count && status == FSMOE_OK; i++) load_s[plain.tasks[i].resource] += seconds[i];
    free(seconds);
    fsm_graph_destroy(&plain);
    return status;
}

double fsm_over_load(double step_s, const double load_s[FSM_RESOURCE_COUNT])
{
    double most_s = 0;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) most_s = fmax(most_s, load_s[r]);
    return most_s > 0 ? step_s / most_s : 0;
}
