/* The two ends of the model: embedding, and final norm with head and loss. */
#include "model/model_parts.h"

void fsm_pass_embedding_forward(fsm_pass *pass)
{
    const fsm_model *m = pass->model;
    m->ops->embedding_forward(m->ops, pass->n_local, fsm_pass_hidden(pass), fsm_index_at(pass->ids, pass->local_first),
                              m->embedding, fsm_index_at(pass->position, pass->local_first), m->positions,
                              pass->layers[0].x1);
}

void fsm_pass_embedding_backward(fsm_pass *pass)
{
    const fsm_model *m = pass->model;
    int64_t hidden = fsm_pass_hidden(pass), at = pass->local_first;
    m->ops->embedding_backward(m->ops, pass->n_local, hidden, fsm_index_at(pass->ids, at), pass->dx, m->embedding_grad);
    if (m->positions)
        m->ops->embedding_backward(m->ops, pass->n_local, hidden, fsm_index_at(pass->position, at), pass->dx,
                                   m->positions_grad);
}

static fsm_matrix head_input(const fsm_pass *pass, int64_t at)
{
    int64_t hidden = fsm_pass_hidden(pass);
    return fsm_rows(fsm_pass_at(pass, pass->h_final, at * hidden), hidden);
}

/* Loss and, in training, gradients, of n tokens from number `at` on. */
static void score_block(fsm_pass *pass, int64_t at, int64_t n, fsm_sum *loss)
{
    const fsm_model *m = pass->model;
    const fsm_ops *ops = m->ops;
    int64_t hidden = fsm_pass_hidden(pass), vocab = m->config->model.vocab_size;
    fsm_matrix h = head_input(pass, at), logits = fsm_reals(m->logits, vocab);
    ops->linear_forward(ops, n, &m->head, NULL, h, logits);
    /* a loss may be finite where a logit is -infinity; in training the gradients tell */
    if (!pass->training) ops->check_finite(ops, n * vocab, m->logits, loss);
    ops->cross_entropy(ops, n, vocab, m->logits, fsm_index_at(pass->targets, pass->local_first + at),
                       (float)m->loss_scale, pass->training, loss);
    if (!pass->training) return;
    ops->linear_backward_weight(ops, n, vocab, hidden, logits, h, m->head_grad, NULL);
    ops->linear_backward_input(ops, n, &m->head, logits, 0.0f, fsm_reals(fsm_real_at(pass->dh, at * hidden), hidden));
}

/* A block of tokens at a time, so that logits never exist for all tokens at once. */
void fsm_pass_head_forward(fsm_pass *pass)
{
    const fsm_model *m = pass->model;
    fsm_sum *loss = fsm_sum_at(pass->sums->sums, m->sum_count - 2), *tokens = fsm_sum_at(loss, 1);
    fsm_add_ffn_residual(pass, (int)m->config->model.num_layers - 1);
    fsm_norm_forward(pass, &m->final_norm, &pass->final_norm, pass->x_out, pass->h_final);
    if (!pass->batch.targets) return;
    m->ops->add_to_sums(m->ops, 1, (double)pass->n_local, tokens);
    for (int64_t at = 0; at < pass->n_local; at += FSM_HEAD_BLOCK)
        score_block(pass, at, pass->n_local - at < FSM_HEAD_BLOCK ? pass->n_local - at : FSM_HEAD_BLOCK, loss);
}

void fsm_pass_head_backward(fsm_pass *pass)
{
    const fsm_model *m = pass->model;
    m->ops->zero(m->ops, pass->n_local * fsm_pass_hidden(pass), pass->dx);
    fsm_norm_backward(pass, &m->final_norm, &pass->final_norm, pass->x_out, pass->dh, pass->dx);
}

const fsm_real *fsm_pass_logits(const fsm_pass *pass, int64_t at, int64_t n)
{
    const fsm_model *m = pass->model;
    m->ops->linear_forward(m->ops, n, &m->head, NULL, head_input(pass, at),
                           fsm_reals(m->logits, m->config->model.vocab_size));
    return m->logits;
}
