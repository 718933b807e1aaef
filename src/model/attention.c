/* Attention: norm, all-gather of tokens, this rank's heads, reduce-scatter back to this rank's tokens. */
#include "model/model_parts.h"

#include <math.h>

void fsm_pass_norm_forward(fsm_pass *pass, int layer)
{
    fsm_layer_pass *saved = &pass->layers[layer];
    if (layer > 0) fsm_add_ffn_residual(pass, layer - 1);
    fsm_norm_forward(pass, &pass->model->layers[layer].norm1, &saved->norm1, saved->x1, fsm_own_rows(pass, saved->h1));
}

fsmoe_status fsm_pass_start_mp_allgather_forward(fsm_pass *pass, int layer, fsm_comm_op *op)
{
    fsm_layer_pass *saved = &pass->layers[layer];
    return fsm_mp_start_gather_rows(pass, op, fsm_own_rows(pass, saved->h1), saved->h1);
}

static fsm_attention_shape attention_shape(const fsm_pass *pass)
{
    const fsm_model *m = pass->model;
    return (fsm_attention_shape){
        .batch = pass->batch.samples,
        .q_len = pass->batch.seq_len,
        .k_len = pass->batch.seq_len,
        .heads = m->heads,
        .kv_heads = m->kv_heads,
        .head_dim = m->head_dim,
        .ld_q = m->qkv_width,
        .ld_k = m->qkv_width,
        .ld_v = m->qkv_width,
        .ld_o = m->heads * m->head_dim,
        .sample_k = pass->batch.seq_len,
        .scale = 1.0f / sqrtf((float)m->head_dim),
    };
}

static void rotate(const fsm_pass *pass, int direction, fsm_row *qkv)
{
    const fsm_model *m = pass->model;
    if (m->params.family->learned_positions) return;
    m->ops->rope(m->ops, pass->n_group, m->heads + m->kv_heads, m->head_dim, pass->position, m->cosine, m->sine,
                 direction, qkv, m->qkv_width);
}

/* New keys or values go behind the cached ones of their sample. */
static void put_in_cache(const fsm_pass *pass, const fsm_row *new_rows, fsm_row *cache)
{
    const fsm_model *m = pass->model;
    const fsm_batch *b = &pass->batch;
    int64_t width = m->kv_heads * m->head_dim;
    for (int64_t i = 0; i < b->samples; i++) {
        int64_t to = b->region[i] * m->options.cache_len + b->past[i];
        m->ops->copy_rows(m->ops, b->seq_len, width, fsm_pass_at(pass, new_rows, i * b->seq_len * m->qkv_width),
                          m->qkv_width, fsm_pass_at(pass, cache, to * width), width);
    }
}

/* Queries look at all keys of their sample. */
static void attend_cached(const fsm_pass *pass, const fsm_layer *l, const fsm_layer_pass *saved)
{
    const fsm_model *m = pass->model;
    const fsm_batch *b = &pass->batch;
    int64_t kv_width = m->kv_heads * m->head_dim, longest = 0;
    const fsm_row *k = fsm_pass_at(pass, saved->qkv_out, m->heads * m->head_dim);
    put_in_cache(pass, k, l->cache_k);
    put_in_cache(pass, fsm_pass_at(pass, k, kv_width), l->cache_v);
    for (int64_t i = 0; i < b->samples; i++) longest = b->past[i] > longest ? b->past[i] : longest;
    fsm_attention_shape shape = attention_shape(pass);
    shape.k_len = longest + b->seq_len;
    shape.ld_k = shape.ld_v = kv_width;
    shape.k_first = pass->key_first;
    shape.k_count = pass->key_count;
    m->ops->attention_forward(m->ops, &shape, saved->qkv_out, l->cache_k, l->cache_v, saved->attended, saved->lse);
}

static void attend(const fsm_pass *pass, const fsm_layer_pass *saved)
{
    const fsm_model *m = pass->model;
    fsm_attention_shape shape = attention_shape(pass);
    const fsm_row *q = saved->qkv_out, *k = fsm_pass_at(pass, q, m->heads * m->head_dim);
    const fsm_row *v = fsm_pass_at(pass, k, m->kv_heads * m->head_dim);
    m->ops->attention_forward(m->ops, &shape, q, k, v, saved->attended, saved->lse);
}

/* This rank's heads' part of x2; the rest is added when the parts have been summed. */
void fsm_pass_attention_forward(fsm_pass *pass, int layer)
{
    const fsm_model *m = pass->model;
    const fsm_layer *l = &m->layers[layer];
    fsm_layer_pass *saved = &pass->layers[layer];
    int64_t hidden = fsm_pass_hidden(pass), attended_width = m->heads * m->head_dim, n = pass->n_group;
    m->ops->linear_forward(m->ops, n, &l->qkv, l->qkv_bias.value, fsm_rows(saved->h1, hidden),
                           fsm_rows(saved->qkv_out, m->qkv_width));
    rotate(pass, +1, saved->qkv_out);
    if (m->options.cache_regions > 0) attend_cached(pass, l, saved);
    else attend(pass, saved);
    m->ops->linear_forward(m->ops, n, &l->o, NULL, fsm_rows(saved->attended, attended_width),
                           fsm_reals(fsm_between_ranks(pass, pass->full, saved->x2), hidden));
}

void fsm_add_attention_residual(fsm_pass *pass, int layer)
{
    const fsm_ops *ops = pass->model->ops;
    const fsm_real *bias = pass->model->layers[layer].o_bias.value;
    fsm_layer_pass *saved = &pass->layers[layer];
    int64_t hidden = fsm_pass_hidden(pass);
    ops->add(ops, pass->n_local * hidden, saved->x1, saved->x2);
    if (bias) ops->add_bias(ops, pass->n_local, hidden, bias, saved->x2);
}

fsmoe_status fsm_pass_start_mp_reducescatter_forward(fsm_pass *pass, int layer, fsm_comm_op *op)
{
    return fsm_mp_start_reducescatter(pass, op, pass->full, pass->layers[layer].x2);
}

fsmoe_status fsm_pass_start_mp_allgather_backward(fsm_pass *pass, int layer, fsm_comm_op *op)
{
    (void)layer;
    return fsm_mp_start_allgather(pass, op, pass->dx, pass->full);
}

/* q.(k + b) = q.k + q.b adds the same to all scores of a query, which softmax does not see: without rotation the key
 * bias has no gradient. What sums to it is rounding, and AdamW would turn rounding into steps of the learning rate. */
static void clear_key_bias_gradient(const fsm_model *m, const fsm_layer *l)
{
    if (l->qkv_bias.grad && m->params.family->learned_positions)
        m->ops->zero(m->ops, m->kv_heads * m->head_dim, fsm_real_at(l->qkv_bias.grad, m->heads * m->head_dim));
}

static void attend_backward(const fsm_pass *pass, const fsm_layer_pass *saved)
{
    const fsm_model *m = pass->model;
    fsm_attention_shape shape = attention_shape(pass);
    int64_t k_at = m->heads * m->head_dim, v_at = k_at + m->kv_heads * m->head_dim;
    const fsm_row *q = saved->qkv_out, *k = fsm_pass_at(pass, q, k_at), *v = fsm_pass_at(pass, q, v_at);
    m->ops->attention_backward(m->ops, &shape, q, k, v, saved->attended, saved->lse, m->dattended, m->dqkv,
                               fsm_pass_at(pass, m->dqkv, k_at), fsm_pass_at(pass, m->dqkv, v_at));
}

/* dattended, and the gradients of the output's projection. */
static void output_backward(const fsm_pass *pass, const fsm_layer *l, const fsm_layer_pass *saved)
{
    const fsm_model *m = pass->model;
    const fsm_ops *ops = m->ops;
    int64_t hidden = fsm_pass_hidden(pass), attended_width = m->heads * m->head_dim, n = pass->n_group;
    const fsm_real *dy = fsm_between_ranks(pass, pass->full, pass->dx);
    if (l->o_bias.grad) ops->add_bias_backward(ops, pass->n_local, hidden, pass->dx, l->o_bias.grad);
    ops->linear_backward_input(ops, n, &l->o, fsm_reals(dy, hidden), 0.0f, fsm_rows(m->dattended, attended_width));
    ops->linear_backward_weight(ops, n, hidden, attended_width, fsm_reals(dy, hidden),
                                fsm_rows(saved->attended, attended_width), l->o_grad.grad, NULL);
}

/* dh, and the gradients of the projection to queries, keys and values, from dqkv. */
static void input_backward(const fsm_pass *pass, const fsm_layer *l, const fsm_layer_pass *saved)
{
    const fsm_model *m = pass->model;
    int64_t hidden = fsm_pass_hidden(pass), attended_width = m->heads * m->head_dim, n = pass->n_group;
    /* heads are split over ranks: a key/value head with its queries is the least part */
    int64_t kv = m->kv_heads * m->head_dim, queries = attended_width / m->kv_heads;
    const int64_t part_rows[3] = {attended_width, kv, kv}, leaf_rows[3] = {queries, m->head_dim, m->head_dim};
    const fsm_joined joined = {3, part_rows, leaf_rows};
    m->ops->linear_backward_joined(m->ops, n, &l->qkv, &joined, fsm_rows(m->dqkv, m->qkv_width),
                                   fsm_reals(fsm_between_ranks(pass, pass->dh_full, pass->dh), hidden));
    m->ops->linear_backward_weight(m->ops, n, m->qkv_width, hidden, fsm_rows(m->dqkv, m->qkv_width),
                                   fsm_rows(saved->h1, hidden), l->qkv_grad.grad, l->qkv_bias.grad);
    clear_key_bias_gradient(m, l);
}

void fsm_pass_attention_backward(fsm_pass *pass, int layer)
{
    const fsm_layer *l = &pass->model->layers[layer];
    const fsm_layer_pass *saved = &pass->layers[layer];
    output_backward(pass, l, saved);
    attend_backward(pass, saved);
    rotate(pass, -1, pass->model->dqkv);
    input_backward(pass, l, saved);
}

fsmoe_status fsm_pass_start_mp_reducescatter_backward(fsm_pass *pass, int layer, fsm_comm_op *op)
{
    (void)layer;
    return fsm_mp_start_reducescatter(pass, op, pass->dh_full, pass->dh);
}

void fsm_pass_norm_backward(fsm_pass *pass, int layer)
{
    const fsm_layer_pass *saved = &pass->layers[layer];
    fsm_norm_backward(pass, &pass->model->layers[layer].norm1, &saved->norm1, saved->x1, pass->dh, pass->dx);
}
