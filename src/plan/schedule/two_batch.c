/* Two halves of a batch take turns through all layers: while one computes, the all-to-alls of the other run. So do
 * inference engines. SGLang's two-batch overlap yields after each dispatch and each combine, both halves at the same
 * stage (python/sglang/srt/operations_strategy.py, operations.py): this is its order for prefill, DeepSeek-V3's (arXiv
 * 2412.19437, section 3.4.1). vLLM's dual batch overlap (docs/design/dbo.md) runs its halves half a layer apart, and
 * DualPipe pairs the same four components of a forward and a backward chunk (DeepSeek-V3, section 3.2.1). The engines
 * have no backward: here it goes as forward does.
 * One communication stream; experts' gradients of rows and weights in one go; gradients summed after backward. */
#include "plan/merge.h"
#include "plan/schedule/schedule.h"

static fsmoe_status build(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_graph *graph)
{
    const fsm_merge halves = fsm_merge_parts(fsm_merge_most_parts(shape, 2));
    FSM_TRY(fsm_merge_build(&halves, shape, cluster, graph));
    return fsm_schedule_or_in_order(shape, cluster, graph);
}

const fsm_schedule fsm_schedule_two_batch = {
    .name = "two-batch",
    .description = "two halves of a micro-batch in turns, the all-to-alls of one beside what the other computes",
    .source = "two-batch overlap of SGLang, dual batch overlap of vLLM, 2025; DeepSeek-AI, DeepSeek-V3, 2024",
    .freedom = {.one_stream = true, .lanes = true},
    .needs_costs = true,
    .build = build,
};
