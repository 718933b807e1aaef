/* FlowMoE (Gao et al., NeurIPS 2025, arXiv 2510.00207; github.com/ZJU-CNLAB/FlowMoE): R parts of a batch flow through
 * all layers, attention and gate of each, then experts of each, with dispatches and combines one after another on one
 * communication stream. Gradients are cut into pieces of one size, which wait in a queue in the order in which backward
 * finishes them, and are all-reduced one by one while no all-to-all is to be done. There the size is found while
 * training, by Bayesian optimisation between 128 KiB and 16 MiB, and R is given; here both are the best of a few. */
#include "plan/merge.h"
#include "plan/schedule/schedule.h"

#include <math.h>

enum { FEWEST_PIECES = 1, MOST_PIECES = 16 }; /* of what one layer adds to the gradients */

static double elems_of_layer(const fsm_step_shape *s)
{
    return fsm_step_summed_elems(s) / fmax(s->num_layers, 1);
}

static fsmoe_status try_sizes(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_merge flow, fsm_graph *best,
                              double *best_s)
{
    for (int pieces = FEWEST_PIECES; pieces <= MOST_PIECES; pieces *= 4) {
        fsm_graph tried;
        flow.piece_elems = (int64_t)fmax(elems_of_layer(shape) / pieces, 1024);
        FSM_TRY(fsm_merge_build(&flow, shape, cluster, &tried));
        FSM_TRY(fsm_schedule_keep_faster(cluster, tried, best, best_s));
    }
    return FSMOE_OK;
}

static fsmoe_status build(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_graph *graph)
{
    double best_s = INFINITY;
    int most = fsm_merge_most_parts(shape, shape->most_parts);
    fsmoe_status status = FSMOE_OK;
    *graph = (fsm_graph){0};
    for (int parts = most > 1 ? 2 : 1; parts <= most && status == FSMOE_OK; parts++)
        status = try_sizes(shape, cluster, fsm_merge_parts(parts), graph, &best_s);
    if (status == FSMOE_OK) return fsm_schedule_or_in_order(shape, cluster, graph);
    fsm_graph_destroy(graph);
    return status;
}

const fsm_schedule fsm_schedule_flowmoe = {
    .name = "flowmoe",
    .description = "parts of a micro-batch flow through all layers in turns, gradients in pieces that give way",
    .source = "Gao et al., FlowMoE, 2025",
    .freedom = {.one_stream = true, .lanes = true},
    .needs_costs = true,
    .build = build,
};
