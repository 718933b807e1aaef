/* A model's memory: the layout functions run twice, over a measuring arena and over the real one. What passes hold is in an
 * arena of its own, where training's passes and a whole one lie over each other: nothing in a pass outlives its step. */
#include "model/model_parts.h"

#include <string.h>

const fsm_moe *fsm_first_moe(const fsm_model *m)
{
    return m->moe_layers > 0 ? &m->layers[fsm_layer_of_moe(m->config->model.moe_every, 0)].moe : NULL;
}

/* ---- what all passes share ---- */

static void take_cache(fsm_arena *arena, const fsm_model *m, fsm_layer *l)
{
    int64_t elems = m->config->model.max_seq_len * m->kv_heads * m->head_dim;
    l->cache_k = FSM_ARENA_ARRAY(arena, float, elems);
    l->cache_v = FSM_ARENA_ARRAY(arena, float, elems);
}

static void take_sums(fsm_arena *arena, fsm_model *m)
{
    m->step_sums = FSM_ARENA_ARRAY(arena, double, m->sum_count);
    for (int i = 0; i < FSM_MAX_LANES; i++) {
        fsm_micro_sums *s = &m->micro_sums[i];
        s->sums = FSM_ARENA_ARRAY(arena, double, m->sum_count);
        s->loss_grads = FSM_ARENA_ARRAY(arena, double, 2 * m->moe_layers * m->config->moe.num_experts);
        s->log_sum_coeff = FSM_ARENA_ARRAY(arena, double, m->moe_layers);
    }
}

static void take_shared(fsm_arena *arena, fsm_model *m)
{
    const fsmoe_model_config *c = &m->config->model;
    m->cosine = FSM_ARENA_ARRAY(arena, float, c->max_seq_len *(m->head_dim / 2));
    m->sine = FSM_ARENA_ARRAY(arena, float, c->max_seq_len *(m->head_dim / 2));
    take_sums(arena, m);
    for (int i = 0; i < c->num_layers; i++) {
        if (m->options.cache) take_cache(arena, m, &m->layers[i]);
        if (m->layers[i].is_moe) fsm_moe_weights_take(arena, &m->layers[i].moe);
    }
    fsm_pass_scratch_take(arena, m->options.max_samples, m);
}

static size_t shared_bytes(fsm_model *m)
{
    fsm_arena measure = {0};
    take_shared(&measure, m);
    return measure.used;
}

/* The largest that the model asks for. */
static fsm_attention_shape attention_shape(const fsm_model *m)
{
    int64_t seq_len = m->config->data.seq_len;
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

/* ---- passes ---- */

static void take_whole(fsm_arena *arena, fsm_model *m)
{
    m->passes[0].sums = &m->micro_sums[0];
    fsm_pass_take(arena, m->options.max_samples, false, 0, &m->passes[0]);
}

static void take_lanes(fsm_arena *arena, fsm_model *m, int lanes, int parts, int spare)
{
    for (int lane = 0; lane < lanes; lane++) {
        int64_t first, last;
        fsm_lanes_part(m->options.max_samples, parts, lane % parts, &first, &last);
        m->passes[lane].sums = &m->micro_sums[lane / parts];
        fsm_pass_take(arena, last - first, m->options.training, spare, &m->passes[lane]);
    }
}

static size_t whole_bytes(fsm_model *m)
{
    fsm_arena measure = {0};
    take_whole(&measure, m);
    return measure.used;
}

static size_t lanes_bytes(fsm_model *m, int lanes, int parts, int spare)
{
    fsm_arena measure = {0};
    take_lanes(&measure, m, lanes, parts, spare);
    return measure.used;
}

/* Where training's passes are whole ones, the first of them serves for both. */
void fsm_model_lay_out(fsm_model *m, bool whole)
{
    m->pass_arena.used = 0;
    m->whole = whole && m->parts > 1;
    if (m->whole) take_whole(&m->pass_arena, m);
    else take_lanes(&m->pass_arena, m, m->lanes, m->parts, m->spare);
}

void fsm_model_use_whole(fsm_model *model)
{
    if (!model->whole && model->parts > 1) fsm_model_lay_out(model, true);
}

void fsm_model_use_for_training(fsm_model *model)
{
    if (model->whole) fsm_model_lay_out(model, false);
}

fsmoe_status fsm_model_use_lanes(fsm_model *m, int lanes, int parts, int spare)
{
    if (lanes == m->lanes && parts == m->parts && spare == m->spare) return FSMOE_OK;
    fsm_arena arena, before = m->pass_arena;
    size_t of_lanes = lanes_bytes(m, lanes, parts, spare), whole = whole_bytes(m);
    size_t bytes = of_lanes > whole ? of_lanes : whole;
    bool fits = before.base && bytes <= before.capacity;
    fsmoe_status status = fits ? FSMOE_OK : fsm_arena_create(bytes, &arena);
    if (status == FSMOE_OK) m->lanes = lanes, m->parts = parts, m->spare = spare;
    if (status == FSMOE_OK && !fits) {
        m->pass_arena = arena;
        fsm_arena_destroy(&before);
    }
    if (m->pass_arena.base) fsm_model_lay_out(m, false); /* measuring has left the passes without memory */
    return status;
}

/* ---- all of it ---- */

fsmoe_status fsm_model_allocate(fsm_model *m)
{
    fsm_attention_shape shape = attention_shape(m);
    if (!m->ops->attention_reserve(m->ops, &shape))
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for attention on %lld tokens", (long long)shape.k_len);
    FSM_TRY(fsm_arena_create(shared_bytes(m), &m->arena));
    take_shared(&m->arena, m);
    FSM_TRY(fsm_model_use_lanes(m, 1, 1, 0));
    size_t bytes = sizeof(float) * (size_t)m->params.elems;
    FSM_TRY(fsm_arena_create(2 * (bytes + 64), &m->param_arena));
    m->values = fsm_arena_take(&m->param_arena, bytes);
    m->grads = m->options.training ? fsm_arena_take(&m->param_arena, bytes) : NULL;
    return FSMOE_OK;
}

/* Layers of a step with their widest array, matrices of orders among them. */
bool fsm_model_is_absurd(const fsmoe_config *config, int64_t samples)
{
    const fsmoe_model_config *m = &config->model;
    int gemms;
    int64_t columns;
    fsm_moe_products(&config->moe, samples * config->data.seq_len, &gemms, &columns);
    double widths[] = {(double)m->hidden, 2 * (double)m->ffn_hidden, (double)m->vocab_size,
                       (double)(m->num_heads * m->head_dim), (double)columns};
    double widest = 0, tokens = (double)samples * (double)config->data.seq_len;
    double rows = tokens * (double)config->moe.top_k * (1 + config->moe.capacity_factor);
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) widest = widths[i] > widest ? widths[i] : widest;
    return rows * widest * (double)m->num_layers > 0x1p50;
}

void fsm_model_measure_buffers(fsm_model *m, fsm_model_memory *memory)
{
    fsm_attention_shape shape = attention_shape(m);
    memory->fixed_bytes = shared_bytes(m) + (m->ops ? m->ops->attention_work_bytes(m->ops, &shape) : 0);
    memory->whole_bytes = whole_bytes(m);
    for (int parts = 1; parts <= FSM_MAX_LANES; parts++) {
        memory->pass_bytes[parts - 1] = lanes_bytes(m, parts, parts, 0);
        memory->spare_bytes[parts - 1] = lanes_bytes(m, parts, parts, 1) - memory->pass_bytes[parts - 1];
    }
}
