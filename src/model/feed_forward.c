/* The second half of a layer: experts (moe/layer.h does the work) or a dense feed-forward split over MP. */
#include "model/model_parts.h"

static int moe_index_of(const fsm_pass *pass, int layer)
{
    return fsm_layer_moe_index(pass->model->config->model.moe_every, layer);
}

/* Residual of attention, and the norm into `h` at this rank's rows. */
static void norm2_forward(fsm_pass *pass, int layer, fsm_row *h)
{
    const fsm_layer_pass *saved = &pass->layers[layer];
    fsm_add_attention_residual(pass, layer);
    fsm_norm_forward(pass, &pass->model->layers[layer].norm2, &saved->norm2, saved->x2, h);
}

static void norm2_backward(fsm_pass *pass, int layer)
{
    const fsm_layer_pass *saved = &pass->layers[layer];
    fsm_norm_backward(pass, &pass->model->layers[layer].norm2, &saved->norm2, saved->x2, pass->dh, pass->dx);
}

void fsm_pass_gate_forward(fsm_pass *pass, int layer)
{
    const fsm_model *m = pass->model;
    fsm_layer_pass *saved = &pass->layers[layer];
    norm2_forward(pass, layer, saved->h2);
    fsm_gate_input input = {
        .n = pass->n_local,
        .x = saved->h2,
        .ids = fsm_index_at(pass->ids, pass->local_first),
        .training = pass->training,
        .seed = (uint64_t)m->config->train.seed,
        .layer = (uint32_t)layer,
        .first_token = pass->batch.first_token + (uint64_t)pass->local_first,
    };
    fsm_gate_sums sums = fsm_model_gate_sums(m, pass->sums->sums, moe_index_of(pass, layer));
    saved->moe.tokens = fsm_pass_expert_tokens(pass);
    /* nothing is dropped in evaluation: what a model says of a token must not depend on the tokens beside it */
    fsm_moe_gate_forward(&saved->moe, &input, pass->training, &sums);
}

void fsm_pass_iorder_forward(fsm_pass *pass, int layer)
{
    const fsm_ops *ops = pass->model->ops;
    fsm_real *out = fsm_layer_output(pass, layer);
    ops->copy(ops, (size_t)(pass->n_local * fsm_pass_hidden(pass) * FSM_REAL_BYTES), pass->layers[layer].x2, out);
    fsm_moe_iorder_forward(&pass->layers[layer].moe, out);
}

void fsm_pass_iorder_backward(fsm_pass *pass, int layer)
{
    fsm_moe_iorder_backward(&pass->layers[layer].moe, pass->dx);
}

void fsm_pass_order_backward(fsm_pass *pass, int layer)
{
    const fsm_ops *ops = pass->model->ops;
    ops->zero(ops, pass->n_local * fsm_pass_hidden(pass), pass->dh);
    fsm_moe_order_backward(&pass->layers[layer].moe, pass->dh);
}

void fsm_pass_gate_backward(fsm_pass *pass, int layer)
{
    fsm_gate_loss_grad loss = fsm_model_loss_grad(pass->model, pass->sums, moe_index_of(pass, layer));
    fsm_moe_gate_backward(&pass->layers[layer].moe, &loss, pass->dh);
    norm2_backward(pass, layer);
}

/* ---- without experts ---- */

static fsm_expert_rows ffn_rows(const fsm_pass *pass, int layer)
{
    const fsm_layer_pass *saved = &pass->layers[layer];
    int64_t hidden = fsm_pass_hidden(pass);
    static const int64_t first = 0;
    return (fsm_expert_rows){
        .runs = {1, &first, &pass->n_group},
        .hidden = hidden,
        .width = pass->model->ffn_width,
        .x = fsm_rows(saved->h2, hidden),
        .pre = saved->pre,
        .act = saved->act,
        .y = fsm_reals(fsm_between_ranks(pass, pass->full, fsm_layer_output(pass, layer)), hidden),
        .dy = fsm_reals(fsm_between_ranks(pass, pass->full, pass->dx), hidden),
        .dact = pass->model->dact,
        .dx = fsm_reals(fsm_between_ranks(pass, pass->dh_full, pass->dh), hidden),
    };
}

static const fsm_expert_kind *ffn_kind(const fsm_model *model)
{
    return fsm_expert_find(model->config->moe.expert);
}

static fsm_experts ffn_of(const fsm_model *model, int layer)
{
    fsm_layer *l = &model->layers[layer];
    return (fsm_experts){fsm_expert_activation(ffn_kind(model), &model->config->moe), &l->ffn_in, &l->ffn_out};
}

void fsm_pass_ffn_norm_forward(fsm_pass *pass, int layer)
{
    norm2_forward(pass, layer, fsm_own_rows(pass, pass->layers[layer].h2));
}

fsmoe_status fsm_pass_start_ffn_allgather_forward(fsm_pass *pass, int layer, fsm_comm_op *op)
{
    fsm_row *h2 = pass->layers[layer].h2;
    return fsm_mp_start_gather_rows(pass, op, fsm_own_rows(pass, h2), h2);
}

void fsm_pass_ffn_forward(fsm_pass *pass, int layer)
{
    const fsm_model *m = pass->model;
    fsm_expert_rows rows = ffn_rows(pass, layer);
    fsm_experts ffn = ffn_of(m, layer);
    ffn_kind(m)->forward(m->ops, &ffn, &rows);
}

void fsm_add_ffn_residual(fsm_pass *pass, int layer)
{
    const fsm_ops *ops = pass->model->ops;
    if (pass->model->layers[layer].is_moe) return;
    ops->add(ops, pass->n_local * fsm_pass_hidden(pass), pass->layers[layer].x2, fsm_layer_output(pass, layer));
}

fsmoe_status fsm_pass_start_ffn_reducescatter_forward(fsm_pass *pass, int layer, fsm_comm_op *op)
{
    return fsm_mp_start_reducescatter(pass, op, pass->full, fsm_layer_output(pass, layer));
}

fsmoe_status fsm_pass_start_ffn_allgather_backward(fsm_pass *pass, int layer, fsm_comm_op *op)
{
    (void)layer;
    return fsm_mp_start_allgather(pass, op, pass->dx, pass->full);
}

void fsm_pass_ffn_backward(fsm_pass *pass, int layer)
{
    const fsm_model *m = pass->model;
    fsm_expert_rows rows = ffn_rows(pass, layer);
    fsm_experts ffn = ffn_of(m, layer);
    ffn_kind(m)->backward_input(m->ops, &ffn, &rows);
}

void fsm_pass_ffn_weight_grad(fsm_pass *pass, int layer)
{
    const fsm_model *m = pass->model;
    fsm_expert_rows rows = ffn_rows(pass, layer);
    fsm_experts ffn = ffn_of(m, layer);
    ffn_kind(m)->backward_weight(m->ops, &ffn, &rows);
}

fsmoe_status fsm_pass_start_ffn_reducescatter_backward(fsm_pass *pass, int layer, fsm_comm_op *op)
{
    (void)layer;
    return fsm_mp_start_reducescatter(pass, op, pass->dh_full, pass->dh);
}

void fsm_pass_ffn_norm_backward(fsm_pass *pass, int layer)
{
    norm2_backward(pass, layer);
}
