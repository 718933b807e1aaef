/* DeepSpeed-MoE's default schedule (Rajbhandari et al. 2022), as the FSMoE paper measures it: every layer in one piece,
 * nothing overlapped, gradients all-reduced after backward. */
#include "plan/schedule/schedule.h"

static fsmoe_status check_degree(int degree)
{
    if (degree >= 1 && degree <= FSM_MAX_CHUNKS) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_CONFIG, "degree %d must be between 1 and %d", degree, FSM_MAX_CHUNKS);
}

static int at_most(int degree, int most)
{
    return degree < most ? degree : most;
}

fsmoe_status fsm_schedule_in_order(const fsm_step_shape *shape, int forward_degree, int backward_degree,
                                   fsm_graph *graph)
{
    int64_t cuts[2][FSM_MAX_CHUNKS + 1];
    fsm_step_builder b;
    FSM_TRY(check_degree(forward_degree));
    FSM_TRY(check_degree(backward_degree));
    const int degrees[2] = {at_most(forward_degree, fsm_step_max_degree(shape)),
                            at_most(backward_degree, fsm_step_max_degree(shape))};
    fsm_layer_cut passes[2][FSM_MAX_LANES];
    for (int phase = 0; phase < 2; phase++) {
        fsm_step_even_cuts(shape->nominal_rows, degrees[phase], cuts[phase]);
        passes[phase][0] = (fsm_layer_cut){.degree = degrees[phase], .cuts = cuts[phase]};
    }
    FSM_TRY(fsm_step_builder_begin(shape, (fsm_lanes){0}, false, graph, &b));
    b.after_backward = true;
    fsm_step_plain(&b, passes);
    if (shape->training) fsm_step_update(&b);
    return fsm_step_builder_end(&b);
}

static fsmoe_status build_dsmoe(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_graph *graph)
{
    (void)cluster;
    return fsm_schedule_in_order(shape, 1, 1, graph);
}

static fsmoe_status plan_layer_dsmoe(const fsm_window layer[2], fsm_window_plan plan[2])
{
    for (int phase = 0; phase < 2; phase++) {
        double moe_s = 0;
        for (int i = 0; i < FSM_STAGE_COUNT; i++) moe_s += fsm_load_s(&layer[phase].stage[i], 1);
        double makespan_s = layer[phase].dense_s + moe_s + fsm_load_s(&layer[phase].allreduce, 1);
        plan[phase] = (fsm_window_plan){1, moe_s, makespan_s, makespan_s, "path"};
    }
    return FSMOE_OK;
}

const fsm_schedule fsm_schedule_dsmoe = {
    .name = "dsmoe",
    .description = "in order, no overlap, gradients all-reduced after backward",
    .source = "Rajbhandari et al., DeepSpeed-MoE, 2022",
    .build = build_dsmoe,
    .plan_layer = plan_layer_dsmoe,
};
