/* FSMoE (Pan et al. 2025): intra-node communication, inter-node communication and computation at once, a degree for
 * each direction, gradients cut to fill the inter-node link. Degrees and orders are searched exactly rather than by
 * the paper's four cases. */
#include "plan/schedule/paper.h"

static const fsm_freedom freedom = {.split = false};

static fsmoe_status plan_layer(const fsm_window layer[2], fsm_window_plan plan[2])
{
    return fsm_window_two_degrees(layer, freedom, plan);
}

static fsmoe_status build(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_graph *graph)
{
    static const fsm_schedule *const others[] = {&fsm_schedule_fsmoe_no_iio, &fsm_schedule_fsmoe_paper, NULL};
    return fsm_schedule_fill(shape, cluster, freedom, others, graph);
}

const fsm_schedule fsm_schedule_fsmoe = {
    .name = "fsmoe",
    .description = "three streams, a degree for each direction, gradients fill the inter-node link",
    .source = "Pan et al., FSMoE, 2025",
    .needs_costs = true,
    .build = build,
    .plan_layer = plan_layer,
};
