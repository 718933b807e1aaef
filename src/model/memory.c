/* A model's memory: the layout functions run twice, over a measuring arena and over the real one. */
#include "model/model_parts.h"

/* Largest token counts of any micro-batch. */
typedef struct token_limits {
    int64_t group, local; /* of this rank's group; of any rank */
} token_limits;

int64_t fsm_token_unit(const fsmoe_config *config)
{
    return config->moe.capacity_group > 0 ? config->moe.capacity_group : 1;
}

static token_limits limits(const fsm_model *m)
{
    int64_t seq_len = m->options.cache ? m->config->model.max_seq_len : m->config->data.seq_len;
    token_limits most = {.group = m->options.max_samples * seq_len};
    for (int i = 0; i < m->topo.mp; i++) {
        int64_t first, last;
        fsm_topo_split(most.group, fsm_token_unit(m->config), m->topo.mp, i, &first, &last);
        if (last - first > most.local) most.local = last - first;
    }
    return most;
}

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
    l->x1 = FSM_ARENA_ARRAY(arena, float, most.local *hidden);
    l->x2 = FSM_ARENA_ARRAY(arena, float, most.local *hidden);
    l->h1 = FSM_ARENA_ARRAY(arena, float, most.group *hidden);
    l->qkv_out = FSM_ARENA_ARRAY(arena, float, most.group * m->qkv_width);
    l->attended = FSM_ARENA_ARRAY(arena, float, most.group *attended);
    l->lse = FSM_ARENA_ARRAY(arena, float, most.group * m->heads);
    l->h2 = FSM_ARENA_ARRAY(arena, float, (l->is_moe ? most.local : most.group) * hidden);
    if (m->options.cache) {
        l->cache_k = FSM_ARENA_ARRAY(arena, float, m->config->model.max_seq_len *kv);
        l->cache_v = FSM_ARENA_ARRAY(arena, float, m->config->model.max_seq_len *kv);
    }
    if (l->is_moe) {
        l->moe.experts = FSM_ARENA_ARRAY(arena, fsm_expert_weights, l->moe.local_experts);
        fsm_moe_take(arena, wire, &l->moe);
    } else {
        int64_t pre_width = m->ffn_width * fsm_expert_find(m->config->moe.expert)->pre_width;
        l->pre = FSM_ARENA_ARRAY(arena, float, most.group *pre_width);
        l->act = FSM_ARENA_ARRAY(arena, float, most.group * m->ffn_width);
    }
}

static void take_gradients(fsm_arena *arena, fsm_model *m, token_limits most)
{
    int64_t hidden = m->config->model.hidden;
    m->dx = FSM_ARENA_ARRAY(arena, float, most.local *hidden);
    m->dh = FSM_ARENA_ARRAY(arena, float, most.local *hidden);
    m->dh_full = FSM_ARENA_ARRAY(arena, float, most.group *hidden);
    m->dqkv = FSM_ARENA_ARRAY(arena, float, most.group * m->qkv_width);
    m->dattended = FSM_ARENA_ARRAY(arena, float, most.group * m->heads * m->head_dim);
    m->dact = FSM_ARENA_ARRAY(arena, float, most.group * m->ffn_width);
}

/* The largest that the model asks for. */
static fsm_attention_shape attention_shape(const fsm_model *m)
{
    int64_t seq_len = m->options.cache ? m->config->model.max_seq_len : m->config->data.seq_len;
    return (fsm_attention_shape){.batch = m->options.max_samples,
                                 .q_len = seq_len,
                                 .k_len = seq_len,
                                 .heads = m->heads,
                                 .kv_heads = m->kv_heads,
                                 .head_dim = m->head_dim,
                                 .ld_q = m->qkv_width,
                                 .ld_k = m->qkv_width,
                                 .ld_v = m->qkv_width,
                                 .ld_o = m->heads * m->head_dim,
                                 .sample_k = seq_len};
}

static void take_shared(fsm_arena *arena, fsm_model *m, token_limits most, const fsm_wire_shape *wire)
{
    const fsmoe_model_config *c = &m->config->model;
    m->position = FSM_ARENA_ARRAY(arena, int32_t, most.group);
    m->cosine = FSM_ARENA_ARRAY(arena, float, c->max_seq_len *(m->head_dim / 2));
    m->sine = FSM_ARENA_ARRAY(arena, float, c->max_seq_len *(m->head_dim / 2));
    m->x_out = FSM_ARENA_ARRAY(arena, float, most.local * c->hidden);
    m->h_final = FSM_ARENA_ARRAY(arena, float, most.local * c->hidden);
    m->logits = FSM_ARENA_ARRAY(arena, float, FSM_HEAD_BLOCK * c->vocab_size);
    m->full = FSM_ARENA_ARRAY(arena, float, most.group * c->hidden);
    m->sums = FSM_ARENA_ARRAY(arena, double, m->sum_count);
    m->step_sums = FSM_ARENA_ARRAY(arena, double, m->sum_count);
    m->loss_grads = FSM_ARENA_ARRAY(arena, double, 2 * m->moe_layers * m->config->moe.num_experts);
    take_norm(arena, m, most.local, &m->final_norm);
    if (m->moe_layers > 0) {
        fsm_moe_staging_take(arena, &m->config->moe, wire, c->hidden, c->ffn_hidden / m->topo.esp, &m->staging);
        fsm_moe_alltoall_take(arena, wire, c->hidden, &m->alltoall);
    }
    if (m->options.training) take_gradients(arena, m, most);
}

static void take_all(fsm_arena *arena, fsm_model *m)
{
    token_limits most = limits(m);
    fsm_wire_shape wire;
    fsm_moe_shape(&m->config->moe, m->topo.ep, m->topo.ep_index, m->topo.esp, m->topo.esp_index, most.local, &wire);
    wire.by_source = m->config->parallel.canonical_sums;
    m->nominal_rows = wire.nominal_rows;
    for (int i = 0; i < m->config->model.num_layers; i++) take_layer(arena, m, most, &wire, &m->layers[i]);
    take_shared(arena, m, most, &wire);
}

static size_t arena_bytes(fsm_model *m)
{
    fsm_arena measure = {0};
    take_all(&measure, m);
    return measure.used;
}

size_t fsm_model_buffer_bytes(fsm_model *m)
{
    fsm_attention_shape shape = attention_shape(m);
    return arena_bytes(m) + m->ops->attention_work_bytes(m->ops, &shape);
}

fsmoe_status fsm_model_allocate(fsm_model *m)
{
    fsm_attention_shape shape = attention_shape(m);
    if (!m->ops->attention_reserve(m->ops, &shape))
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for attention on %lld tokens", (long long)shape.k_len);
    FSM_TRY(fsm_arena_create(arena_bytes(m), &m->arena));
    take_all(&m->arena, m);
    size_t bytes = sizeof(float) * (size_t)m->params.elems;
    FSM_TRY(fsm_arena_create(2 * (bytes + 64), &m->param_arena));
    m->values = fsm_arena_take(&m->param_arena, bytes);
    m->grads = m->options.training ? fsm_arena_take(&m->param_arena, bytes) : NULL;
    return FSMOE_OK;
}
