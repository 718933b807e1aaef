/* The two ends of the model: embedding, and final norm with head and loss. */
#include "model/finite.h"
#include "model/model_parts.h"

#include <math.h>
#include <string.h>

void fsm_pass_embedding_forward(fsm_pass *pass)
{
    const fsm_model *m = pass->model;
    m->ops->embedding_forward(m->ops, pass->n_local, fsm_pass_hidden(pass), pass->batch.ids + pass->local_first,
                              m->embedding, pass->position + pass->local_first, m->positions, pass->layers[0].x1);
}

void fsm_pass_embedding_backward(fsm_pass *pass)
{
    const fsm_model *m = pass->model;
    int64_t hidden = fsm_pass_hidden(pass), at = pass->local_first;
    m->ops->embedding_backward(m->ops, pass->n_local, hidden, pass->batch.ids + at, pass->dx, m->embedding_grad);
    if (m->positions)
        m->ops->embedding_backward(m->ops, pass->n_local, hidden, pass->position + at, pass->dx, m->positions_grad);
}

/* Loss and, in training, gradients, of n tokens from number `at` on. */
static void score_block(fsm_pass *pass, int64_t at, int64_t n, double *loss)
{
    const fsm_model *m = pass->model;
    const fsm_ops *ops = m->ops;
    int64_t hidden = fsm_pass_hidden(pass), vocab = m->config->model.vocab_size;
    const float *h = pass->h_final + at * hidden;
    ops->linear_forward(ops, n, &m->head, NULL, fsm_reals(h, hidden), fsm_reals(m->logits, vocab));
    /* a loss may be finite where a logit is -infinity; in training the gradients tell */
    if (!pass->training && fsm_first_not_finite(m->logits, n * vocab) < n * vocab) *loss = NAN;
    ops->cross_entropy(ops, n, vocab, m->logits, pass->batch.targets + pass->local_first + at, (float)m->loss_scale,
                       pass->training, loss);
    if (!pass->training) return;
    ops->linear_backward_weight(ops, n, vocab, hidden, fsm_reals(m->logits, vocab), fsm_reals(h, hidden), m->head_grad,
                                NULL);
    ops->linear_backward_input(ops, n, &m->head, fsm_reals(m->logits, vocab), 0.0f,
                               fsm_reals(pass->dh + at * hidden, hidden));
}

/* A block of tokens at a time, so that logits never exist for all tokens at once. */
void fsm_pass_head_forward(fsm_pass *pass)
{
    const fsm_model *m = pass->model;
    double *loss = pass->sums->sums + m->sum_count - 2, *tokens = loss + 1;
    fsm_add_ffn_residual(pass, (int)m->config->model.num_layers - 1);
    fsm_norm_forward(pass, &m->final_norm, &pass->final_norm, pass->x_out, pass->h_final);
    if (!pass->batch.targets) return;
    *tokens += (double)pass->n_local;
    for (int64_t at = 0; at < pass->n_local; at += FSM_HEAD_BLOCK)
        score_block(pass, at, pass->n_local - at < FSM_HEAD_BLOCK ? pass->n_local - at : FSM_HEAD_BLOCK, loss);
}

void fsm_pass_head_backward(fsm_pass *pass)
{
    const fsm_model *m = pass->model;
    m->ops->zero(m->ops, pass->n_local * fsm_pass_hidden(pass), pass->dx);
    fsm_norm_backward(pass, &m->final_norm, &pass->final_norm, pass->x_out, pass->dh, pass->dx);
}

const float *fsm_pass_last_logits(fsm_pass *pass)
{
    const fsm_model *m = pass->model;
    int64_t hidden = fsm_pass_hidden(pass);
    const float *h = pass->h_final + (pass->n_local - 1) * hidden;
    m->ops->linear_forward(m->ops, 1, &m->head, NULL, fsm_reals(h, hidden),
                           fsm_reals(m->logits, m->config->model.vocab_size));
    return m->logits;
}
