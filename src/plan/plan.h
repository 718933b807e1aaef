/* A plan: the task graph of a step under one schedule, its predicted times, and a certificate of how good it is.
 * In:  the step's shape, the cluster's costs, a schedule.
 * Out: the plan; as a file, which another program can check, simulate, draw and run.
 */
#ifndef FSM_PLAN_PLAN_H
#define FSM_PLAN_PLAN_H

#include "plan/bound.h"
#include "plan/load.h"
#include "plan/schedule/schedule.h"
#include "plan/simulate.h"

typedef struct fsm_certificate {
    double makespan_s;
    fsm_bound bound;       /* no plan with this schedule's freedom is faster, whatever its degrees, order and pieces */
    fsm_bound order_bound; /* no order of these very tasks is faster */
    double load_s[FSM_RESOURCE_COUNT]; /* of the plain step (load.h) */
} fsm_certificate;

typedef struct fsm_plan {
    char schedule[32];
    fsm_freedom freedom;
    fsm_step_shape shape;
    fsm_graph graph;
    double *seconds; /* [graph.count] */
    fsm_timeline timeline;
    int (*degree)[2]; /* [num_layers] chunks forward and backward; 0: no experts */
    fsm_certificate certificate;
} fsm_plan;

/* How far above the bound; what rounding alone puts below it counts as on it. */
static inline double fsm_gap(double makespan_s, double bound_s)
{
    double gap = bound_s > 0 ? makespan_s / bound_s - 1 : 0;
    return gap < 0 && gap > -1e-9 ? 0 : gap;
}

/* Takes over the shape. ERROR_MEMORY, ERROR_NUMERIC. On failure the plan holds nothing and the shape is destroyed. */
fsmoe_status fsm_plan_create(fsm_step_shape *shape, const fsm_cluster *cluster, const fsm_schedule *schedule,
                             fsm_plan *plan);
void fsm_plan_destroy(fsm_plan *plan);

/* Fills plan->degree from the graph. ERROR_MEMORY. */
fsmoe_status fsm_plan_count_degrees(fsm_plan *plan);

/* A plan file: JSON with the shape, the costs, the graph, each task's times and the certificate. Reading checks the
 * form, not the claims (check.h). ERROR_IO, ERROR_FORMAT (names file and key), ERROR_MEMORY. */
fsmoe_status fsm_plan_write(const fsm_plan *plan, const fsm_cluster *cluster, const char *path);
fsmoe_status fsm_plan_read(const char *path, fsm_plan *plan, fsm_cluster *cluster);

#endif
