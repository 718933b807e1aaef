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

static int64_t pre_width_of(const fsm_model *m)
{
    return fsm_expert_find(m->config->moe.expert)->pre_width;
}

/* NULL: there is none. */
static const fsm_moe *first_moe(const fsm_model *m)
{
    for (int i = 0; i < m->config->model.num_layers; i++)
        if (m->layers[i].is_moe) return &m->layers[i].moe;
    return NULL;
}

static fsm_wire_shape wire_shape(const fsm_model *m, token_limits most)
{
    fsm_wire_shape wire;
    fsm_moe_shape(&m->config->moe, m->topo.ep, m->topo.ep_index, m->topo.esp, m->topo.esp_index, most.local, &wire);
    wire.by_source = m->config->parallel.canonical_sums;
    return wire;
}

/* ---- a pass ---- */

static void take_norm(fsm_arena *arena, const fsm_model *m, int64_t n, fsm_norm_pass *norm)
{
    norm->mean = m->params.family->layernorm ? FSM_ARENA_ARRAY(arena, float, n) : NULL;
    norm->rstd = FSM_ARENA_ARRAY(arena, float, n);
}

static void take_layer(fsm_arena *arena, const fsm_pass *pass, token_limits most, const fsm_wire_shape *wire,
                       const fsm_layer *l, fsm_layer_pass *saved)
{
    const fsm_model *m = pass->model;
    int64_t hidden = fsm_pass_hidden(pass);
    take_norm(arena, m, most.local, &saved->norm1);
    take_norm(arena, m, most.local, &saved->norm2);
    saved->x1 = FSM_ARENA_ARRAY(arena, float, most.local *hidden);
    saved->x2 = FSM_ARENA_ARRAY(arena, float, most.local *hidden);
    saved->h1 = FSM_ARENA_ARRAY(arena, float, most.group *hidden);
    saved->qkv_out = FSM_ARENA_ARRAY(arena, float, most.group * m->qkv_width);
    saved->attended = FSM_ARENA_ARRAY(arena, float, most.group * m->heads * m->head_dim);
    saved->lse = FSM_ARENA_ARRAY(arena, float, most.group * m->heads);
    saved->h2 = FSM_ARENA_ARRAY(arena, float, (l->is_moe ? most.local : most.group) * hidden);
    if (l->is_moe) {
        fsm_moe_take(arena, &l->moe, wire, &m->moe_scratch, &pass->staging, &saved->moe);
    } else {
        saved->pre = FSM_ARENA_ARRAY(arena, float, most.group * m->ffn_width * pre_width_of(m));
        saved->act = FSM_ARENA_ARRAY(arena, float, most.group * m->ffn_width);
    }
}

static void take_pass(fsm_arena *arena, token_limits most, fsm_pass *pass)
{
    const fsm_model *m = pass->model;
    int64_t hidden = fsm_pass_hidden(pass);
    fsm_wire_shape wire = wire_shape(m, most);
    pass->position = FSM_ARENA_ARRAY(arena, int32_t, most.group);
    pass->x_out = FSM_ARENA_ARRAY(arena, float, most.local *hidden);
    pass->h_final = FSM_ARENA_ARRAY(arena, float, most.local *hidden);
    pass->full = FSM_ARENA_ARRAY(arena, float, most.group *hidden);
    take_norm(arena, m, most.local, &pass->final_norm);
    if (m->options.training) {
        pass->dx = FSM_ARENA_ARRAY(arena, float, most.local *hidden);
        pass->dh = FSM_ARENA_ARRAY(arena, float, most.local *hidden);
        pass->dh_full = FSM_ARENA_ARRAY(arena, float, most.group *hidden);
    }
    if (m->moe_layers > 0) fsm_moe_staging_take(arena, first_moe(m), &wire, &pass->staging);
    for (int i = 0; i < m->config->model.num_layers; i++)
        take_layer(arena, pass, most, &wire, &m->layers[i], &pass->layers[i]);
}

/* ---- what all passes share ---- */

static void take_cache(fsm_arena *arena, const fsm_model *m, fsm_layer *l)
{
    int64_t elems = m->config->model.max_seq_len * m->kv_heads * m->head_dim;
    l->cache_k = FSM_ARENA_ARRAY(arena, float, elems);
    l->cache_v = FSM_ARENA_ARRAY(arena, float, elems);
}

static void take_scratch(fsm_arena *arena, fsm_model *m, token_limits most)
{
    fsm_wire_shape wire = wire_shape(m, most);
    m->logits = FSM_ARENA_ARRAY(arena, float, FSM_HEAD_BLOCK * m->config->model.vocab_size);
    if (m->moe_layers > 0) {
        fsm_moe_scratch_take(arena, first_moe(m), &wire, &m->moe_scratch);
        fsm_moe_alltoall_take(arena, &wire, m->config->model.hidden, &m->alltoall);
    }
    if (!m->options.training) return;
    m->dqkv = FSM_ARENA_ARRAY(arena, float, most.group * m->qkv_width);
    m->dattended = FSM_ARENA_ARRAY(arena, float, most.group * m->heads * m->head_dim);
    m->dact = FSM_ARENA_ARRAY(arena, float, most.group * m->ffn_width);
}

static void take_shared(fsm_arena *arena, fsm_model *m, token_limits most)
{
    const fsmoe_model_config *c = &m->config->model;
    m->cosine = FSM_ARENA_ARRAY(arena, float, c->max_seq_len *(m->head_dim / 2));
    m->sine = FSM_ARENA_ARRAY(arena, float, c->max_seq_len *(m->head_dim / 2));
    m->sums = FSM_ARENA_ARRAY(arena, double, m->sum_count);
    m->step_sums = FSM_ARENA_ARRAY(arena, double, m->sum_count);
    m->loss_grads = FSM_ARENA_ARRAY(arena, double, 2 * m->moe_layers * m->config->moe.num_experts);
    for (int i = 0; i < c->num_layers; i++) {
        if (m->options.cache) take_cache(arena, m, &m->layers[i]);
        if (m->layers[i].is_moe) fsm_moe_weights_take(arena, &m->layers[i].moe);
    }
    take_scratch(arena, m, most);
}

static void take_all(fsm_arena *arena, fsm_model *m)
{
    token_limits most = limits(m);
    m->nominal_rows = wire_shape(m, most).nominal_rows;
    take_shared(arena, m, most);
    take_pass(arena, most, &m->pass);
}

/* ---- sizes, and the memory itself ---- */

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
