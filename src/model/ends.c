/* The two ends of the model: embedding, and final norm with head and loss. */
#include "model/finite.h"
#include "model/model_parts.h"

#include <math.h>
#include <string.h>

void fsm_model_embedding_forward(fsm_model *model)
{
    model->ops->embedding_forward(model->ops, model->n_local, model->config->model.hidden,
                                  model->batch.ids + model->local_first, model->embedding,
                                  model->position + model->local_first, model->positions, model->layers[0].x1);
}

void fsm_model_embedding_backward(fsm_model *model)
{
    int64_t hidden = model->config->model.hidden, at = model->local_first;
    model->ops->embedding_backward(model->ops, model->n_local, hidden, model->batch.ids + at, model->dx,
                                   model->embedding_grad);
    if (model->positions)
        model->ops->embedding_backward(model->ops, model->n_local, hidden, model->position + at, model->dx,
                                       model->positions_grad);
}

/* Loss and, in training, gradients, a block of tokens at a time, so that logits never exist for all tokens at once. */
void fsm_model_head_forward(fsm_model *model)
{
    const fsm_ops *ops = model->ops;
    int64_t hidden = model->config->model.hidden, vocab = model->config->model.vocab_size;
    double *loss = model->sums + model->sum_count - 2, *tokens = loss + 1;
    fsm_add_ffn_residual(model, (int)model->config->model.num_layers - 1);
    fsm_norm_forward(model, &model->final_norm, model->x_out, model->h_final);
    if (!model->batch.targets) return;
    *tokens += (double)model->n_local;
    for (int64_t at = 0; at < model->n_local; at += FSM_HEAD_BLOCK) {
        int64_t n = model->n_local - at < FSM_HEAD_BLOCK ? model->n_local - at : FSM_HEAD_BLOCK;
        const float *h = model->h_final + at * hidden;
        ops->linear_forward(ops, n, &model->head, NULL, h, hidden, model->logits, vocab);
        /* a loss may be finite where a logit is -infinity; in training the gradients tell */
        if (!model->train_step && fsm_first_not_finite(model->logits, n * vocab) < n * vocab) *loss = NAN;
        ops->cross_entropy(ops, n, vocab, model->logits, model->batch.targets + model->local_first + at,
                           (float)model->loss_scale, model->train_step, loss);
        if (!model->train_step) continue;
        ops->linear_backward_weight(ops, n, vocab, hidden, model->logits, vocab, h, hidden, model->head_grad, NULL);
        ops->linear_backward_input(ops, n, &model->head, model->logits, vocab, 0.0f, model->dh + at * hidden, hidden);
    }
}

void fsm_model_head_backward(fsm_model *model)
{
    model->ops->zero(model->ops, model->n_local * model->config->model.hidden, model->dx);
    fsm_norm_backward(model, &model->final_norm, model->x_out, model->dh, model->dx);
}

const float *fsm_model_last_logits(fsm_model *model)
{
    int64_t hidden = model->config->model.hidden;
    const float *h = model->h_final + (model->n_local - 1) * hidden;
    model->ops->linear_forward(model->ops, 1, &model->head, NULL, h, hidden, model->logits,
                               model->config->model.vocab_size);
    return model->logits;
}
