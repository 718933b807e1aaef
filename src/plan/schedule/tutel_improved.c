/* Tutel, with gradients all-reduced while dense layers run backward. */
#include "plan/schedule/schedule.h"

#include <math.h>

static fsmoe_status plan_layer(const fsm_window layer[2], fsm_window_plan plan[2])
{
    FSM_TRY(fsm_window_one_degree(layer, (fsm_freedom){.one_stream = true}, plan));
    double allreduce_s = fsm_load_s(&layer[FSM_BACKWARD].allreduce, 1);
    plan[FSM_BACKWARD].makespan_s = fmax(layer[FSM_BACKWARD].dense_s, allreduce_s) + plan[FSM_BACKWARD].moe_s;
    plan[FSM_BACKWARD].bound_s = plan[FSM_BACKWARD].makespan_s;
    return FSMOE_OK;
}

static fsmoe_status build(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_graph *graph)
{
    fsm_recipe recipe = {.freedom = {.one_stream = true}, .beside_dense = FSM_SEND_FITTING};
    FSM_TRY(fsm_recipe_one_degree(shape, cluster, &recipe));
    FSM_TRY(fsm_recipe_build(&recipe, shape, cluster, graph));
    return fsm_schedule_or_in_order(shape, cluster, graph);
}

const fsm_schedule fsm_schedule_tutel_improved = {
    .name = "tutel-improved",
    .description = "tutel, gradients all-reduced beside dense backward",
    .source = "Pan et al., FSMoE, 2025, section 6",
    .freedom = {.one_stream = true},
    .needs_costs = true,
    .build = build,
    .plan_layer = plan_layer,
};
