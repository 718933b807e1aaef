/* The second half of a layer: experts (moe/layer.h does the work) or a dense feed-forward split over MP. */
#include "model/model_parts.h"

#include <string.h>

static void copy(float *to, const float *from, int64_t elems)
{
    memcpy(to, from, sizeof(float) * (size_t)elems);
}

static int moe_index_of(const fsm_model *model, int layer)
{
    return fsm_layer_moe_index(model->config->model.moe_every, layer);
}

void fsm_model_gate_forward(fsm_model *model, int layer)
{
    fsm_layer *l = &model->layers[layer];
    fsm_add_attention_residual(model, l);
    fsm_norm_forward(model, &l->norm2, l->x2, l->h2);
    fsm_gate_input input = {
        .n = model->n_local,
        .x = l->h2,
        .ids = model->batch.ids + model->local_first,
        .training = model->train_step,
        .seed = (uint64_t)model->config->train.seed,
        .layer = (uint32_t)layer,
        .first_token = model->batch.first_token + (uint64_t)model->local_first,
    };
    fsm_gate_sums sums = fsm_model_gate_sums(model, model->sums, moe_index_of(model, layer));
    /* nothing is dropped in evaluation: what a model says of a token must not depend on the tokens beside it */
    fsm_moe_gate_forward(&l->moe, &input, model->train_step, &sums);
}

void fsm_model_iorder_forward(fsm_model *model, int layer)
{
    fsm_layer *l = &model->layers[layer];
    float *out = fsm_layer_output(model, layer);
    copy(out, l->x2, model->n_local * model->config->model.hidden);
    fsm_moe_iorder_forward(&l->moe, out);
}

void fsm_model_iorder_backward(fsm_model *model, int layer)
{
    fsm_moe_iorder_backward(&model->layers[layer].moe, model->dx);
}

void fsm_model_order_backward(fsm_model *model, int layer)
{
    model->ops->zero(model->ops, model->n_local * model->config->model.hidden, model->dh);
    fsm_moe_order_backward(&model->layers[layer].moe, model->dh);
}

void fsm_model_gate_backward(fsm_model *model, int layer)
{
    fsm_layer *l = &model->layers[layer];
    fsm_gate_loss_grad loss = fsm_model_loss_grad(model, moe_index_of(model, layer));
    fsm_moe_gate_backward(&l->moe, &loss, model->dh);
    fsm_norm_backward(model, &l->norm2, l->x2, model->dh, model->dx);
}

/* ---- without experts ---- */

static fsm_expert_rows ffn_rows(const fsm_model *model, const fsm_layer *l)
{
    return (fsm_expert_rows){
        .n = model->n_group,
        .hidden = model->config->model.hidden,
        .width = model->ffn_width,
        .x = l->h2,
        .pre = l->pre,
        .act = l->act,
        .y = model->topo.mp > 1 ? model->full : fsm_layer_output(model, l->index),
        .dy = model->topo.mp > 1 ? model->full : model->dx,
        .dact = model->dact,
        .dx = model->topo.mp > 1 ? model->dh_full : model->dh,
    };
}

static const fsm_expert_kind *ffn_kind(const fsm_model *model)
{
    return fsm_expert_find(model->config->moe.expert);
}

void fsm_model_ffn_norm_forward(fsm_model *model, int layer)
{
    fsm_layer *l = &model->layers[layer];
    fsm_add_attention_residual(model, l);
    fsm_norm_forward(model, &l->norm2, l->x2, fsm_own_rows(model, l->h2));
}

fsmoe_status fsm_model_start_ffn_allgather_forward(fsm_model *model, int layer, fsm_comm_op *op)
{
    fsm_layer *l = &model->layers[layer];
    return fsm_mp_start_allgather(model, op, fsm_own_rows(model, l->h2), l->h2);
}

void fsm_model_ffn_forward(fsm_model *model, int layer)
{
    fsm_layer *l = &model->layers[layer];
    fsm_expert_rows rows = ffn_rows(model, l);
    ffn_kind(model)->forward(model->ops, &l->ffn, &rows);
}

void fsm_add_ffn_residual(fsm_model *model, int layer)
{
    fsm_layer *l = &model->layers[layer];
    if (!l->is_moe)
        model->ops->add(model->ops, model->n_local * model->config->model.hidden, l->x2,
                        fsm_layer_output(model, layer));
}

fsmoe_status fsm_model_start_ffn_reducescatter_forward(fsm_model *model, int layer, fsm_comm_op *op)
{
    return fsm_mp_start_reducescatter(model, op, model->full, fsm_layer_output(model, layer));
}

fsmoe_status fsm_model_start_ffn_allgather_backward(fsm_model *model, int layer, fsm_comm_op *op)
{
    (void)layer;
    return fsm_mp_start_allgather(model, op, model->dx, model->full);
}

void fsm_model_ffn_backward(fsm_model *model, int layer)
{
    fsm_layer *l = &model->layers[layer];
    fsm_expert_rows rows = ffn_rows(model, l);
    ffn_kind(model)->backward_input(model->ops, &l->ffn, &rows);
}

void fsm_model_ffn_weight_grad(fsm_model *model, int layer)
{
    fsm_layer *l = &model->layers[layer];
    fsm_expert_rows rows = ffn_rows(model, l);
    ffn_kind(model)->backward_weight(model->ops, &l->ffn, &rows);
}

fsmoe_status fsm_model_start_ffn_reducescatter_backward(fsm_model *model, int layer, fsm_comm_op *op)
{
    (void)layer;
    return fsm_mp_start_reducescatter(model, op, model->dh_full, model->dh);
}

void fsm_model_ffn_norm_backward(fsm_model *model, int layer)
{
    fsm_layer *l = &model->layers[layer];
    fsm_norm_backward(model, &l->norm2, l->x2, model->dh, model->dx);
}
