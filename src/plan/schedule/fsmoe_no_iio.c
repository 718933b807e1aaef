/* FSMoE without the overlap of intra- and inter-node communication: both share one stream. */
#include "plan/schedule/schedule.h"

static const fsm_freedom freedom = {.one_stream = true};

static fsmoe_status plan_layer(const fsm_window layer[2], fsm_window_plan plan[2])
{
    return fsm_window_two_degrees(layer, freedom, plan);
}

static fsmoe_status build(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_graph *graph)
{
    static const fsm_schedule *const others[] = {&fsm_schedule_tutel, &fsm_schedule_tutel_improved,
                                                 &fsm_schedule_pipemoe_lina, NULL};
    return fsm_schedule_fill(shape, cluster, freedom, others, graph);
}

const fsm_schedule fsm_schedule_fsmoe_no_iio = {
    .name = "fsmoe-no-iio",
    .description = "fsmoe with intra- and inter-node communication on one stream",
    .source = "Pan et al., FSMoE, 2025, section 6",
    .freedom = {.one_stream = true},
    .needs_costs = true,
    .build = build,
    .plan_layer = plan_layer,
};
