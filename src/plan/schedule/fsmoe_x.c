/* fsmoe with the experts' weight gradients as tasks of their own, which fill the time that experts wait for
 * communication. */
#include "plan/schedule/schedule.h"

static const fsm_freedom freedom = {.split = true};

static fsmoe_status plan_layer(const fsm_window layer[2], fsm_window_plan plan[2])
{
    return fsm_window_two_degrees(layer, freedom, plan);
}

static fsmoe_status build(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_graph *graph)
{
    static const fsm_schedule *const others[] = {&fsm_schedule_fsmoe, NULL};
    return fsm_schedule_fill(shape, cluster, freedom, others, graph);
}

const fsm_schedule fsm_schedule_fsmoe_x = {
    .name = "fsmoe-x",
    .description = "fsmoe with weight gradients split off to fill the gaps of communication",
    .source = "this project, docs/design.md",
    .freedom = {.split = true},
    .needs_costs = true,
    .build = build,
    .plan_layer = plan_layer,
};
