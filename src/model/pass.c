#include "model/lanes.h"
#include "model/model_parts.h"

#include <assert.h>

/* ---- memory ---- */

/* The most tokens of any of its batches: of this rank's group, and of any rank; rows of its MoE layers. */
typedef struct pass_sizes {
    int64_t group, local;
    fsm_wire_shape wire;
} pass_sizes;

static pass_sizes sizes_of(const fsm_model *m, int64_t samples, int64_t eval_samples)
{
    pass_sizes sizes = {.group = samples * m->config->data.seq_len,
                        .local = fsm_lanes_most_tokens(m->config, &m->topo, samples)};
    fsm_lanes_wire_within(m->config, &m->topo, samples, eval_samples, m->expects, &sizes.wire);
    sizes.wire.by_source = m->config->parallel.canonical_sums;
    return sizes;
}

static void take_norm(fsm_memory *memory, const fsm_model *m, int64_t n, fsm_norm_pass *norm)
{
    norm->mean = m->params.family->layernorm ? fsm_take_reals(memory, n) : NULL;
    norm->rstd = fsm_take_reals(memory, n);
}

static void take_layer(fsm_memory *memory, const fsm_pass *pass, const pass_sizes *sizes, const fsm_layer *l,
                       fsm_layer_pass *saved)
{
    const fsm_model *m = pass->model;
    int64_t hidden = fsm_pass_hidden(pass), local = sizes->local, group = sizes->group;
    take_norm(memory, m, local, &saved->norm1);
    take_norm(memory, m, local, &saved->norm2);
    saved->x1 = fsm_take_reals(memory, local * hidden);
    saved->x2 = fsm_take_reals(memory, local * hidden);
    saved->h1 = fsm_take_rows(memory, group * hidden);
    saved->qkv_out = fsm_take_rows(memory, group * m->qkv_width);
    saved->attended = fsm_take_rows(memory, group * m->heads * m->head_dim);
    saved->lse = fsm_take_reals(memory, group * m->heads);
    saved->h2 = fsm_take_rows(memory, (l->is_moe ? local : group) * hidden);
    if (l->is_moe) {
        fsm_moe_take(memory, &l->moe, &sizes->wire, &m->moe_scratch, &pass->staging, &saved->moe);
        saved->moe.lane = (int)(pass - m->passes);
    } else {
        int pre_width = fsm_expert_find(m->config->moe.expert)->pre_width;
        saved->pre = fsm_take_rows(memory, group * m->ffn_width * pre_width);
        saved->act = fsm_take_rows(memory, group * m->ffn_width);
    }
}

/* The MoE layer that backward enters k-th: 0 is the last one. */
static fsm_moe_pass *entered(const fsm_pass *pass, int k)
{
    const fsm_model *m = pass->model;
    return &pass->layers[fsm_layer_of_moe(m->config->model.moe_every, m->moe_layers - 1 - k)].moe;
}

/* Where the gradients of the experts' outputs are put, which stay until the weights' gradients are made of them. The
 * first spare + 1 layers that backward enters have buffers of their own. A layer that is all done leaves two, that one
 * and the rows that its experts read: the layer entered k-th takes the place of the one entered (k - spare - 1) /
 * 2-th. */
static void take_expert_dy(fsm_memory *memory, const pass_sizes *sizes, int spare, const fsm_pass *pass)
{
    for (int k = 0; k < pass->model->moe_layers; k++) {
        int behind = k - spare - 1;
        const fsm_moe_pass *done = behind >= 0 ? entered(pass, behind / 2) : NULL;
        fsm_row *left = !done             ? fsm_moe_take_dy(memory, fsm_first_moe(pass->model), &sizes->wire)
                        : behind % 2 == 0 ? done->expert_dy
                                          : done->x;
        entered(pass, k)->expert_dy = left;
    }
}

static void take_gradients(fsm_memory *memory, const pass_sizes *sizes, int spare, fsm_pass *pass)
{
    int64_t hidden = fsm_pass_hidden(pass);
    pass->dx = fsm_take_reals(memory, sizes->local * hidden);
    pass->dh = fsm_take_reals(memory, sizes->local * hidden);
    pass->dh_full = fsm_take_reals(memory, sizes->group * hidden);
    memory->kind = FSM_MEMORY_SAVED;
    take_expert_dy(memory, sizes, spare, pass);
}

void fsm_pass_take(fsm_memory *memory, int64_t samples, int64_t eval_samples, bool back, int spare, fsm_pass *pass)
{
    const fsm_model *m = pass->model;
    int64_t hidden = fsm_pass_hidden(pass);
    pass_sizes sizes = sizes_of(m, samples, eval_samples);
    memory->kind = FSM_MEMORY_SAVED;
    pass->position = fsm_take_indices(memory, sizes.group);
    pass->ids = fsm_take_indices(memory, sizes.group);
    pass->targets = fsm_take_indices(memory, sizes.group);
    pass->expert_tokens = FSM_TAKE_HOST(memory, int64_t, m->topo.ep * m->topo.esp);
    bool cache = m->options.cache_regions > 0;
    pass->key_first = cache ? fsm_take_indices(memory, sizes.group) : NULL;
    pass->key_count = cache ? fsm_take_indices(memory, sizes.group) : NULL;
    pass->x_out = fsm_take_reals(memory, sizes.local * hidden);
    pass->h_final = fsm_take_rows(memory, sizes.local * hidden);
    pass->full = fsm_take_reals(memory, sizes.group * hidden);
    take_norm(memory, m, sizes.local, &pass->final_norm);
    memory->kind = FSM_MEMORY_STAGING;
    if (m->moe_layers > 0) fsm_moe_staging_take(memory, fsm_first_moe(m), &sizes.wire, &pass->staging);
    memory->kind = FSM_MEMORY_SAVED;
    for (int i = 0; i < m->config->model.num_layers; i++)
        take_layer(memory, pass, &sizes, &m->layers[i], &pass->layers[i]);
    memory->kind = FSM_MEMORY_WORKSPACE;
    if (back) take_gradients(memory, &sizes, spare, pass);
}

void fsm_pass_scratch_take(fsm_memory *memory, int64_t samples, fsm_model *m)
{
    pass_sizes sizes = sizes_of(m, samples, fsm_model_eval_samples(m));
    m->logits = fsm_take_reals(memory, FSM_HEAD_BLOCK * m->config->model.vocab_size);
    if (m->moe_layers > 0) {
        fsm_moe_scratch_take(memory, fsm_first_moe(m), &sizes.wire, &m->moe_scratch);
        memory->kind = FSM_MEMORY_STAGING;
        fsm_moe_alltoall_take(memory, &sizes.wire, m->config->model.hidden, &m->alltoall);
        memory->kind = FSM_MEMORY_WORKSPACE;
    }
    if (!m->options.training) return;
    m->dqkv = fsm_take_rows(memory, sizes.group * m->qkv_width);
    m->dattended = fsm_take_rows(memory, sizes.group * m->heads * m->head_dim);
    m->dact = fsm_take_rows(memory, sizes.group * m->ffn_width);
}

/* ---- a batch ---- */

fsm_batch fsm_batch_part(const fsm_batch *batch, int parts, int part)
{
    int64_t first, last;
    fsm_lanes_part(batch->samples, parts, part, &first, &last);
    int64_t at = first * batch->seq_len;
    return (fsm_batch){.samples = last - first,
                       .seq_len = batch->seq_len,
                       .first_token = batch->first_token + (uint64_t)at,
                       .ids = batch->ids + at,
                       .targets = batch->targets ? batch->targets + at : NULL,
                       .micro_samples = batch->micro_samples,
                       .parts = parts,
                       .part = part,
                       .region = batch->region ? batch->region + first : NULL,
                       .past = batch->past ? batch->past + first : NULL};
}

/* This rank's share of the group's tokens, and everybody's. */
static void split_tokens(fsm_pass *pass)
{
    const fsm_topo *topo = &pass->model->topo;
    for (int i = 0; i < topo->mp; i++) {
        int64_t first, last;
        fsm_topo_split(pass->n_group, fsm_token_unit(pass->model->config), topo->mp, i, &first, &last);
        pass->group_elems[i] = (last - first) * fsm_pass_hidden(pass);
        if (i != topo->mp_index) continue;
        pass->local_first = first;
        pass->n_local = last - first;
    }
}

/* n_local of any rank, whose data-parallel group takes the same part of its share. */
static int64_t tokens_of(const fsm_pass *pass, int rank)
{
    const fsm_batch *batch = &pass->batch;
    fsm_topo topo = fsm_topo_at(&pass->model->topo, rank);
    int64_t first, last;
    fsm_lanes_part(batch->micro_samples, topo.dp, topo.dp_index, &first, &last);
    fsm_lanes_part(last - first, batch->parts, batch->part, &first, &last);
    fsm_topo_split((last - first) * batch->seq_len, fsm_token_unit(pass->model->config), topo.mp, topo.mp_index, &first,
                   &last);
    return last - first;
}

static void find_expert_tokens(fsm_pass *pass)
{
    const fsm_topo *topo = &pass->model->topo;
    int ranks = topo->ep * topo->esp, first = topo->edp_index * ranks;
    for (int i = 0; i < ranks; i++) pass->expert_tokens[i] = tokens_of(pass, first + i);
    assert(pass->expert_tokens[topo->rank - first] == pass->n_local);
}

const int64_t *fsm_pass_expert_tokens(const fsm_pass *pass)
{
    return pass->batch.micro_samples > 0 ? pass->expert_tokens : NULL;
}

/* Each token's position; with a cache, where attention finds each sample's keys. */
static void set_positions(fsm_pass *pass)
{
    const fsm_model *m = pass->model;
    const fsm_ops *ops = m->ops;
    const fsm_batch *b = &pass->batch;
    if (!pass->key_first) {
        ops->count_from(ops, pass->n_group, 0, b->seq_len, pass->position);
        return;
    }
    for (int64_t i = 0; i < b->samples; i++) {
        int64_t first = b->region[i] * m->options.cache_len;
        ops->count_from(ops, b->seq_len, b->past[i], b->seq_len, fsm_index_at(pass->position, i * b->seq_len));
        ops->count_from(ops, 1, first, 1, fsm_index_at(pass->key_first, i));
        ops->count_from(ops, 1, b->past[i] + b->seq_len, 1, fsm_index_at(pass->key_count, i));
    }
}

void fsm_pass_begin(fsm_pass *pass, const fsm_batch *batch, bool training)
{
    pass->batch = *batch;
    pass->training = training;
    pass->n_group = batch->samples * batch->seq_len;
    split_tokens(pass);
    if (batch->micro_samples > 0) find_expert_tokens(pass);
    const fsm_ops *ops = pass->model->ops;
    size_t bytes = (size_t)(pass->n_group * FSM_INDEX_BYTES);
    ops->write(ops, bytes, batch->ids, pass->ids);
    if (batch->targets) ops->write(ops, bytes, batch->targets, pass->targets);
    set_positions(pass);
}
