#include "plan/check_lanes.h"

#include "model/params.h"
#include "plan/step_memory.h"

#include <math.h>
#include <stdio.h>

/* ---- which lanes ---- */

/* Each at least its share, rounded up: nothing of a micro-batch is left out. */
static bool are_whole(const fsm_step_shape *shape, int parts)
{
    int64_t group = 0, local = 0, nominal = 0;
    double rows = 0;
    for (int i = 0; i < parts; i++) {
        fsm_pass_size part = fsm_step_part(shape, parts, i);
        group += part.n_group, local += part.n_local, nominal += part.nominal_rows, rows += part.rows;
    }
    return group == shape->n_group && local >= shape->n_local && nominal >= shape->nominal_rows &&
           rows >= shape->rows * (1 - 1e-9);
}

fsmoe_status fsm_check_lanes(const fsm_step_shape *shape, const fsm_graph *graph)
{
    int lanes = fsm_graph_lanes(graph), parts = fsm_graph_parts(graph);
    bool parted = parts == 1 || parts <= shape->most_parts, busy = lanes / parts <= shape->micro_batches;
    if (lanes > FSM_MAX_LANES || lanes % parts != 0 || !parted || !busy || graph->spare > FSM_MOST_SPARE)
        return fsm_fail(FSMOE_ERROR_FORMAT,
                        "%d lanes, with micro-batches in %d parts and %d spare, are none that the step may have", lanes,
                        parts, graph->spare);
    if (shape->micro_in_turn && lanes > parts)
        return fsm_fail(FSMOE_ERROR_FORMAT, "it has micro-batches beside one another, whose sums have an order");
    if (shape->memory.asked && !fsm_step_fits(shape, graph))
        return fsm_fail(FSMOE_ERROR_FORMAT, "its lanes take more than the %lld bytes that were asked for",
                        (long long)shape->memory.most);
    if (!are_whole(shape, parts))
        return fsm_fail(FSMOE_ERROR_FORMAT, "%d parts of a micro-batch are not the whole of it", parts);
    return FSMOE_OK;
}

/* ---- what passes hold ---- */

/* How many layers with experts backward enters before this one. */
static int entered_before(const fsm_step_shape *s, int layer)
{
    return s->num_layers / s->moe_every - 1 - fsm_layer_moe_index(s->moe_every, layer);
}

/* What a writer must wait for: weight gradients of its lane, of one micro-batch, of the layer entered k-th; -1: of
 * all. */
typedef struct readers {
    int lane, micro, k;
} readers;

static bool reads(const fsm_step_shape *s, const fsm_task *t, const readers *of)
{
    return t->kind == FSM_TASK_WEIGHT_GRAD && t->rows_last > t->rows_first && fsm_task_lane(t) == of->lane &&
           t->micro == of->micro && (of->k < 0 || entered_before(s, t->layer) == of->k);
}

/* false: the task writes nothing that anyone may still read. */
static bool find_readers(const fsm_step_shape *s, const fsm_graph *graph, const fsm_task *t, readers *of)
{
    int side = fsm_graph_lanes(graph) / fsm_graph_parts(graph), spare = graph->spare;
    bool one_source = s->group_size[FSM_GROUP_EXPERT] == 1; /* rows are written where experts read them */
    *of = (readers){.lane = fsm_task_lane(t), .micro = t->micro, .k = -1};
    if (t->phase == FSM_FORWARD && t->kind == FSM_TASK_ORDER) {
        of->micro -= side;
        return s->training && of->micro >= 0 && entered_before(s, t->layer) == s->num_layers / s->moe_every - 1;
    }
    bool writes = t->kind == FSM_TASK_EXPERT || (one_source && t->kind == FSM_TASK_IORDER);
    int k = entered_before(s, t->layer);
    if (t->phase != FSM_BACKWARD || !writes || k <= spare) return false;
    of->k = (k - spare - 1) / 2;
    return true;
}

fsmoe_status fsm_check_buffers(const fsm_step_shape *shape, fsm_ancestry *ancestry)
{
    const fsm_graph *graph = ancestry->graph;
    readers of;
    for (int i = 0; i < graph->count; i++) {
        int first = 0;
        if (!find_readers(shape, graph, &graph->tasks[i], &of)) continue;
        while (first < graph->count && !reads(shape, &graph->tasks[first], &of)) first++;
        fsm_mark_ancestors(ancestry, i, first);
        for (int r = first; r < graph->count; r++) {
            char writer[128], reader[128];
            if (!reads(shape, &graph->tasks[r], &of) || fsm_is_marked(ancestry, r)) continue;
            fsm_task_name(&graph->tasks[i], writer);
            fsm_task_name(&graph->tasks[r], reader);
            return fsm_fail(FSMOE_ERROR_FORMAT, "task %d (%s) writes over what task %d (%s) may still read", i, writer,
                            r, reader);
        }
    }
    return FSMOE_OK;
}
