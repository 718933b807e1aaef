#include "plan/plan.h"

#include "plan/step_memory.h"

#include <stdio.h>
#include <stdlib.h>

void fsm_plan_destroy(fsm_plan *plan)
{
    fsm_step_shape_destroy(&plan->shape);
    fsm_graph_destroy(&plan->graph);
    fsm_timeline_destroy(&plan->timeline);
    free(plan->seconds);
    free(plan->degree);
    *plan = (fsm_plan){0};
}

static fsmoe_status certify(fsm_plan *plan, const fsm_cluster *cluster)
{
    plan->seconds = malloc(sizeof *plan->seconds * ((size_t)plan->graph.count + 1));
    if (!plan->seconds) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the costs of %d tasks", plan->graph.count);
    FSM_TRY(fsm_cost_graph(&plan->graph, cluster, plan->seconds));
    FSM_TRY(fsm_simulate(&plan->graph, plan->seconds, FSM_IN_ORDER, &plan->timeline));
    plan->certificate.makespan_s = plan->timeline.makespan_s;
    FSM_TRY(fsm_step_loads(&plan->shape, cluster, plan->certificate.load_s));
    FSM_TRY(fsm_bound_step(&plan->shape, cluster, plan->freedom, &plan->certificate.bound));
    return fsm_bound_graph(&plan->graph, plan->seconds, &plan->certificate.order_bound);
}

fsmoe_status fsm_plan_create(fsm_step_shape *shape, const fsm_cluster *cluster, const fsm_schedule *schedule,
                             fsm_plan *plan)
{
    *plan = (fsm_plan){.shape = *shape, .freedom = schedule->freedom};
    *shape = (fsm_step_shape){0};
    snprintf(plan->schedule, sizeof plan->schedule, "%s", schedule->name);
    fsmoe_status status = fsm_cost_check_tasks(cluster);
    if (status == FSMOE_OK) status = fsm_step_check_lanes(&plan->shape, 0);
    if (status == FSMOE_OK) status = schedule->build(&plan->shape, cluster, &plan->graph);
    if (status == FSMOE_OK) status = fsm_plan_count_degrees(plan);
    if (status == FSMOE_OK) status = certify(plan, cluster);
    if (status != FSMOE_OK) fsm_plan_destroy(plan);
    return status;
}

fsmoe_status fsm_plan_count_degrees(fsm_plan *plan)
{
    plan->degree = calloc((size_t)plan->shape.num_layers + 1, sizeof *plan->degree);
    if (!plan->degree)
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the degrees of %d layers", plan->shape.num_layers);
    for (int i = 0; i < plan->graph.count; i++) {
        const fsm_task *t = &plan->graph.tasks[i];
        bool counts = t->kind == FSM_TASK_EXPERT && t->micro == 0 && fsm_task_lane(t) == 0 &&
                      t->phase <= FSM_BACKWARD && t->layer >= 0 && t->layer < plan->shape.num_layers;
        if (counts) plan->degree[t->layer][t->phase]++;
    }
    return FSMOE_OK;
}
