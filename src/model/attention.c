/* Attention: norm, all-gather of tokens, this rank's heads, reduce-scatter back to this rank's tokens. */
#include "model/model_parts.h"

#include <math.h>
#include <string.h>

void fsm_model_norm_forward(fsm_model *model, int layer)
{
    fsm_layer *l = &model->layers[layer];
    if (layer > 0) fsm_add_ffn_residual(model, layer - 1);
    fsm_norm_forward(model, &l->norm1, l->x1, fsm_own_rows(model, l->h1));
}

fsmoe_status fsm_model_start_mp_allgather_forward(fsm_model *model, int layer, fsm_comm_op *op)
{
    fsm_layer *l = &model->layers[layer];
    return fsm_mp_start_allgather(model, op, fsm_own_rows(model, l->h1), l->h1);
}

static fsm_attention_shape attention_shape(const fsm_model *m)
{
    return (fsm_attention_shape){
        .batch = m->batch.samples,
        .q_len = m->batch.seq_len,
        .k_len = m->batch.seq_len,
        .heads = m->heads,
        .kv_heads = m->kv_heads,
        .head_dim = m->head_dim,
        .ld_q = m->qkv_width,
        .ld_k = m->qkv_width,
        .ld_v = m->qkv_width,
        .ld_o = m->heads * m->head_dim,
        .sample_k = m->batch.seq_len,
        .scale = 1.0f / sqrtf((float)m->head_dim),
    };
}

static void rotate(const fsm_model *m, int direction, float *qkv)
{
    if (m->params.family->learned_positions) return;
    m->ops->rope(m->ops, m->n_group, m->heads + m->kv_heads, m->head_dim, m->position, m->cosine, m->sine, direction,
                 qkv, m->qkv_width);
}

/* New keys and values go behind the cached ones; queries look at all of them. */
static void attend_cached(const fsm_model *m, fsm_layer *l)
{
    int64_t kv_width = m->kv_heads * m->head_dim, k_at = m->heads * m->head_dim;
    for (int64_t i = 0; i < m->n_group; i++) {
        const float *k = l->qkv_out + i * m->qkv_width + k_at;
        memcpy(l->cache_k + (m->past + i) * kv_width, k, sizeof(float) * (size_t)kv_width);
        memcpy(l->cache_v + (m->past + i) * kv_width, k + kv_width, sizeof(float) * (size_t)kv_width);
    }
    fsm_attention_shape shape = attention_shape(m);
    shape.k_len = m->past + m->n_group;
    shape.ld_k = shape.ld_v = kv_width;
    shape.sample_k = m->config->model.max_seq_len;
    m->ops->attention_forward(m->ops, &shape, l->qkv_out, l->cache_k, l->cache_v, l->attended, l->lse);
}

static void attend(const fsm_model *m, fsm_layer *l)
{
    fsm_attention_shape shape = attention_shape(m);
    const float *q = l->qkv_out, *k = q + m->heads * m->head_dim, *v = k + m->kv_heads * m->head_dim;
    m->ops->attention_forward(m->ops, &shape, q, k, v, l->attended, l->lse);
}

/* This rank's heads' part of x2; the rest is added when the parts have been summed. */
void fsm_model_attention_forward(fsm_model *model, int layer)
{
    fsm_layer *l = &model->layers[layer];
    const fsm_ops *ops = model->ops;
    int64_t hidden = model->config->model.hidden, attended_width = model->heads * model->head_dim;
    ops->linear_forward(ops, model->n_group, &l->qkv, l->qkv_bias.value, l->h1, hidden, l->qkv_out, model->qkv_width);
    rotate(model, +1, l->qkv_out);
    if (model->options.cache) attend_cached(model, l);
    else attend(model, l);
    float *out = model->topo.mp > 1 ? model->full : l->x2;
    ops->linear_forward(ops, model->n_group, &l->o, NULL, l->attended, attended_width, out, hidden);
}

void fsm_add_attention_residual(fsm_model *model, fsm_layer *l)
{
    int64_t hidden = model->config->model.hidden;
    model->ops->add(model->ops, model->n_local * hidden, l->x1, l->x2);
    for (int64_t i = 0; i < model->n_local && l->o_bias.value; i++)
        model->ops->add(model->ops, hidden, l->o_bias.value, l->x2 + i * hidden);
}

fsmoe_status fsm_model_start_mp_reducescatter_forward(fsm_model *model, int layer, fsm_comm_op *op)
{
    return fsm_mp_start_reducescatter(model, op, model->full, model->layers[layer].x2);
}

fsmoe_status fsm_model_start_mp_allgather_backward(fsm_model *model, int layer, fsm_comm_op *op)
{
    (void)layer;
    return fsm_mp_start_allgather(model, op, model->dx, model->full);
}

/* q.(k + b) = q.k + q.b adds the same to all scores of a query, which softmax does not see: without rotation the key
 * bias has no gradient. What sums to it is rounding, and AdamW would turn rounding into steps of the learning rate. */
static void clear_key_bias_gradient(const fsm_model *m, fsm_layer *l)
{
    if (l->qkv_bias.grad && m->params.family->learned_positions)
        m->ops->zero(m->ops, m->kv_heads * m->head_dim, l->qkv_bias.grad + m->heads * m->head_dim);
}

static void attend_backward(const fsm_model *m, const fsm_layer *l)
{
    fsm_attention_shape shape = attention_shape(m);
    int64_t k_at = m->heads * m->head_dim, v_at = k_at + m->kv_heads * m->head_dim;
    m->ops->attention_backward(m->ops, &shape, l->qkv_out, l->qkv_out + k_at, l->qkv_out + v_at, l->attended, l->lse,
                               m->dattended, m->dqkv, m->dqkv + k_at, m->dqkv + v_at);
}

void fsm_model_attention_backward(fsm_model *model, int layer)
{
    fsm_layer *l = &model->layers[layer];
    const fsm_ops *ops = model->ops;
    int64_t hidden = model->config->model.hidden, attended_width = model->heads * model->head_dim, n = model->n_group;
    const float *dy = model->topo.mp > 1 ? model->full : model->dx;
    for (int64_t i = 0; i < model->n_local && l->o_bias.grad; i++)
        ops->add(ops, hidden, model->dx + i * hidden, l->o_bias.grad);
    ops->linear_backward_input(ops, n, &l->o, dy, hidden, 0.0f, model->dattended, attended_width);
    ops->linear_backward_weight(ops, n, hidden, attended_width, dy, hidden, l->attended, attended_width, l->o_grad.grad,
                                NULL);
    attend_backward(model, l);
    rotate(model, -1, model->dqkv);
    /* heads are split over ranks: a key/value head with its queries is the least part */
    int64_t kv = model->kv_heads * model->head_dim, queries = attended_width / model->kv_heads;
    const int64_t part_rows[3] = {attended_width, kv, kv}, leaf_rows[3] = {queries, model->head_dim, model->head_dim};
    float *dh = model->topo.mp > 1 ? model->dh_full : model->dh;
    ops->linear_backward_joined(ops, n, &l->qkv, 3, part_rows, leaf_rows, model->dqkv, model->qkv_width, dh, hidden);
    ops->linear_backward_weight(ops, n, model->qkv_width, hidden, model->dqkv, model->qkv_width, l->h1, hidden,
                                l->qkv_grad.grad, l->qkv_bias.grad);
    clear_key_bias_gradient(model, l);
}

fsmoe_status fsm_model_start_mp_reducescatter_backward(fsm_model *model, int layer, fsm_comm_op *op)
{
    (void)layer;
    return fsm_mp_start_reducescatter(model, op, model->dh_full, model->dh);
}

void fsm_model_norm_backward(fsm_model *model, int layer)
{
    fsm_layer *l = &model->layers[layer];
    fsm_norm_backward(model, &l->norm1, l->x1, model->dh, model->dx);
}
