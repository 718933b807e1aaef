/* DeepSpeed-MoE's default schedule (Rajbhandari et al. 2022), as the FSMoE paper measures it: every layer in one piece,
 * nothing overlapped, gradients all-reduced after backward. */
#include "plan/schedule.h"

fsmoe_status fsm_schedule_in_order(const fsm_step_shape *shape, int forward_degree, int backward_degree,
                                   fsm_graph *graph)
{
    int64_t forward_cuts[FSM_MAX_CHUNKS + 1], backward_cuts[FSM_MAX_CHUNKS + 1];
    if (forward_degree < 1 || backward_degree < 1 || forward_degree > FSM_MAX_CHUNKS ||
        backward_degree > FSM_MAX_CHUNKS)
        return fsm_fail(FSMOE_ERROR_CONFIG, "degrees %d and %d must be between 1 and %d", forward_degree,
                        backward_degree, FSM_MAX_CHUNKS);
    if (forward_degree > shape->nominal_rows) forward_degree = (int)shape->nominal_rows;
    if (backward_degree > shape->nominal_rows) backward_degree = (int)shape->nominal_rows;
    fsm_step_even_cuts(shape->nominal_rows, forward_degree, forward_cuts);
    fsm_step_even_cuts(shape->nominal_rows, backward_degree, backward_cuts);
    *graph = (fsm_graph){0};
    fsm_step_builder b = {.shape = shape, .graph = graph, .last = -1};
    for (b.micro = 0; b.micro < (shape->training ? shape->micro_batches : 1); b.micro++) {
        fsm_step_begin(&b);
        for (int i = 0; i < shape->num_layers; i++) fsm_step_layer(&b, FSM_FORWARD, i, forward_degree, forward_cuts);
        fsm_step_loss(&b);
        if (!shape->training) break;
        for (int i = shape->num_layers - 1; i >= 0; i--)
            fsm_step_layer(&b, FSM_BACKWARD, i, backward_degree, backward_cuts);
        fsm_step_end(&b);
    }
    if (shape->training) fsm_step_update(&b);
    return fsm_graph_check(graph);
}

static fsmoe_status build_dsmoe(const fsm_step_shape *shape, fsm_graph *graph)
{
    return fsm_schedule_in_order(shape, 1, 1, graph);
}

const fsm_schedule fsm_schedule_dsmoe = {
    .name = "dsmoe",
    .description = "in order, no overlap, gradients all-reduced after backward",
    .source = "Rajbhandari et al., DeepSpeed-MoE, 2022",
    .build = build_dsmoe,
};
