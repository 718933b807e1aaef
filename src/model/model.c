#include "model/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Largest token counts of any micro-batch. */
typedef struct token_limits {
    int64_t group, local; /* of this rank's group; of any rank */
} token_limits;

static int64_t token_unit(const fsmoe_config *config)
{
    return config->moe.capacity_group > 0 ? config->moe.capacity_group : 1;
}

static token_limits limits(const fsm_model *m)
{
    int64_t seq_len = m->options.cache ? m->config->model.max_seq_len : m->config->data.seq_len;
    token_limits most = {.group = m->options.max_samples * seq_len};
    for (int i = 0; i < m->topo.mp; i++) {
        int64_t first, last;
        fsm_topo_split(most.group, token_unit(m->config), m->topo.mp, i, &first, &last);
        if (last - first > most.local) most.local = last - first;
    }
    return most;
}

/* ---- memory: run once over a measuring arena, once over a real one ---- */

static void take_norm(fsm_arena *arena, const fsm_model *m, int64_t n, fsm_norm *norm)
{
    norm->mean = m->params.family->layernorm ? FSM_ARENA_ARRAY(arena, float, n) : NULL;
    norm->rstd = FSM_ARENA_ARRAY(arena, float, n);
}

static void take_layer(fsm_arena *arena, fsm_model *m, token_limits most, const fsm_wire_shape *wire, fsm_layer *l)
{
    int64_t hidden = m->config->model.hidden, attended = m->heads * m->head_dim, kv = m->kv_heads * m->head_dim;
    take_norm(arena, m, most.local, &l->norm1);
    take_norm(arena, m, most.local, &l->norm2);
    l->x1 = FSM_ARENA_ARRAY(arena, float, most.local * hidden);
    l->x2 = FSM_ARENA_ARRAY(arena, float, most.local * hidden);
    l->h1 = FSM_ARENA_ARRAY(arena, float, most.group * hidden);
    l->qkv_out = FSM_ARENA_ARRAY(arena, float, most.group * m->qkv_width);
    l->attended = FSM_ARENA_ARRAY(arena, float, most.group * attended);
    l->lse = FSM_ARENA_ARRAY(arena, float, most.group * m->heads);
    l->h2 = FSM_ARENA_ARRAY(arena, float, (l->is_moe ? most.local : most.group) * hidden);
    if (m->options.cache) {
        l->cache_k = FSM_ARENA_ARRAY(arena, float, m->config->model.max_seq_len * kv);
        l->cache_v = FSM_ARENA_ARRAY(arena, float, m->config->model.max_seq_len * kv);
    }
    if (l->is_moe) {
        l->moe.experts = FSM_ARENA_ARRAY(arena, fsm_expert_weights, l->moe.local_experts);
        fsm_moe_take(arena, wire, &l->moe);
    } else {
        int64_t pre_width = m->ffn_width * fsm_expert_find(m->config->moe.expert)->pre_width;
        l->pre = FSM_ARENA_ARRAY(arena, float, most.group * pre_width);
        l->act = FSM_ARENA_ARRAY(arena, float, most.group * m->ffn_width);
    }
}

static void take_gradients(fsm_arena *arena, fsm_model *m, token_limits most)
{
    int64_t hidden = m->config->model.hidden, pre = fsm_expert_find(m->config->moe.expert)->pre_width;
    m->dx = FSM_ARENA_ARRAY(arena, float, most.local * hidden);
    m->dh = FSM_ARENA_ARRAY(arena, float, most.local * hidden);
    m->dh_full = FSM_ARENA_ARRAY(arena, float, most.group * hidden);
    m->dqkv = FSM_ARENA_ARRAY(arena, float, most.group * m->qkv_width);
    m->dattended = FSM_ARENA_ARRAY(arena, float, most.group * m->heads * m->head_dim);
    m->dpre = FSM_ARENA_ARRAY(arena, float, most.group * m->ffn_width * pre);
    m->dact = FSM_ARENA_ARRAY(arena, float, most.group * m->ffn_width);
}

static size_t attention_work_bytes(const fsm_model *m)
{
    int64_t seq_len = m->options.cache ? m->config->model.max_seq_len : m->config->data.seq_len;
    fsm_attention_shape shape = {.batch = m->options.max_samples, .q_len = seq_len, .k_len = seq_len, .heads = m->heads,
                                 .kv_heads = m->kv_heads, .head_dim = m->head_dim, .ld_q = m->qkv_width,
                                 .ld_k = m->qkv_width, .ld_v = m->qkv_width, .ld_o = m->heads * m->head_dim,
                                 .sample_k = seq_len};
    return m->ops->attention_work_bytes(&shape);
}

static void take_shared(fsm_arena *arena, fsm_model *m, token_limits most, const fsm_wire_shape *wire)
{
    const fsmoe_model_config *c = &m->config->model;
    m->position = FSM_ARENA_ARRAY(arena, int32_t, most.group);
    m->cosine = FSM_ARENA_ARRAY(arena, float, c->max_seq_len * (m->head_dim / 2));
    m->sine = FSM_ARENA_ARRAY(arena, float, c->max_seq_len * (m->head_dim / 2));
    m->x_out = FSM_ARENA_ARRAY(arena, float, most.local * c->hidden);
    m->h_final = FSM_ARENA_ARRAY(arena, float, most.local * c->hidden);
    m->logits = FSM_ARENA_ARRAY(arena, float, FSM_HEAD_BLOCK * c->vocab_size);
    m->full = FSM_ARENA_ARRAY(arena, float, most.group * c->hidden);
    m->attention_work = fsm_arena_take(arena, attention_work_bytes(m));
    m->sums = FSM_ARENA_ARRAY(arena, double, m->sum_count);
    m->step_sums = FSM_ARENA_ARRAY(arena, double, m->sum_count);
    m->load_grad = FSM_ARENA_ARRAY(arena, double, m->moe_layers * m->config->moe.num_experts);
    take_norm(arena, m, most.local, &m->final_norm);
    int pre_width = fsm_expert_find(m->config->moe.expert)->pre_width;
    if (m->moe_layers > 0)
        fsm_moe_staging_take(arena, wire, c->hidden, c->ffn_hidden / m->topo.esp, pre_width, &m->staging);
    if (m->options.training) take_gradients(arena, m, most);
}

static void take_all(fsm_arena *arena, fsm_model *m)
{
    token_limits most = limits(m);
    fsm_wire_shape wire;
    fsm_moe_shape(&m->config->moe, m->topo.ep, m->topo.ep_index, m->topo.esp, m->topo.esp_index, most.local, &wire);
    m->nominal_rows = wire.nominal_rows;
    for (int i = 0; i < m->config->model.num_layers; i++) take_layer(arena, m, most, &wire, &m->layers[i]);
    take_shared(arena, m, most, &wire);
}

static fsmoe_status allocate(fsm_model *m)
{
    fsm_arena measure = {0};
    take_all(&measure, m);
    FSM_TRY(fsm_arena_create(measure.used, &m->arena));
    take_all(&m->arena, m);
    size_t bytes = sizeof(float) * (size_t)m->params.elems;
    FSM_TRY(fsm_arena_create(2 * (bytes + 64), &m->param_arena));
    m->values = fsm_arena_take(&m->param_arena, bytes);
    m->grads = m->options.training ? fsm_arena_take(&m->param_arena, bytes) : NULL;
    return FSMOE_OK;
}

/* ---- parameters into the places that use them ---- */

static fsm_param_view view(const fsm_model *m, fsm_role role, int slot, int layer, int64_t expert)
{
    const fsm_param *param = fsm_params_find(&m->params, role, slot, layer);
    return param ? fsm_params_view(param, expert, m->values, m->grads) : (fsm_param_view){0};
}

static void bind_norm(const fsm_model *m, fsm_role role, int layer, fsm_norm *norm)
{
    norm->gain = view(m, role, 0, layer, 0);
    norm->bias = m->params.family->layernorm ? view(m, role + 1, 0, layer, 0) : (fsm_param_view){0};
}

static fsm_weight as_weight(fsm_param_view v)
{
    return (fsm_weight){v.value, v.rows, v.cols, NULL};
}

static void bind_block(const fsm_model *m, fsm_role role, int layer, int64_t expert, int shard, fsm_expert_weights *weights)
{
    fsm_param_view views[FSM_MAX_PARAMS_A_MODULE];
    for (int i = 0; i < FSM_MAX_PARAMS_A_MODULE; i++) views[i] = view(m, role, i, layer, expert);
    fsm_expert_find(m->config->moe.expert)->bind(views, shard, weights);
}

static void bind_moe(fsm_model *m, fsm_layer *l)
{
    for (int64_t e = 0; e < l->moe.local_experts; e++)
        bind_block(m, FSM_ROLE_EXPERT, l->index, e, m->topo.esp_index, &l->moe.experts[e]);
    for (int i = 0; i < FSM_MAX_PARAMS_A_MODULE; i++) {
        l->moe.gate.params[i] = view(m, FSM_ROLE_GATE, i, l->index, 0);
        l->moe.gate.weights[i] = as_weight(l->moe.gate.params[i]);
    }
}

static void bind_layer(fsm_model *m, fsm_layer *l)
{
    bind_norm(m, FSM_ROLE_NORM1, l->index, &l->norm1);
    bind_norm(m, FSM_ROLE_NORM2, l->index, &l->norm2);
    l->qkv_grad = view(m, FSM_ROLE_Q, 0, l->index, 0);
    l->qkv = as_weight(l->qkv_grad);
    l->qkv.out = m->qkv_width;
    l->o_grad = view(m, FSM_ROLE_O, 0, l->index, 0);
    l->o = as_weight(l->o_grad);
    l->qkv_bias = view(m, FSM_ROLE_Q_BIAS, 0, l->index, 0);
    l->o_bias = view(m, FSM_ROLE_O_BIAS, 0, l->index, 0);
    if (l->is_moe) bind_moe(m, l);
    else bind_block(m, FSM_ROLE_FFN, l->index, 0, m->topo.mp_index, &l->ffn);
}

static void bind(fsm_model *m)
{
    fsm_param_view embedding = view(m, FSM_ROLE_EMBEDDING, 0, -1, 0), positions = view(m, FSM_ROLE_POSITIONS, 0, -1, 0);
    fsm_param_view head = m->config->model.tie_embeddings ? embedding : view(m, FSM_ROLE_HEAD, 0, -1, 0);
    m->embedding = embedding.value;
    m->embedding_grad = embedding.grad;
    m->positions = positions.value;
    m->positions_grad = positions.grad;
    m->head = as_weight(head);
    m->head_grad = head.grad;
    bind_norm(m, FSM_ROLE_FINAL_NORM, -1, &m->final_norm);
    for (int i = 0; i < m->config->model.num_layers; i++) bind_layer(m, &m->layers[i]);
}

/* Calls fn on every weight matrix; false when one call failed. */
static bool each_weight(fsm_model *m, bool (*fn)(const fsm_ops *, fsm_weight *))
{
    bool ok = fn(m->ops, &m->head);
    for (int i = 0; i < m->config->model.num_layers; i++) {
        fsm_layer *l = &m->layers[i];
        ok &= fn(m->ops, &l->qkv) && fn(m->ops, &l->o);
        for (int64_t e = 0; l->is_moe && e < l->moe.local_experts; e++)
            ok &= fn(m->ops, &l->moe.experts[e].in) && fn(m->ops, &l->moe.experts[e].out);
        for (int s = 0; l->is_moe && s < FSM_MAX_PARAMS_A_MODULE; s++)
            if (l->moe.gate.weights[s].w) ok &= fn(m->ops, &l->moe.gate.weights[s]);
        if (!l->is_moe) ok &= fn(m->ops, &l->ffn.in) && fn(m->ops, &l->ffn.out);
    }
    return ok;
}

static bool create_weight(const fsm_ops *ops, fsm_weight *weight)
{
    return ops->weight_create(weight);
}

static bool update_weight(const fsm_ops *ops, fsm_weight *weight)
{
    ops->weight_update(weight);
    return true;
}

static bool destroy_weight(const fsm_ops *ops, fsm_weight *weight)
{
    if (weight->w) ops->weight_destroy(weight);
    return true;
}

void fsm_model_update_weights(fsm_model *model)
{
    each_weight(model, update_weight);
}

/* ---- creation ---- */

/* Angles of rotary embedding: position * theta^(-2i / head_dim). */
static void fill_rotations(fsm_model *m)
{
    int64_t half = m->head_dim / 2;
    for (int64_t p = 0; p < m->config->model.max_seq_len; p++) {
        for (int64_t i = 0; i < half; i++) {
            double angle = (double)p * pow(m->config->model.rope_theta, -2.0 * (double)i / (double)m->head_dim);
            m->cosine[p * half + i] = (float)cos(angle);
            m->sine[p * half + i] = (float)sin(angle);
        }
    }
}

static fsmoe_status select_layers(fsm_model *m)
{
    const fsmoe_config *c = m->config;
    m->layers = calloc((size_t)c->model.num_layers, sizeof *m->layers);
    if (!m->layers) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for %lld layers", (long long)c->model.num_layers);
    for (int i = 0; i < c->model.num_layers; i++) {
        fsm_layer *l = &m->layers[i];
        l->index = i;
        l->is_moe = fsm_layer_is_moe(c, i);
        if (!l->is_moe) continue;
        m->moe_layers++;
        FSM_TRY(fsm_moe_select(&c->moe, &l->moe));
        l->moe.ops = l->moe.gate.ops = m->ops;
        l->moe.ep = m->groups[FSM_GROUP_EP];
        l->moe.esp = m->groups[FSM_GROUP_ESP];
        l->moe.expert_group = m->groups[FSM_GROUP_EXPERT];
        l->moe.staging = &m->staging;
        l->moe.hidden = l->moe.gate.hidden = c->model.hidden;
        l->moe.width = c->model.ffn_hidden / m->topo.esp;
        l->moe.local_experts = c->moe.num_experts / m->topo.ep;
    }
    m->sum_count = m->moe_layers * (3 * c->moe.num_experts + 3) + 2;
    return FSMOE_OK;
}

static fsmoe_status build(fsm_model *m)
{
    FSM_TRY(fsm_params_create(m->config, &m->topo, &m->params));
    if (m->topo.mp > FSM_MAX_MP)
        return fsm_fail(FSMOE_ERROR_LAYOUT, "parallel.mp_size = %d is above %d", m->topo.mp, FSM_MAX_MP);
    FSM_TRY(select_layers(m));
    FSM_TRY(allocate(m));
    bind(m);
    fill_rotations(m);
    if (!each_weight(m, create_weight)) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for packed weights");
    return FSMOE_OK;
}

fsmoe_status fsm_model_create(const fsmoe_config *config, const fsm_ops *ops, const fsm_topo *topo,
                              fsm_comm *const groups[FSM_GROUP_COUNT], const fsm_model_options *options, fsm_model **model)
{
    fsm_model *m = calloc(1, sizeof *m);
    if (!m) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a model");
    m->config = config;
    m->ops = ops;
    m->topo = *topo;
    m->options = *options;
    memcpy(m->groups, groups, sizeof m->groups);
    m->head_dim = config->model.head_dim;
    m->heads = config->model.num_heads / topo->mp;
    m->kv_heads = config->model.num_kv_heads / topo->mp;
    m->qkv_width = (m->heads + 2 * m->kv_heads) * m->head_dim;
    m->ffn_width = config->model.ffn_hidden / topo->mp;
    fsmoe_status status = build(m);
    if (status == FSMOE_OK) *model = m;
    else fsm_model_destroy(m);
    return status;
}

void fsm_model_destroy(fsm_model *model)
{
    if (!model) return;
    if (model->arena.base && model->values) each_weight(model, destroy_weight);
    fsm_arena_destroy(&model->arena);
    fsm_arena_destroy(&model->param_arena);
    fsm_params_destroy(&model->params);
    free(model->layers);
    free(model);
}

/* ---- steps ---- */

void fsm_model_begin_step(fsm_model *model, int64_t micro_batches, int64_t tokens_in_step)
{
    model->aux_scale = 1.0 / (double)micro_batches;
    model->loss_scale = 1.0 / (double)tokens_in_step;
    model->step_aux = model->step_z = 0;
    memset(model->step_sums, 0, sizeof(double) * (size_t)model->sum_count);
    if (model->grads) model->ops->zero(model->params.elems, model->grads);
}

void fsm_model_begin_micro(fsm_model *model, const fsm_batch *batch, bool training)
{
    int64_t unit = token_unit(model->config), first, last;
    model->batch = *batch;
    model->train_step = training;
    model->n_group = batch->samples * batch->seq_len;
    for (int i = 0; i < model->topo.mp; i++) {
        fsm_topo_split(model->n_group, unit, model->topo.mp, i, &first, &last);
        model->group_tokens[i] = last - first;
        if (i != model->topo.mp_index) continue;
        model->local_first = first;
        model->n_local = last - first;
    }
    for (int64_t i = 0; i < model->n_group; i++) model->position[i] = (int32_t)(model->past + i % batch->seq_len);
    memset(model->sums, 0, sizeof(double) * (size_t)model->sum_count);
}
