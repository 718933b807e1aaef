#include "plan/step.h"

#include "moe/expert/expert.h"
#include "moe/gate/gate.h"
#include "plan/gradients.h"

#include <stdlib.h>
#include <string.h>

fsmoe_status fsm_step_describe(const fsmoe_config *config, const fsm_topo *topo, const fsm_params *params,
                               int64_t max_samples, int64_t nominal_rows, bool training, fsm_step_shape *shape)
{
    const fsmoe_model_config *m = &config->model;
    double factor = config->moe.capacity_factor > 0 ? config->moe.capacity_factor : 1.0;
    *shape = (fsm_step_shape){
        .num_layers = (int)m->num_layers,
        .moe_every = (int)m->moe_every,
        .micro_batches = (int)(config->train.global_batch / config->train.micro_batch),
        .training = training,
        .early_update = config->train.clip_grad == 0,
        .hidden = m->hidden,
        .ffn_hidden = m->ffn_hidden,
        .vocab_size = m->vocab_size,
        .seq_len = config->data.seq_len,
        .attention_width = m->num_heads * m->head_dim / topo->mp,
        .qkv_width = (m->num_heads + 2 * m->num_kv_heads) * m->head_dim / topo->mp,
        .n_group = max_samples * config->data.seq_len,
        .num_experts = config->moe.num_experts,
        .top_k = config->moe.top_k,
        .nominal_rows = nominal_rows,
        .max_degree = config->parallel.canonical_sums ? 1 : FSM_MAX_CHUNKS,
        .expert_gemms = fsm_expert_find(config->moe.expert)->pre_width + 1,
        .region_count = params->region_count,
    };
    shape->n_local = shape->n_group / topo->mp;
    shape->mixes = fsm_gate_find(config->moe.gate)->mixes;
    shape->rows = shape->mixes ? (double)(nominal_rows * config->moe.num_experts)
                               : factor * (double)(config->moe.top_k * shape->n_local);
    shape->shared_gemms = (int)config->moe.shared_experts * (shape->expert_gemms + config->moe.shared_gate);
    shape->shared_width = config->moe.shared_experts * (shape->expert_gemms * m->ffn_hidden + config->moe.shared_gate);
    fsm_moe_products(&config->moe, shape->n_local, &shape->order_gemms, &shape->order_width);
    for (int g = 0; g < FSM_GROUP_COUNT; g++) {
        shape->group_size[g] = fsm_topo_group_size(topo, (fsm_group)g);
        shape->link[g] = fsm_topo_link(topo, (fsm_group)g);
    }
    for (int i = 0; i < params->region_count; i++) shape->regions[i] = params->regions[i];
    return training ? fsm_step_list_gradients(params, shape) : FSMOE_OK;
}

void fsm_step_shape_destroy(fsm_step_shape *shape)
{
    free(shape->gradients);
    *shape = (fsm_step_shape){0};
}

void fsm_step_keep_experts(fsm_step_shape *shape)
{
    shape->experts_only = true;
    shape->region_count = shape->gradient_count = 0;
}

fsm_resource fsm_step_stream(const fsm_step_shape *shape)
{
    for (int g = 0; g < FSM_GROUP_COUNT; g++)
        if (shape->group_size[g] > 1 && shape->link[g] == FSM_INTER) return FSM_INTER;
    return FSM_INTRA;
}

int fsm_step_max_degree(const fsm_step_shape *shape)
{
    int most = shape->max_degree > 0 && shape->max_degree < FSM_MAX_CHUNKS ? shape->max_degree : FSM_MAX_CHUNKS;
    return shape->nominal_rows < most ? (int)shape->nominal_rows : most;
}

void fsm_step_even_cuts(int64_t rows, int degree, int64_t *cuts)
{
    for (int c = 0; c <= degree; c++) cuts[c] = rows * c / degree;
}

/* ---- tasks ---- */

static fsm_task task(const fsm_step_builder *b, fsm_task_kind kind, fsm_phase phase, int layer, double size)
{
    return (fsm_task){
        .kind = kind, .phase = phase, .resource = FSM_COMPUTE, .layer = layer, .micro = b->micro, .size = size};
}

/* The task just added to the chain finished these gradients, if this is the last micro-batch. */
static void finish(fsm_step_builder *b, fsm_task_kind kind, int layer)
{
    if (b->micro != b->shape->micro_batches - 1) return;
    for (int k = b->layer_first[layer + 1]; k < b->layer_first[layer + 2]; k++)
        if (b->shape->gradients[b->of_layer[k]].after == kind) b->finished[b->of_layer[k]] = b->last;
}

/* Appends to the chain. */
static void compute(fsm_step_builder *b, fsm_task_kind kind, fsm_phase phase, int layer, int launches, double size)
{
    fsm_task t = task(b, kind, phase, layer, size);
    t.launches = launches;
    b->last = fsm_graph_add(b->graph, t, &b->last, 1);
    if (phase == FSM_BACKWARD) finish(b, kind, layer);
}

static fsm_resource stream_of(const fsm_step_builder *b, fsm_group group)
{
    return b->one_stream ? fsm_step_stream(b->shape) : b->shape->link[group];
}

/* A collective of the chain; a group of one rank has none. */
static void collective(fsm_step_builder *b, fsm_task_kind kind, fsm_phase phase, int layer, fsm_group group,
                       double size)
{
    if (b->shape->group_size[group] == 1) return;
    fsm_task t = task(b, kind, phase, layer, size);
    t.group = group;
    t.resource = stream_of(b, group);
    t.launches = 1;
    b->last = fsm_graph_add(b->graph, t, &b->last, 1);
}

/* A small exchange of numbers among all of a group, which even a group of one has. */
static void exchange(fsm_step_builder *b, fsm_task_kind kind, fsm_phase phase, int layer, fsm_group group, double size)
{
    fsm_task t = task(b, kind, phase, layer, size);
    t.group = group;
    t.resource = b->shape->group_size[group] > 1 ? stream_of(b, group) : FSM_COMPUTE;
    b->last = fsm_graph_add(b->graph, t, &b->last, 1);
}

/* ---- gradients that are sent ---- */

/* The gradient that holds element `at`: they cover the array in its order. */
static int first_gradient(const fsm_step_shape *s, int64_t at)
{
    int low = 0, high = s->gradient_count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (s->gradients[middle].last <= at) low = middle + 1;
        else high = middle;
    }
    return low;
}

static void send(fsm_step_builder *b, const fsm_piece *piece)
{
    const fsm_region *region = &b->shape->regions[piece->region];
    fsm_task t = task(b, FSM_TASK_ALLREDUCE, FSM_UPDATE, -1, (double)(piece->last - piece->first));
    t.micro = -1;
    t.group = region->group;
    t.resource = stream_of(b, region->group);
    t.slice_first = piece->first;
    t.slice_last = piece->last;
    t.launches = 1;
    int after = -1; /* the chain finishes gradients one after another: the last of them stands for all */
    for (int i = first_gradient(b->shape, piece->first); i < b->shape->gradient_count; i++) {
        if (b->shape->gradients[i].first >= piece->last) break;
        if (b->finished[i] > after) after = b->finished[i];
    }
    if (b->after_backward || b->shape->gradient_count == 0) after = b->last;
    fsm_graph_add(b->graph, t, &after, 1);
    b->sent[piece->region] = piece->last;
}

static void send_all(fsm_step_builder *b, fsm_phase phase, const fsm_layer_cut *cut, int place)
{
    if (phase != FSM_BACKWARD || b->micro != b->shape->micro_batches - 1) return;
    for (int i = 0; i < cut->piece_count[place]; i++) send(b, &cut->pieces[place][i]);
}

bool fsm_step_sends_beside_attention(const fsm_step_shape *shape, bool one_stream)
{
    fsm_resource link = shape->link[FSM_GROUP_EP];
    return shape->group_size[FSM_GROUP_MP] > 1 && (one_stream || shape->link[FSM_GROUP_MP] == link);
}

/* ---- dense work ---- */

static void attention(fsm_step_builder *b, fsm_phase phase, int layer, const fsm_layer_cut *cut)
{
    const fsm_step_shape *s = b->shape;
    if (s->experts_only) return;
    int passes = phase == FSM_FORWARD ? 1 : 2, gemms = 6; /* Q, K, V, scores, values, output */
    double tokens = (double)s->n_group, elems = tokens * (double)s->hidden;
    double projections = elems * (double)(s->qkv_width + s->attention_width);
    double scores = tokens * (double)s->seq_len * (double)s->attention_width; /* causal: half of both products */
    if (phase == FSM_FORWARD) compute(b, FSM_TASK_NORM, phase, layer, 0, (double)s->n_local * (double)s->hidden);
    collective(b, FSM_TASK_MP_ALLGATHER, phase, layer, FSM_GROUP_MP, elems);
    if (fsm_step_sends_beside_attention(b->shape, b->one_stream)) send_all(b, phase, cut, 1);
    compute(b, FSM_TASK_ATTENTION, phase, layer, passes * gemms, passes * (projections + scores));
    collective(b, FSM_TASK_MP_REDUCESCATTER, phase, layer, FSM_GROUP_MP, elems);
    if (phase == FSM_BACKWARD) compute(b, FSM_TASK_NORM, phase, layer, 0, (double)s->n_local * (double)s->hidden);
}

static void dense_ffn(fsm_step_builder *b, fsm_phase phase, int layer)
{
    const fsm_step_shape *s = b->shape;
    double elems = (double)s->n_group * (double)s->hidden, norm = (double)s->n_local * (double)s->hidden;
    double macs = elems * (double)(s->expert_gemms * s->ffn_hidden / s->group_size[FSM_GROUP_MP]);
    if (phase == FSM_FORWARD) compute(b, FSM_TASK_FFN_NORM, phase, layer, 0, norm);
    collective(b, FSM_TASK_FFN_ALLGATHER, phase, layer, FSM_GROUP_MP, elems);
    compute(b, FSM_TASK_FFN, phase, layer, s->expert_gemms, macs);
    if (phase == FSM_BACKWARD) compute(b, FSM_TASK_WEIGHT_GRAD, phase, layer, s->expert_gemms, macs);
    collective(b, FSM_TASK_FFN_REDUCESCATTER, phase, layer, FSM_GROUP_MP, elems);
    if (phase == FSM_BACKWARD) compute(b, FSM_TASK_FFN_NORM, phase, layer, 0, norm);
}

/* ---- an MoE layer ---- */

/* The chunks of one layer and direction while they are strung together. */
typedef struct chunk_chain {
    fsm_phase phase;
    int layer, join[2 * FSM_MAX_CHUNKS], joins; /* what the layer's end waits for */
    int at[FSM_MAX_CHUNKS];                     /* a chunk's latest task */
    int expert[FSM_MAX_CHUNKS];                 /* and its expert task */
    const fsm_layer_cut *cut;
} chunk_chain;

/* A task of one chunk, after `after` of the same chunk; returns it, or `after` when there is nothing to do. */
static int chunk_task(fsm_step_builder *b, const chunk_chain *c, fsm_task_kind kind, fsm_group group, int chunk,
                      double size, int after)
{
    bool is_collective = group != FSM_GROUP_WORLD, alone = is_collective && b->shape->group_size[group] == 1;
    if (alone && kind != FSM_TASK_A2A_COMBINE) return after;
    fsm_task t = task(b, kind, c->phase, c->layer, size);
    t.rows_first = c->cut->cuts[chunk];
    t.rows_last = c->cut->cuts[chunk + 1];
    t.launches = alone ? 0 : is_collective ? 1 : b->shape->expert_gemms;
    if (is_collective) {
        t.group = group;
        t.resource = stream_of(b, group);
    }
    return fsm_graph_add(b->graph, t, &after, 1);
}

static void weight_grad(fsm_step_builder *b, chunk_chain *c, int chunk, double macs)
{
    int done = chunk_task(b, c, FSM_TASK_WEIGHT_GRAD, FSM_GROUP_WORLD, chunk, macs, c->expert[chunk]);
    if (c->cut->split) c->join[c->joins++] = done;
    else c->at[chunk] = done;
}

static void stage(fsm_step_builder *b, chunk_chain *c, fsm_slot slot)
{
    const fsm_step_shape *s = b->shape;
    const int64_t *rows = c->cut->cuts + slot.chunk;
    int esp = s->group_size[FSM_GROUP_ESP], *at = &c->at[slot.chunk];
    double share = (double)(rows[1] - rows[0]) / (double)s->nominal_rows;
    double a2a = share * s->rows * (double)s->hidden, gathered = a2a * esp;
    double macs = gathered * (double)(s->expert_gemms * s->ffn_hidden / esp);
    switch (slot.stage) {
    case FSM_STAGE_DISPATCH:
        *at = chunk_task(b, c, FSM_TASK_A2A_DISPATCH, FSM_GROUP_EP, slot.chunk, a2a, *at);
        break;
    case FSM_STAGE_ALLGATHER:
        *at = chunk_task(b, c, FSM_TASK_ALLGATHER, FSM_GROUP_ESP, slot.chunk, gathered, *at);
        break;
    case FSM_STAGE_EXPERT:
        *at = chunk_task(b, c, FSM_TASK_EXPERT, FSM_GROUP_WORLD, slot.chunk, macs, *at);
        c->expert[slot.chunk] = *at;
        if (c->phase == FSM_BACKWARD && !c->cut->split) weight_grad(b, c, slot.chunk, macs);
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
    fsm_task t = task(b, kind, phase, layer, s->rows * (double)s->hidden);
    t.launches = products * s->order_gemms + shared * s->shared_gemms;
    if (t.launches > 0) t.size = (double)s->n_local * (double)s->hidden * width;
    return t;
}

/* dispatch → allgather → expert (→ weight_grad) → reducescatter → combine, for each chunk; then the chain waits for
 * all. */
static void chunks(fsm_step_builder *b, fsm_phase phase, int layer, const fsm_layer_cut *cut)
{
    chunk_chain c = {.phase = phase, .layer = layer, .cut = cut};
    for (int i = 0; i < cut->degree; i++) c.at[i] = b->last;
    if (!cut->slots) chunk_after_chunk(b, &c);
    for (int i = 0; i < cut->slot_count; i++) {
        stage(b, &c, cut->slots[i]);
        if (is_last_of_input(b, &c, cut->slots[i])) send_all(b, phase, cut, 0);
    }
    fsm_task join = ordering(b, phase == FSM_FORWARD ? FSM_TASK_IORDER : FSM_TASK_ORDER, phase, layer);
    b->last = fsm_graph_add(b->graph, join, c.join, c.joins);
    if (phase == FSM_BACKWARD) finish(b, FSM_TASK_WEIGHT_GRAD, layer);
}

static void moe(fsm_step_builder *b, fsm_phase phase, int layer, const fsm_layer_cut *cut)
{
    const fsm_step_shape *s = b->shape;
    int gemms = s->mixes ? s->order_gemms : 1;
    double gate = (double)s->n_local * (double)(s->hidden * (s->mixes ? s->order_width : s->num_experts));
    if (phase == FSM_FORWARD) {
        compute(b, FSM_TASK_GATE, phase, layer, gemms, gate);
        exchange(b, FSM_TASK_COUNTS, phase, layer, FSM_GROUP_EXPERT, (double)s->num_experts);
    }
    fsm_task first = ordering(b, phase == FSM_FORWARD ? FSM_TASK_ORDER : FSM_TASK_IORDER, phase, layer);
    b->last = fsm_graph_add(b->graph, first, &b->last, 1);
    chunks(b, phase, layer, cut);
    if (!fsm_step_sends_beside_attention(s, b->one_stream)) send_all(b, phase, cut, 1);
    if (phase == FSM_BACKWARD) compute(b, FSM_TASK_GATE, phase, layer, 2 * gemms, 2 * gate);
}

/* ---- a step ---- */

void fsm_step_layer(fsm_step_builder *b, fsm_phase phase, int layer, const fsm_layer_cut *cut)
{
    if (phase == FSM_FORWARD) attention(b, phase, layer, cut);
    if (fsm_layer_is_moe(b->shape->moe_every, layer)) {
        moe(b, phase, layer, cut);
    } else {
        if (!fsm_step_sends_beside_attention(b->shape, b->one_stream)) send_all(b, phase, cut, 1);
        dense_ffn(b, phase, layer);
    }
    if (phase == FSM_BACKWARD) attention(b, phase, layer, cut);
}

/* Gradients by layer, a counting sort: those of `layer` are of_layer[first[layer + 1] … first[layer + 2]). */
static void sort_gradients(const fsm_step_shape *s, int *of_layer, int *first)
{
    for (int i = 0; i < s->gradient_count; i++) first[s->gradients[i].layer + 2]++;
    for (int i = 1; i < s->num_layers + 2; i++) first[i] += first[i - 1];
    for (int i = s->gradient_count - 1; i >= 0; i--) of_layer[--first[s->gradients[i].layer + 2]] = i;
    for (int i = 0; i <= s->num_layers; i++) first[i] = first[i + 1]; /* each has moved to its beginning */
    first[s->num_layers + 1] = s->gradient_count;
}

fsmoe_status fsm_step_builder_begin(const fsm_step_shape *shape, bool one_stream, fsm_graph *graph, fsm_step_builder *b)
{
    size_t gradients = (size_t)shape->gradient_count + 1, layers = (size_t)shape->num_layers + 3;
    *graph = (fsm_graph){0};
    *b = (fsm_step_builder){.shape = shape, .graph = graph, .last = -1, .one_stream = one_stream};
    b->finished = calloc(2 * gradients + layers, sizeof *b->finished); /* one block for the three */
    if (!b->finished) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to build a step");
    b->of_layer = b->finished + gradients;
    b->layer_first = b->of_layer + gradients;
    sort_gradients(shape, b->of_layer, b->layer_first);
    for (int i = 0; i < shape->gradient_count; i++) b->finished[i] = -1;
    for (int i = 0; i < shape->region_count; i++) b->sent[i] = shape->regions[i].first;
    return FSMOE_OK;
}

fsmoe_status fsm_step_builder_end(fsm_step_builder *b)
{
    free(b->finished);
    b->finished = b->of_layer = b->layer_first = NULL;
    fsmoe_status status = fsm_graph_check(b->graph);
    if (status != FSMOE_OK) fsm_graph_destroy(b->graph);
    return status;
}

void fsm_step_begin(fsm_step_builder *b)
{
    if (b->shape->experts_only) return;
    compute(b, FSM_TASK_EMBEDDING, FSM_FORWARD, -1, 0, (double)b->shape->n_local * (double)b->shape->hidden);
}

static void exchange_sums(fsm_step_builder *b)
{
    const fsm_step_shape *s = b->shape;
    exchange(b, FSM_TASK_SUMS, FSM_FORWARD, -1, FSM_GROUP_WORLD, (double)(s->num_layers * (4 * s->num_experts + 4)));
}

void fsm_step_loss(fsm_step_builder *b)
{
    const fsm_step_shape *s = b->shape;
    if (s->experts_only && s->with_losses) exchange_sums(b);
    if (s->experts_only) return;
    int passes = s->training ? 3 : 1; /* gradients are taken block by block, while the logits are there */
    compute(b, FSM_TASK_HEAD, FSM_FORWARD, -1, passes,
            passes * (double)s->n_local * (double)(s->hidden * s->vocab_size));
    exchange_sums(b);
    if (s->training) compute(b, FSM_TASK_HEAD, FSM_BACKWARD, -1, 0, (double)s->n_local * (double)s->hidden);
}

void fsm_step_end(fsm_step_builder *b)
{
    if (b->shape->experts_only) return;
    compute(b, FSM_TASK_EMBEDDING, FSM_BACKWARD, -1, 0, (double)b->shape->n_local * (double)b->shape->hidden);
}

static void optimizer(fsm_step_builder *b, fsm_group group, int64_t first, int64_t last, int after)
{
    fsm_task t = task(b, FSM_TASK_OPTIMIZER, FSM_UPDATE, -1, (double)(last - first));
    t.slice_first = first;
    t.slice_last = last;
    t.group = group;
    fsm_graph_add(b->graph, t, &after, 1);
}

/* What nobody else adds to is whole at the end of backward, the rest when it has been summed. */
static void update_early(fsm_step_builder *b)
{
    const fsm_step_shape *s = b->shape;
    int pieces = b->graph->count;
    for (int i = 0; i < s->region_count; i++)
        if (s->group_size[s->regions[i].group] == 1)
            optimizer(b, s->regions[i].group, s->regions[i].first, s->regions[i].last, b->last);
    for (int i = 0; i < pieces; i++) {
        const fsm_task t = b->graph->tasks[i];
        if (t.kind == FSM_TASK_ALLREDUCE) optimizer(b, t.group, t.slice_first, t.slice_last, i);
    }
}

/* The squares wait for every piece, and for backward where no piece does that already. */
static void grad_norm(fsm_step_builder *b, bool waited)
{
    int end = b->last;
    b->micro = -1;
    b->last = fsm_graph_add(b->graph, task(b, FSM_TASK_GRAD_SQUARES, FSM_UPDATE, -1, 1), &end, !waited);
    for (int i = 0; i < b->last; i++)
        if (b->graph->tasks[i].kind == FSM_TASK_ALLREDUCE) fsm_graph_wait(b->graph, b->last, i);
    exchange(b, FSM_TASK_GRAD_NORM, FSM_UPDATE, -1, FSM_GROUP_WORLD, 1);
}

void fsm_step_update(fsm_step_builder *b)
{
    const fsm_step_shape *s = b->shape;
    bool waited = false;
    if (s->experts_only) return;
    b->micro = -1;
    for (int i = 0; i < s->region_count; i++) {
        const fsm_region *region = &s->regions[i];
        if (s->group_size[region->group] == 1 || b->sent[i] >= region->last) continue;
        while (b->most_elems > 0 && region->last - b->sent[i] > b->most_elems)
            send(b, &(fsm_piece){i, b->sent[i], b->sent[i] + b->most_elems});
        send(b, &(fsm_piece){i, b->sent[i], region->last});
        const fsm_task *sent = &b->graph->tasks[b->graph->count - 1];
        waited |= !b->graph->out_of_memory && b->graph->edges[sent->after_first] == b->last;
    }
    if (s->early_update) update_early(b);
    grad_norm(b, waited);
    for (int i = 0; i < s->region_count && !s->early_update; i++)
        optimizer(b, s->regions[i].group, s->regions[i].first, s->regions[i].last, b->last);
}
