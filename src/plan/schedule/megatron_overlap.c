/* Megatron-Core's overlap of all-to-alls in 1F1B (--overlap-moe-expert-parallel-comm with --delay-wgrad-compute;
 * without pipeline stages): the forward of micro-batch i + 1 beside the backward of i, its first layer beside the
 * other's last, and so on. Per pair of layers, as TransformerLayerSchedulePlan.run issues it
 * (megatron/core/models/common/ model_chunk_schedule_plan.py; docs/user-guide/features/moe_a2a_overlap.md):
 *
 *     communication  combine's backward | dispatch forward, dispatch's backward                | combine forward
 *     compute        attention forward  | experts' backward, weight gradients, experts forward | attention's backward
 *
 * The first forward and the last backward have nothing beside them (combined_1f1b.py). Tensor parallelism's collectives
 * belong to attention there. Gradients are summed after backward, or with --overlap-grad-reduce in buckets of 40
 * million elements (1 million a data-parallel rank, if more) as they are finished: the faster of the two.
 * One micro-batch leaves nothing to pair there, nor do several where parallel.memory has no room for two. Here halves
 * are paired, but as no backward can begin before all of its losses are known, they go the same way, the second ahead
 * by half a layer: the other pairing that Megatron's guide names, and does not implement. */
#include "plan/merge.h"
#include "plan/schedule/schedule.h"
#include "plan/step_memory.h"

#include <math.h>

enum { BUCKET_ELEMS = 40000000, BUCKET_ELEMS_A_RANK = 1000000 };

static const fsm_merge pairs = {
    .split = true,
    .turns =
        {
            {FSM_FORWARD, FSM_SECTION_APPROACH, 0},
            {FSM_BACKWARD, FSM_SECTION_DISPATCH, 0},
            {FSM_FORWARD, FSM_SECTION_DENSE, 0},
            {FSM_BACKWARD, FSM_SECTION_EXPERTS, 0},
            {FSM_FORWARD, FSM_SECTION_DISPATCH, 0},
            {FSM_BACKWARD, FSM_SECTION_WEIGHT_GRADS, 0},
            {FSM_BACKWARD, FSM_SECTION_COMBINE, 0},
            {FSM_FORWARD, FSM_SECTION_EXPERTS, 0},
            {FSM_FORWARD, FSM_SECTION_WEIGHT_GRADS, 0}, /* where both are halves that go backward */
            {FSM_BACKWARD, FSM_SECTION_APPROACH, 1},
            {FSM_FORWARD, FSM_SECTION_COMBINE, 0},
            {FSM_BACKWARD, FSM_SECTION_DENSE, 1},
        },
    .turn_count = 12,
};

static fsmoe_status build_merged(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_merge merge,
                                 fsm_graph *graph)
{
    double best_s = INFINITY;
    const int64_t of_ranks = (int64_t)BUCKET_ELEMS_A_RANK * shape->group_size[FSM_GROUP_DP];
    const int64_t pieces[] = {0, of_ranks > BUCKET_ELEMS ? of_ranks : BUCKET_ELEMS};
    fsmoe_status status = FSMOE_OK;
    *graph = (fsm_graph){0};
    for (int i = 0; i < 2 && status == FSMOE_OK; i++) {
        fsm_graph tried;
        merge.piece_elems = pieces[i];
        status = fsm_merge_build(&merge, shape, cluster, &tried);
        if (status == FSMOE_OK) status = fsm_schedule_keep_faster(cluster, tried, graph, &best_s);
    }
    if (status == FSMOE_OK) return fsm_schedule_or_in_order(shape, cluster, graph);
    fsm_graph_destroy(graph);
    return status;
}

static fsmoe_status build(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_graph *graph)
{
    fsm_merge merge = pairs;
    const fsm_lanes opposite = {.lanes = 2, .parts = 1};
    bool several = shape->training && shape->micro_batches > 1 && !shape->micro_in_turn;
    merge.opposite = several && fsm_step_allows(shape, opposite);
    merge.lanes = merge.opposite ? opposite : (fsm_lanes){.lanes = 2, .parts = 2};
    if (!merge.opposite && fsm_merge_most_parts(shape, 2) < 2) return fsm_schedule_in_order(shape, 1, 1, graph);
    return build_merged(shape, cluster, merge, graph);
}

const fsm_schedule fsm_schedule_megatron_overlap = {
    .name = "megatron-overlap",
    .description = "forward of a micro-batch merged layer by layer with the backward of another",
    .source = "NVIDIA, Megatron-Core's combined 1F1B, 2025",
    .freedom = {.split = true, .one_stream = true, .lanes = true},
    .needs_costs = true,
    .build = build,
};
