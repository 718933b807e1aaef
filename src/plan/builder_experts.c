/* The MoE part of a layer: chunks of dispatch, all-gather, experts, reduce-scatter and combine. */
#include "plan/builder_parts.h"

/* The chunks of one layer and direction while they are strung together. */
typedef struct chunk_chain {
    fsm_phase phase;
    int layer, join[2 * FSM_MAX_CHUNKS], joins; /* what the layer's end waits for */
    int at[FSM_MAX_CHUNKS];                     /* a chunk's latest task */
    int expert[FSM_MAX_CHUNKS];                 /* and its expert task */
    int frees_dy;                               /* what experts' backward waits for besides their rows */
    int weight_grads;                           /* that there are so far, where they are late */
    const fsm_layer_cut *cut;
} chunk_chain;

/* A task of one chunk, after `after` of the same chunk; returns it, or `after` when there is nothing to do. */
static int chunk_task(fsm_step_builder *b, const chunk_chain *c, fsm_task_kind kind, fsm_group group, int chunk,
                      double size, int after)
{
    bool is_collective = group != FSM_GROUP_WORLD, alone = is_collective && b->shape->group_size[group] == 1;
    if (alone && kind != FSM_TASK_A2A_COMBINE) return after;
    fsm_task t = fsm_builder_task(b, kind, c->phase, c->layer, size);
    t.rows_first = c->cut->cuts[chunk];
    t.rows_last = c->cut->cuts[chunk + 1];
    t.launches = alone ? 0 : is_collective ? 1 : b->shape->expert_gemms;
    if (is_collective) {
        t.group = group;
        t.resource = fsm_builder_stream(b, group);
    }
    return fsm_graph_add(b->graph, t, &after, 1);
}

/* ---- weight gradients that are late ----
 * They read what their layer saved (x, act, pre) and the gradients of its rows, dy. A lane has dy for spare + 1 layers;
 * once all of a layer is done, its dy and its x are free for two more: the layer that backward enters k-th, k > spare,
 * takes over from the one that was entered (k - spare - 1) / 2-th. */

static int moe_layers(const fsm_step_shape *s)
{
    return s->num_layers / s->moe_every;
}

/* How many layers with experts backward entered before this one. */
static int entered_before(const fsm_step_shape *s, int layer)
{
    return moe_layers(s) - 1 - fsm_layer_moe_index(s->moe_every, layer);
}

/* The last weight gradient of the layer that was entered k-th, of this micro-batch or of the lane's one before. */
static int *late(const fsm_step_builder *b, int lane, int k)
{
    return &b->late[lane * (b->shape->num_layers + 3) + k];
}

int fsm_builder_latest_weight_grad(const fsm_step_builder *b, int lane)
{
    int latest = -1;
    for (int k = 0; k < moe_layers(b->shape) && b->late_weight_grads; k++)
        if (*late(b, lane, k) > latest) latest = *late(b, lane, k);
    return latest;
}

/* What has to be done before a layer's dy is written: its former reader. */
static int frees_dy(const fsm_step_builder *b, int layer)
{
    int k = entered_before(b->shape, layer), spare = b->graph->spare;
    return b->late_weight_grads && k > spare ? *late(b, b->lane, (k - spare - 1) / 2) : -1;
}

/* And before the first x of a micro-batch is: all weight gradients of the lane's one before, of which this layer's own
 * are the last. */
static int frees_x(const fsm_step_builder *b, int layer)
{
    bool first = fsm_layer_moe_index(b->shape->moe_every, layer) == 0;
    return b->late_weight_grads && first ? *late(b, b->lane, entered_before(b->shape, layer)) : -1;
}

/* With one source and one chunk rows are written where experts read them, before any dispatch. */
static bool has_one_source(const fsm_step_builder *b)
{
    return b->shape->group_size[FSM_GROUP_EXPERT] == 1;
}

static void late_weight_grad(fsm_step_builder *b, chunk_chain *c, int chunk, double macs)
{
    int k = entered_before(b->shape, c->layer), before = -1; /* the first of a micro-batch follows none */
    if (c->weight_grads > 0) before = *late(b, b->lane, k);
    else if (k > 0) before = *late(b, b->lane, k - 1);
    if (before == frees_dy(b, c->layer)) before = -1; /* its expert has waited for that */
    int done = chunk_task(b, c, FSM_TASK_WEIGHT_GRAD, FSM_GROUP_WORLD, chunk, macs, c->expert[chunk]);
    if (done >= 0) fsm_graph_wait(b->graph, done, before);
    *late(b, b->lane, k) = done;
    c->weight_grads++;
    fsm_builder_finish(b, FSM_TASK_WEIGHT_GRAD, c->layer, done);
}

static void weight_grad(fsm_step_builder *b, chunk_chain *c, int chunk, double macs)
{
    if (b->late_weight_grads) {
        late_weight_grad(b, c, chunk, macs);
        return;
    }
    int done = chunk_task(b, c, FSM_TASK_WEIGHT_GRAD, FSM_GROUP_WORLD, chunk, macs, c->expert[chunk]);
    if (c->cut->split) c->join[c->joins++] = done;
    else c->at[chunk] = done;
}

/* ---- chunks ---- */

static void expert(fsm_step_builder *b, chunk_chain *c, int chunk, double macs)
{
    int *at = &c->at[chunk];
    *at = c->expert[chunk] = chunk_task(b, c, FSM_TASK_EXPERT, FSM_GROUP_WORLD, chunk, macs, *at);
    if (c->phase == FSM_FORWARD) return;
    fsm_graph_wait(b->graph, *at, c->frees_dy);
    if (!c->cut->split) weight_grad(b, c, chunk, macs);
}

static void stage(fsm_step_builder *b, chunk_chain *c, fsm_slot slot)
{
    const fsm_step_shape *s = b->shape;
    const int64_t *rows = c->cut->cuts + slot.chunk;
    int esp = s->group_size[FSM_GROUP_ESP], *at = &c->at[slot.chunk];
    double share = (double)(rows[1] - rows[0]) / (double)b->size.nominal_rows;
    double elems = share * b->size.rows * (double)s->hidden, a2a = fsm_step_exchanged(s, elems);
    double gathered = fsm_step_moved(s, elems) * esp;
    double macs = elems * esp * (double)(s->expert_gemms * s->ffn_hidden / esp);
    switch (slot.stage) {
    case FSM_STAGE_DISPATCH:
        *at = chunk_task(b, c, FSM_TASK_A2A_DISPATCH, FSM_GROUP_EP, slot.chunk, a2a, *at);
        break;
    case FSM_STAGE_ALLGATHER:
        *at = chunk_task(b, c, FSM_TASK_ALLGATHER, FSM_GROUP_ESP, slot.chunk, gathered, *at);
        break;
    case FSM_STAGE_EXPERT:
        expert(b, c, slot.chunk, macs);
        break;
    case FSM_STAGE_WEIGHT_GRAD:
        weight_grad(b, c, slot.chunk, macs);
        break;
    case FSM_STAGE_REDUCESCATTER:
        *at = chunk_task(b, c, FSM_TASK_REDUCESCATTER, FSM_GROUP_ESP, slot.chunk, gathered, *at);
        break;
    default:
        c->join[c->joins++] = chunk_task(b, c, FSM_TASK_A2A_COMBINE, FSM_GROUP_EP, slot.chunk, a2a, *at);
    }
}

static void chunk_after_chunk(fsm_step_builder *b, chunk_chain *c)
{
    bool own_weight_grad = c->phase == FSM_BACKWARD && c->cut->split; /* else it comes with the expert */
    for (int chunk = 0; chunk < c->cut->degree; chunk++)
        for (int i = 0; i < FSM_STAGE_COUNT; i++)
            if (i != FSM_STAGE_WEIGHT_GRAD || own_weight_grad) stage(b, c, (fsm_slot){(fsm_stage)i, chunk});
}

/* Gradients go out when the links have nothing left to do for the experts' input. */
static bool is_last_of_input(const fsm_step_builder *b, const chunk_chain *c, fsm_slot slot)
{
    return slot.chunk == c->cut->degree - 1 &&
           slot.stage == (b->one_stream || c->cut->one_link ? FSM_STAGE_ALLGATHER : FSM_STAGE_DISPATCH);
}

/* Tokens into rows, or rows into tokens: by copying, or by a product with a matrix and in backward one more for the
 * matrix's own gradient, which that of order has only where the gate mixes: else it is zeros and ones. The shared
 * experts come with the task that ends the layer. */
static fsm_task ordering(const fsm_step_builder *b, fsm_task_kind kind, fsm_phase phase, int layer)
{
    const fsm_step_shape *s = b->shape;
    bool is_last = (kind == FSM_TASK_IORDER) == (phase == FSM_FORWARD);
    int passes = phase == FSM_FORWARD ? 1 : 2, products = kind == FSM_TASK_IORDER || s->mixes ? passes : 1;
    int shared = is_last ? passes : 0;
    double width = (double)(products * s->order_width + shared * s->shared_width);
    fsm_task t = fsm_builder_task(b, kind, phase, layer, b->size.rows * (double)s->hidden);
    t.launches = products * b->size.order_gemms + shared * s->shared_gemms;
    if (t.launches > 0) t.size = (double)b->size.n_local * (double)s->hidden * width;
    return t;
}

/* dispatch → allgather → expert (→ weight_grad) → reducescatter → combine, for each chunk; then the chain waits for
 * all. */
static void chunks(fsm_step_builder *b, fsm_phase phase, int layer, const fsm_layer_cut *cut)
{
    chunk_chain c = {.phase = phase, .layer = layer, .cut = cut, .frees_dy = -1};
    if (phase == FSM_BACKWARD && !has_one_source(b)) c.frees_dy = frees_dy(b, layer);
    for (int i = 0; i < cut->degree; i++) c.at[i] = b->last;
    if (!cut->slots) chunk_after_chunk(b, &c);
    for (int i = 0; i < cut->slot_count; i++) {
        stage(b, &c, cut->slots[i]);
        if (is_last_of_input(b, &c, cut->slots[i])) fsm_builder_send_all(b, phase, cut, 0);
    }
    fsm_task join = ordering(b, phase == FSM_FORWARD ? FSM_TASK_IORDER : FSM_TASK_ORDER, phase, layer);
    b->last = fsm_graph_add(b->graph, join, c.join, c.joins);
    if (phase == FSM_BACKWARD && !b->late_weight_grads) fsm_builder_finish(b, FSM_TASK_WEIGHT_GRAD, layer, b->last);
}

void fsm_builder_experts(fsm_step_builder *b, fsm_phase phase, int layer, const fsm_layer_cut *cut)
{
    const fsm_step_shape *s = b->shape;
    int gemms = s->mixes ? b->size.order_gemms : 1;
    double gate = (double)b->size.n_local * (double)(s->hidden * (s->mixes ? s->order_width : s->num_experts));
    if (phase == FSM_FORWARD) {
        fsm_builder_compute(b, FSM_TASK_GATE, phase, layer, gemms, gate);
        fsm_builder_exchange(b, FSM_TASK_COUNTS, phase, layer, FSM_GROUP_EXPERT, (double)s->num_experts);
    }
    fsm_task first = ordering(b, phase == FSM_FORWARD ? FSM_TASK_ORDER : FSM_TASK_IORDER, phase, layer);
    b->last = fsm_graph_add(b->graph, first, &b->last, 1);
    if (phase == FSM_FORWARD) fsm_graph_wait(b->graph, b->last, frees_x(b, layer));
    else if (has_one_source(b)) fsm_graph_wait(b->graph, b->last, frees_dy(b, layer));
    chunks(b, phase, layer, cut);
    if (!fsm_step_sends_beside_attention(s, b->one_stream)) fsm_builder_send_all(b, phase, cut, 1);
    if (phase == FSM_BACKWARD) fsm_builder_compute(b, FSM_TASK_GATE, phase, layer, 2 * gemms, 2 * gate);
}
