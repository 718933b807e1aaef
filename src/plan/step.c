#include "plan/step.h"

#include "moe/expert/expert.h"

void fsm_step_describe(const fsmoe_config *config, const fsm_topo *topo, const fsm_params *params, int64_t max_samples,
                       int64_t nominal_rows, bool training, fsm_step_shape *shape)
{
    const fsmoe_model_config *m = &config->model;
    double factor = config->moe.capacity_factor > 0 ? config->moe.capacity_factor : 1.0;
    *shape = (fsm_step_shape){
        .num_layers = (int)m->num_layers,
        .moe_every = (int)m->moe_every,
        .micro_batches = (int)(config->train.global_batch / config->train.micro_batch),
        .training = training,
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
        .expert_gemms = fsm_expert_find(config->moe.expert)->pre_width + 1,
        .region_count = params->region_count,
    };
    shape->n_local = shape->n_group / topo->mp;
    shape->rows = factor * (double)(config->moe.top_k * shape->n_local);
    for (int g = 0; g < FSM_GROUP_COUNT; g++) {
        shape->group_size[g] = fsm_topo_group_size(topo, (fsm_group)g);
        shape->link[g] = fsm_topo_link(topo, (fsm_group)g);
    }
    for (int i = 0; i < params->region_count; i++) shape->regions[i] = params->regions[i];
}

void fsm_step_even_cuts(int64_t rows, int degree, int64_t *cuts)
{
    for (int c = 0; c <= degree; c++) cuts[c] = rows * c / degree;
}

static fsm_task task(const fsm_step_builder *b, fsm_task_kind kind, fsm_phase phase, int layer, double size)
{
    return (fsm_task){
        .kind = kind, .phase = phase, .resource = FSM_COMPUTE, .layer = layer, .micro = b->micro, .size = size};
}

/* Appends to the chain. */
static void compute(fsm_step_builder *b, fsm_task_kind kind, fsm_phase phase, int layer, double size)
{
    b->last = fsm_graph_add(b->graph, task(b, kind, phase, layer, size), &b->last, 1);
}

/* A collective of the chain; a group of one rank has none. */
static void collective(fsm_step_builder *b, fsm_task_kind kind, fsm_phase phase, int layer, fsm_group group,
                       double size)
{
    if (b->shape->group_size[group] == 1) return;
    fsm_task t = task(b, kind, phase, layer, size);
    t.group = group;
    t.resource = b->shape->link[group];
    b->last = fsm_graph_add(b->graph, t, &b->last, 1);
}

static void attention(fsm_step_builder *b, fsm_phase phase, int layer)
{
    const fsm_step_shape *s = b->shape;
    double tokens = (double)s->n_group, elems = tokens * (double)s->hidden, passes = phase == FSM_FORWARD ? 1 : 2;
    double projections = elems * (double)(s->qkv_width + s->attention_width);
    double scores = tokens * (double)s->seq_len * (double)s->attention_width; /* causal: half of both products */
    if (phase == FSM_FORWARD) compute(b, FSM_TASK_NORM, phase, layer, (double)(s->n_local * s->hidden));
    collective(b, FSM_TASK_MP_ALLGATHER, phase, layer, FSM_GROUP_MP, elems);
    compute(b, FSM_TASK_ATTENTION, phase, layer, passes * (projections + scores));
    collective(b, FSM_TASK_MP_REDUCESCATTER, phase, layer, FSM_GROUP_MP, elems);
    if (phase == FSM_BACKWARD) compute(b, FSM_TASK_NORM, phase, layer, (double)(s->n_local * s->hidden));
}

static void dense_ffn(fsm_step_builder *b, fsm_phase phase, int layer)
{
    const fsm_step_shape *s = b->shape;
    double elems = (double)(s->n_group * s->hidden), norm = (double)(s->n_local * s->hidden);
    double macs = elems * (double)(s->expert_gemms * s->ffn_hidden / s->group_size[FSM_GROUP_MP]);
    if (phase == FSM_FORWARD) compute(b, FSM_TASK_FFN_NORM, phase, layer, norm);
    collective(b, FSM_TASK_FFN_ALLGATHER, phase, layer, FSM_GROUP_MP, elems);
    compute(b, FSM_TASK_FFN, phase, layer, macs);
    if (phase == FSM_BACKWARD) compute(b, FSM_TASK_WEIGHT_GRAD, phase, layer, macs);
    collective(b, FSM_TASK_FFN_REDUCESCATTER, phase, layer, FSM_GROUP_MP, elems);
    if (phase == FSM_BACKWARD) compute(b, FSM_TASK_FFN_NORM, phase, layer, norm);
}

/* A task of one chunk, after `after` of the same chunk; returns it, or `after` when there is nothing to do. */
static int chunk_task(fsm_step_builder *b, fsm_task_kind kind, fsm_phase phase, int layer, const int64_t *rows,
                      fsm_group group, double size, int after)
{
    bool is_collective = group != FSM_GROUP_WORLD;
    if (is_collective && b->shape->group_size[group] == 1 && kind != FSM_TASK_A2A_COMBINE) return after;
    fsm_task t = task(b, kind, phase, layer, size);
    t.rows_first = rows[0];
    t.rows_last = rows[1];
    if (is_collective) {
        t.group = group;
        t.resource = b->shape->link[group];
    }
    return fsm_graph_add(b->graph, t, &after, 1);
}

/* dispatch → allgather → expert (→ weight_grad) → reducescatter → combine, for each chunk; then the chain waits for all. */
static void chunks(fsm_step_builder *b, fsm_phase phase, int layer, int degree, const int64_t *cuts)
{
    const fsm_step_shape *s = b->shape;
    int esp = s->group_size[FSM_GROUP_ESP], start = b->last;
    fsm_task join =
        task(b, phase == FSM_FORWARD ? FSM_TASK_IORDER : FSM_TASK_ORDER, phase, layer, s->rows * (double)s->hidden);
    int ends[2 * FSM_MAX_CHUNKS], n = 0;
    for (int c = 0; c < degree; c++) {
        double share = (double)(cuts[c + 1] - cuts[c]) / (double)s->nominal_rows;
        double a2a = share * s->rows * (double)s->hidden, gathered = a2a * esp;
        double macs = gathered * (double)(s->expert_gemms * s->ffn_hidden / esp);
        const int64_t *rows = cuts + c;
        int at = chunk_task(b, FSM_TASK_A2A_DISPATCH, phase, layer, rows, FSM_GROUP_EP, a2a, start);
        at = chunk_task(b, FSM_TASK_ALLGATHER, phase, layer, rows, FSM_GROUP_ESP, gathered, at);
        at = chunk_task(b, FSM_TASK_EXPERT, phase, layer, rows, FSM_GROUP_WORLD, macs, at);
        if (phase == FSM_BACKWARD)
            ends[n++] = chunk_task(b, FSM_TASK_WEIGHT_GRAD, phase, layer, rows, FSM_GROUP_WORLD, macs, at);
        at = chunk_task(b, FSM_TASK_REDUCESCATTER, phase, layer, rows, FSM_GROUP_ESP, gathered, at);
        ends[n++] = chunk_task(b, FSM_TASK_A2A_COMBINE, phase, layer, rows, FSM_GROUP_EP, a2a, at);
    }
    b->last = fsm_graph_add(b->graph, join, ends, n);
}

static void moe(fsm_step_builder *b, fsm_phase phase, int layer, int degree, const int64_t *cuts)
{
    const fsm_step_shape *s = b->shape;
    double rows = s->rows * (double)s->hidden, gate = (double)(s->n_local * s->hidden * s->num_experts);
    if (phase == FSM_FORWARD) {
        compute(b, FSM_TASK_GATE, phase, layer, gate);
        fsm_task counts = task(b, FSM_TASK_COUNTS, phase, layer, (double)s->num_experts);
        counts.group = FSM_GROUP_EXPERT;
        counts.resource = s->group_size[FSM_GROUP_EXPERT] > 1 ? s->link[FSM_GROUP_EXPERT] : FSM_COMPUTE;
        b->last = fsm_graph_add(b->graph, counts, &b->last, 1);
        compute(b, FSM_TASK_ORDER, phase, layer, rows);
    } else {
        compute(b, FSM_TASK_IORDER, phase, layer, rows);
    }
    chunks(b, phase, layer, degree, cuts);
    if (phase == FSM_BACKWARD) compute(b, FSM_TASK_GATE, phase, layer, gate);
}

void fsm_step_layer(fsm_step_builder *b, fsm_phase phase, int layer, int degree, const int64_t *cuts)
{
    bool is_moe = fsm_layer_is_moe(b->shape->moe_every, layer);
    if (phase == FSM_FORWARD) attention(b, phase, layer);
    if (is_moe) moe(b, phase, layer, degree, cuts);
    else dense_ffn(b, phase, layer);
    if (phase == FSM_BACKWARD) attention(b, phase, layer);
}

void fsm_step_begin(fsm_step_builder *b)
{
    compute(b, FSM_TASK_EMBEDDING, FSM_FORWARD, -1, (double)(b->shape->n_local * b->shape->hidden));
}

void fsm_step_loss(fsm_step_builder *b)
{
    const fsm_step_shape *s = b->shape;
    double macs = (double)(s->n_local * s->hidden * s->vocab_size);
    compute(b, FSM_TASK_HEAD, FSM_FORWARD, -1, s->training ? 3 * macs : macs);
    fsm_task sums = task(b, FSM_TASK_SUMS, FSM_FORWARD, -1, (double)(s->num_layers * (3 * s->num_experts + 3)));
    sums.group = FSM_GROUP_WORLD;
    sums.resource = s->group_size[FSM_GROUP_WORLD] > 1 ? s->link[FSM_GROUP_WORLD] : FSM_COMPUTE;
    b->last = fsm_graph_add(b->graph, sums, &b->last, 1);
    if (s->training) compute(b, FSM_TASK_HEAD, FSM_BACKWARD, -1, (double)(s->n_local * s->hidden));
}

void fsm_step_end(fsm_step_builder *b)
{
    compute(b, FSM_TASK_EMBEDDING, FSM_BACKWARD, -1, (double)(b->shape->n_local * b->shape->hidden));
}

static fsm_task slice_task(const fsm_step_builder *b, fsm_task_kind kind, const fsm_region *region)
{
    fsm_task t = task(b, kind, FSM_UPDATE, -1, (double)(region->last - region->first));
    t.slice_first = region->first;
    t.slice_last = region->last;
    t.group = region->group;
    return t;
}

void fsm_step_update(fsm_step_builder *b)
{
    const fsm_step_shape *s = b->shape;
    int reduced[3], n = 0;
    b->micro = -1;
    for (int i = 0; i < s->region_count; i++) {
        const fsm_region *region = &s->regions[i];
        reduced[n] = b->last;
        if (s->group_size[region->group] > 1) {
            fsm_task t = slice_task(b, FSM_TASK_ALLREDUCE, region);
            t.resource = s->link[region->group];
            reduced[n] = fsm_graph_add(b->graph, t, &b->last, 1);
        }
        n++;
    }
    b->last = fsm_graph_add(b->graph, task(b, FSM_TASK_GRAD_NORM, FSM_UPDATE, -1, 1), reduced, n);
    for (int i = 0; i < s->region_count; i++)
        fsm_graph_add(b->graph, slice_task(b, FSM_TASK_OPTIMIZER, &s->regions[i]), &b->last, 1);
}
