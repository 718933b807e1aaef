/* Tutel with PipeMoE's choice of degree: dispatch and allgather, reducescatter and combine on one communication
 * stream, pipelined with the experts; gradients all-reduced after backward. */
#include "plan/schedule/schedule.h"

static fsmoe_status plan_layer_tutel(const fsm_window layer[2], fsm_window_plan plan[2])
{
    return fsm_window_one_degree(layer, (fsm_freedom){.one_stream = true}, plan);
}

static fsmoe_status build_tutel(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_graph *graph)
{
    fsm_recipe recipe = {.freedom = {.one_stream = true}};
    FSM_TRY(fsm_recipe_one_degree(shape, cluster, &recipe));
    FSM_TRY(fsm_recipe_build(&recipe, shape, cluster, graph));
    return fsm_schedule_or_in_order(shape, cluster, graph);
}

const fsm_schedule fsm_schedule_tutel = {
    .name = "tutel",
    .description =
        "one communication stream pipelined with experts, one degree for both directions, gradients after backward",
    .source = "Hwang et al., Tutel, 2023; degree as Shi et al., PipeMoE, 2023",
    .freedom = {.one_stream = true},
    .needs_costs = true,
    .build = build_tutel,
    .plan_layer = plan_layer_tutel,
};
