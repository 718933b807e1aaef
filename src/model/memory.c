/* A model's memory: the layout functions run twice, over a measuring memory and over the real one. What passes hold is
 * in a memory of its own, where training's passes and a whole one lie over each other: nothing in a pass outlives its
 * step. */
#include "config/config.h"
#include "model/model_parts.h"

#include <string.h>

const fsm_moe *fsm_first_moe(const fsm_model *m)
{
    return m->moe_layers > 0 ? &m->layers[fsm_layer_of_moe(m->config->model.moe_every, 0)].moe : NULL;
}

/* ---- what all passes share ---- */

static void take_cache(fsm_memory *memory, const fsm_model *m, fsm_layer *l)
{
    int64_t elems = m->options.cache_regions * m->options.cache_len * m->kv_heads * m->head_dim;
    l->cache_k = fsm_take_rows(memory, elems);
    l->cache_v = fsm_take_rows(memory, elems);
}

static void take_sums(fsm_memory *memory, fsm_model *m)
{
    m->step_sums = fsm_take_sums(memory, m->sum_count);
    m->step_losses = fsm_take_sums(memory, 2);
    m->totals = FSM_TAKE_HOST(memory, double, m->sum_count);
    for (int i = 0; i < FSM_MAX_LANES; i++) {
        fsm_micro_sums *s = &m->micro_sums[i];
        s->sums = fsm_take_sums(memory, m->sum_count);
        s->loss_grads = fsm_take_sums(memory, 2 * m->moe_layers * m->config->moe.num_experts);
        s->z_coeff = fsm_take_sums(memory, m->moe_layers);
    }
}

static void take_shared(fsm_memory *memory, fsm_model *m)
{
    const fsmoe_model_config *c = &m->config->model;
    m->cosine = fsm_take_reals(memory, c->max_seq_len * (m->head_dim / 2));
    m->sine = fsm_take_reals(memory, c->max_seq_len * (m->head_dim / 2));
    take_sums(memory, m);
    for (int i = 0; i < c->num_layers; i++) {
        if (m->options.cache_regions > 0) take_cache(memory, m, &m->layers[i]);
        if (m->layers[i].is_moe) fsm_moe_weights_take(memory, &m->layers[i].moe);
    }
    fsm_pass_scratch_take(memory, m->options.max_samples, m);
}

/* Before there are operations, rows are those that the configuration asks for. */
static fsm_memory measuring(const fsm_model *m)
{
    return m->ops ? fsm_memory_measure_for(m->ops) : fsm_memory_measure(fsm_config_row_bytes(m->config));
}

static fsm_memory measure_shared(fsm_model *m)
{
    fsm_memory measure = measuring(m);
    take_shared(&measure, m);
    return measure;
}

/* The largest that the model asks for. */
static fsm_attention_shape attention_shape(const fsm_model *m)
{
    int64_t seq_len = m->config->data.seq_len, cache_len = m->options.cache_len;
    return (fsm_attention_shape){.batch = m->options.max_samples,
                                 .q_len = seq_len,
                                 .k_len = seq_len > cache_len ? seq_len : cache_len,
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

int64_t fsm_model_eval_samples(const fsm_model *m)
{
    int64_t most = m->options.max_samples;
    return m->options.training ? fsm_lanes_eval_samples(m->config, &m->topo, most) : most;
}

static void take_whole(fsm_memory *memory, fsm_model *m)
{
    int64_t samples = fsm_model_eval_samples(m);
    m->passes[0].sums = &m->micro_sums[0];
    fsm_pass_take(memory, samples, samples, false, 0, &m->passes[0]);
}

/* Evaluation has a pass of its own where training's are parts. */
static void take_lanes(fsm_memory *memory, fsm_model *m, int lanes, int parts, int spare)
{
    int64_t eval_samples = parts == 1 ? fsm_model_eval_samples(m) : 0;
    for (int lane = 0; lane < lanes; lane++) {
        int64_t first, last;
        fsm_lanes_part(m->options.max_samples, parts, lane % parts, &first, &last);
        m->passes[lane].sums = &m->micro_sums[lane / parts];
        fsm_pass_take(memory, last - first, eval_samples, m->options.training, spare, &m->passes[lane]);
    }
}

static fsm_memory measure_whole(fsm_model *m)
{
    fsm_memory measure = measuring(m);
    take_whole(&measure, m);
    return measure;
}

static fsm_memory measure_lanes(fsm_model *m, int lanes, int parts, int spare)
{
    fsm_memory measure = measuring(m);
    take_lanes(&measure, m, lanes, parts, spare);
    return measure;
}

static size_t lanes_bytes(fsm_model *m, int lanes, int parts, int spare)
{
    fsm_memory measure = measure_lanes(m, lanes, parts, spare);
    return fsm_memory_used(&measure);
}

/* Where training's passes are whole ones, the first of them serves for both. */
void fsm_model_lay_out(fsm_model *m, bool whole)
{
    fsm_memory_rewind(&m->pass_memory);
    m->whole = whole && m->parts > 1;
    if (m->whole) take_whole(&m->pass_memory, m);
    else take_lanes(&m->pass_memory, m, m->lanes, m->parts, m->spare);
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
    fsm_memory memory, before = m->pass_memory, most = measure_lanes(m, lanes, parts, spare), whole = measure_whole(m);
    fsm_memory_grow(&most, &whole);
    bool fits = fsm_memory_holds(&before, &most);
    fsmoe_status status = fits ? FSMOE_OK : fsm_memory_create(&most, &memory);
    if (status == FSMOE_OK) m->lanes = lanes, m->parts = parts, m->spare = spare;
    if (status == FSMOE_OK && !fits) {
        m->pass_memory = memory;
        fsm_memory_destroy(&before);
    }
    if (m->pass_memory.host.base) fsm_model_lay_out(m, false); /* measuring has left the passes without memory */
    return status;
}

/* ---- all of it ---- */

static void take_params(fsm_memory *memory, fsm_model *m)
{
    m->values = fsm_take_reals(memory, m->params.elems);
    m->grads = m->options.training ? fsm_take_reals(memory, m->params.elems) : NULL;
}

fsmoe_status fsm_model_allocate(fsm_model *m)
{
    fsm_attention_shape shape = attention_shape(m);
    if (!m->ops->attention_reserve(m->ops, &shape))
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for attention on %lld tokens", (long long)shape.k_len);
    fsm_memory shared = measure_shared(m), params = measuring(m);
    FSM_TRY(fsm_memory_create(&shared, &m->memory));
    take_shared(&m->memory, m);
    FSM_TRY(fsm_model_use_lanes(m, 1, 1, 0));
    take_params(&params, m);
    FSM_TRY(fsm_memory_create(&params, &m->param_memory));
    take_params(&m->param_memory, m);
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
    fsm_memory shared = measure_shared(m), whole = measure_whole(m);
    memory->fixed_bytes = fsm_memory_used(&shared) + (m->ops ? m->ops->attention_work_bytes(m->ops, &shape) : 0);
    memory->whole_bytes = fsm_memory_used(&whole);
    for (int parts = 1; parts <= FSM_MAX_LANES; parts++) {
        memory->pass_bytes[parts - 1] = lanes_bytes(m, parts, parts, 0);
        memory->spare_bytes[parts - 1] = lanes_bytes(m, parts, parts, 1) - memory->pass_bytes[parts - 1];
    }
}

static void add_kinds(const fsm_memory *memory, fsm_model_kinds *kinds)
{
    for (int i = 0; i < FSM_MEMORY_KINDS; i++) kinds->taken[i] += memory->taken[i];
    kinds->host += memory->host.used;
}

void fsm_model_measure_lanes(fsm_model *m, int lanes, int parts, int spare, fsm_model_kinds *kinds)
{
    fsm_attention_shape shape = attention_shape(m);
    fsm_memory shared = measure_shared(m), passes = measure_lanes(m, lanes, parts, spare), whole = measure_whole(m);
    *kinds = (fsm_model_kinds){.param_elems = m->params.elems, .packed = fsm_model_packed_bytes(m)};
    add_kinds(&shared, kinds);
    add_kinds(fsm_memory_used(&whole) > fsm_memory_used(&passes) ? &whole : &passes, kinds);
    if (m->ops) kinds->taken[FSM_MEMORY_WORKSPACE] += m->ops->attention_work_bytes(m->ops, &shape);
}
