#include "config/config.h"
#include "model/model_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- packed weights ---- */

/* Copies of a table whose rows are bf16 may be so, too, and routing is fp32. */
bool fsm_model_packs_gates(const fsm_model *m)
{
    return m->ops->row_bytes == FSM_REAL_BYTES;
}

/* Calls fn on every weight matrix; false when one call failed. */
static bool each_weight(fsm_model *m, bool (*fn)(const fsm_ops *, fsm_weight *))
{
    bool ok = fn(m->ops, &m->head);
    for (int i = 0; i < m->config->model.num_layers; i++) {
        fsm_layer *l = &m->layers[i];
        const fsm_experts *experts = &l->moe.experts, *shared = &l->moe.shared.experts;
        ok &= fn(m->ops, &l->qkv) && fn(m->ops, &l->o);
        for (int64_t e = 0; l->is_moe && e < l->moe.local_experts; e++)
            ok &= fn(m->ops, &experts->in[e].weight) && fn(m->ops, &experts->out[e].weight);
        for (int s = 0; l->is_moe && fsm_model_packs_gates(m) && s < FSM_MAX_PARAMS_A_MODULE; s++)
            if (l->moe.gate.weights[s].w) ok &= fn(m->ops, &l->moe.gate.weights[s]);
        for (int s = 0; l->is_moe && s < l->moe.shared.count; s++)
            ok &= fn(m->ops, &shared->in[s].weight) && fn(m->ops, &shared->out[s].weight);
        if (!l->is_moe) ok &= fn(m->ops, &l->ffn_in.weight) && fn(m->ops, &l->ffn_out.weight);
    }
    return ok;
}

static bool create_weight(const fsm_ops *ops, fsm_weight *weight)
{
    return ops->weight_create(ops, weight);
}

static bool update_weight(const fsm_ops *ops, fsm_weight *weight)
{
    ops->weight_update(ops, weight);
    return true;
}

static bool destroy_weight(const fsm_ops *ops, fsm_weight *weight)
{
    if (weight->w) ops->weight_destroy(ops, weight);
    return true;
}

void fsm_model_update_weights(fsm_model *model)
{
    each_weight(model, update_weight);
}

/* ---- creation ---- */

/* Angles of rotary embedding, position * theta^(-2i / head_dim): of so many positions from `first` on. */
static void rotations(const fsm_model *m, int64_t first, int64_t count, float *cosine, float *sine)
{
    int64_t half = m->head_dim / 2;
    for (int64_t at = 0; at < count * half; at++) {
        double turns = pow(m->config->model.rope_theta, -2.0 * (double)(at % half) / (double)m->head_dim);
        double angle = (double)(first + at / half) * turns;
        cosine[at] = (float)cos(angle);
        sine[at] = (float)sin(angle);
    }
}

/* In pieces: the whole table of a long context is large, and one position's a copy too many. */
static fsmoe_status fill_rotations(fsm_model *m)
{
    enum { PIECE = 256 };
    int64_t half = m->head_dim / 2, positions = m->config->model.max_seq_len;
    float *cosine = malloc(2 * PIECE * sizeof *cosine * (size_t)(half + 1)), *sine = cosine + PIECE * half;
    if (!cosine) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for rotary embeddings");
    for (int64_t first = 0; first < positions; first += PIECE) {
        int64_t count = positions - first < PIECE ? positions - first : PIECE;
        size_t bytes = sizeof(float) * (size_t)(count * half);
        rotations(m, first, count, cosine, sine);
        m->ops->write(m->ops, bytes, cosine, fsm_real_at(m->cosine, first * half));
        m->ops->write(m->ops, bytes, sine, fsm_real_at(m->sine, first * half));
    }
    free(cosine);
    return FSMOE_OK;
}

static fsmoe_status select_layer(fsm_model *m, int index, fsm_layer *l)
{
    const fsmoe_config *c = m->config;
    l->index = index;
    l->is_moe = fsm_layer_is_moe(c->model.moe_every, index);
    if (!l->is_moe) return FSMOE_OK;
    m->moe_layers++;
    FSM_TRY(fsm_moe_select(&c->moe, &l->moe));
    fsm_moe_place(m->ops, m->link_ops, &m->topo, m->groups, &m->alltoall, &m->hooks, c->model.hidden,
                  c->model.ffn_hidden, &l->moe);
    return fsm_expert_check_host(l->moe.expert, m->ops);
}

static fsmoe_status select_layers(fsm_model *m)
{
    const fsmoe_config *c = m->config;
    m->layers = calloc((size_t)c->model.num_layers, sizeof *m->layers);
    m->layer_passes = calloc((size_t)(FSM_MAX_LANES * c->model.num_layers), sizeof *m->layer_passes);
    if (!m->layers || !m->layer_passes)
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for %lld layers", (long long)c->model.num_layers);
    for (int lane = 0; lane < FSM_MAX_LANES; lane++)
        m->passes[lane] = (fsm_pass){.model = m, .layers = m->layer_passes + lane * c->model.num_layers};
    FSM_TRY(fsm_alltoall_select(c->moe.alltoall, &m->topo, m->groups[FSM_GROUP_EP], &m->alltoall));
    for (int i = 0; i < c->model.num_layers; i++) FSM_TRY(select_layer(m, i, &m->layers[i]));
    m->sum_count = m->moe_layers * FSM_GATE_SUMS_COUNT(c->moe.num_experts) + 2;
    return FSMOE_OK;
}

static fsmoe_status build(fsm_model *m)
{
    FSM_TRY(fsm_params_create(m->config, &m->topo, &m->params));
    if (m->topo.mp > FSM_MAX_MP)
        return fsm_fail(FSMOE_ERROR_LAYOUT, "parallel.mp_size = %d is above %d", m->topo.mp, FSM_MAX_MP);
    FSM_TRY(fsm_hooks_create(m->config, m->topo.rank, &m->hooks));
    FSM_TRY(select_layers(m));
    FSM_TRY(fsm_model_allocate(m));
    fsm_model_bind(m);
    FSM_TRY(fill_rotations(m));
    if (!each_weight(m, create_weight)) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for packed weights");
    return FSMOE_OK;
}

static fsm_model *new_model(const fsmoe_config *config, fsm_ops *ops, const fsm_topo *topo,
                            const fsm_model_options *options)
{
    fsm_model *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->config = config;
    m->ops = ops;
    m->link_ops = options->link_ops ? options->link_ops : ops;
    m->topo = *topo;
    m->options = *options;
    m->head_dim = config->model.head_dim;
    m->heads = config->model.num_heads / topo->mp;
    m->kv_heads = config->model.num_kv_heads / topo->mp;
    m->qkv_width = (m->heads + 2 * m->kv_heads) * m->head_dim;
    m->ffn_width = config->model.ffn_hidden / topo->mp;
    return m;
}

fsmoe_status fsm_model_create(const fsmoe_config *config, fsm_ops *ops, const fsm_topo *topo,
                              fsm_comm *const groups[FSM_GROUP_COUNT], const fsm_model_options *options,
                              fsm_model **model)
{
    fsm_model *m = new_model(config, ops, topo, options);
    if (!m) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a model");
    memcpy(m->groups, groups, sizeof m->groups);
    fsmoe_status status = fsm_config_place(config, build(m));
    if (status == FSMOE_OK) *model = m;
    else fsm_model_destroy(m);
    return status;
}

/* A model without memory, to be measured. */
static fsmoe_status create_hollow(const fsmoe_config *config, fsm_ops *ops, const fsm_topo *topo,
                                  const fsm_model_options *options, fsm_model **model)
{
    fsm_model *m = new_model(config, ops, topo, options);
    if (!m) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to measure a model");
    fsmoe_status status = fsm_params_create(config, topo, &m->params);
    if (status == FSMOE_OK) status = select_layers(m);
    status = fsm_config_place(config, status);
    if (status == FSMOE_OK) *model = m;
    else fsm_model_destroy(m);
    return status;
}

fsmoe_status fsm_model_measure(const fsmoe_config *config, fsm_ops *ops, const fsm_topo *topo,
                               const fsm_model_options *options, fsm_model_memory *memory)
{
    fsm_model *m = NULL;
    FSM_TRY(create_hollow(config, ops, topo, options, &m));
    memory->param_elems = m->params.elems;
    fsm_model_measure_buffers(m, memory);
    fsm_model_destroy(m);
    return FSMOE_OK;
}

fsmoe_status fsm_model_measure_kinds(const fsmoe_config *config, fsm_ops *ops, const fsm_topo *topo,
                                     const fsm_model_options *options, int lanes, int parts, int spare, bool expected,
                                     fsm_model_kinds *kinds)
{
    fsm_model *m = NULL;
    FSM_TRY(create_hollow(config, ops, topo, options, &m));
    m->expects = expected;
    fsm_model_measure_lanes(m, lanes, parts, spare, kinds);
    fsm_model_destroy(m);
    return FSMOE_OK;
}

void fsm_model_destroy(fsm_model *model)
{
    if (!model) return;
    if (model->memory.host.base && model->values) each_weight(model, destroy_weight);
    fsm_hooks_destroy(&model->hooks);
    fsm_memory_destroy(&model->pass_memory);
    fsm_memory_destroy(&model->memory);
    fsm_memory_destroy(&model->param_memory);
    fsm_params_destroy(&model->params);
    free(model->layer_passes);
    free(model->layers);
    free(model);
}

/* ---- steps ---- */

void fsm_model_begin_step(fsm_model *model, int64_t micro_batches, int64_t tokens_in_step)
{
    model->aux_scale = 1.0 / (double)micro_batches;
    model->loss_scale = 1.0 / (double)tokens_in_step;
    const fsm_ops *ops = model->ops;
    ops->zero_sums(ops, 2, model->step_losses);
    ops->zero_sums(ops, model->sum_count, model->step_sums);
    for (int i = 0; i < FSM_MAX_LANES; i++) /* a step that failed may have left some */
        ops->zero_sums(ops, model->sum_count, model->micro_sums[i].sums);
    if (model->grads) ops->zero(ops, model->params.elems, model->grads);
}
