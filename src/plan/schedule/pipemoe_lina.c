/* PipeMoE's pipeline with Lina's gradient pieces: all-reduces of a fixed size behind experts and dense backward,
 * where a piece fits without delaying the layer. */
#include "plan/schedule/schedule.h"

enum { PIECE_ELEMS = 30 * 1024 * 1024 / 4 }; /* 30 MB of float32 */

/* Pieces that fit the room come off what is left to send; returns the time they take. */
static double send_pieces(const fsm_load *allreduce, double room_s, double *left_elems)
{
    double used_s = 0;
    while (*left_elems > 0) {
        double elems = *left_elems < PIECE_ELEMS ? *left_elems : PIECE_ELEMS;
        double piece_s = fsm_load_s(allreduce, elems / allreduce->size);
        if (used_s + piece_s > room_s) break;
        used_s += piece_s;
        *left_elems -= elems;
    }
    return used_s;
}

static fsmoe_status plan_layer(const fsm_window layer[2], fsm_window_plan plan[2])
{
    const fsm_window *backward = &layer[FSM_BACKWARD];
    const fsm_freedom freedom = {.one_stream = true};
    FSM_TRY(fsm_window_one_degree(layer, freedom, plan));
    if (backward->allreduce.launches == 0) return FSMOE_OK;
    fsm_window_plan *p = &plan[FSM_BACKWARD];
    double left = backward->allreduce.size, beside_s = p->moe_s - fsm_window_link_s(backward, freedom, p->degree);
    send_pieces(&backward->allreduce, backward->dense_s, &left);
    send_pieces(&backward->allreduce, beside_s, &left);
    double rest_s = left > 0 ? send_pieces(&backward->allreduce, 1e300, &left) : 0;
    p->makespan_s = p->bound_s = backward->dense_s + p->moe_s + rest_s;
    return FSMOE_OK;
}

static fsmoe_status build(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_graph *graph)
{
    fsm_recipe recipe = {.freedom = {.one_stream = true},
                         .beside_experts = FSM_SEND_PIECES,
                         .beside_dense = FSM_SEND_PIECES,
                         .piece_elems = PIECE_ELEMS};
    FSM_TRY(fsm_recipe_one_degree(shape, cluster, &recipe));
    FSM_TRY(fsm_recipe_build(&recipe, shape, cluster, graph));
    return fsm_schedule_or_in_order(shape, cluster, graph);
}

const fsm_schedule fsm_schedule_pipemoe_lina = {
    .name = "pipemoe-lina",
    .description = "tutel, gradients in pieces of 30 MB behind experts and dense backward",
    .source = "Shi et al., PipeMoE, 2023; Li et al., Lina, 2023",
    .freedom = {.one_stream = true},
    .needs_costs = true,
    .build = build,
    .plan_layer = plan_layer,
};
