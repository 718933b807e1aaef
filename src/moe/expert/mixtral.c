/* Mixtral's expert: y = (f(x W1^T) * (x W3^T)) W2^T, f silu if not gelu is asked for. W1 and W3 lie side by side, so
 * both are one GEMM. */
#include "moe/expert/expert.h"

enum { W1, W3, W2, COUNT };
enum { LEAF = 64 }; /* least run of H that a layout gives a rank, when sums are to be the same on all */

static int list_params_mixtral(const fsmoe_moe_config *config, int64_t hidden, int64_t ffn_hidden,
                               fsm_param_spec *specs)
{
    (void)config;
    specs[W1] = (fsm_param_spec){"w1.weight", ffn_hidden, hidden, 2, FSM_SHARD_ROWS, FSM_INIT_NORMAL, true};
    specs[W3] = (fsm_param_spec){"w3.weight", ffn_hidden, hidden, 2, FSM_SHARD_ROWS, FSM_INIT_NORMAL, true};
    specs[W2] = (fsm_param_spec){"w2.weight", hidden, ffn_hidden, 2, FSM_SHARD_COLS, FSM_INIT_NORMAL_RESIDUAL, true};
    return COUNT;
}

static void bind_mixtral(const fsmoe_moe_config *config, const fsm_param_view *views, int shard,
                         fsm_expert_weights *weights)
{
    (void)shard;
    *weights = (fsm_expert_weights){
        .activation = fsm_expert_activation(&fsm_expert_mixtral, config),
        .in = {views[W1].value, 2 * views[W1].rows, views[W1].cols, NULL},
        .out = {views[W2].value, views[W2].rows, views[W2].cols, NULL},
        .d_in = views[W1].grad,
        .d_out = views[W2].grad,
    };
}

static void forward_mixtral(const fsm_ops *ops, const fsm_expert_weights *w, const fsm_expert_rows *r)
{
    ops->linear_forward(ops, r->n, &w->in, NULL, r->x, fsm_rows(r->pre, 2 * r->width));
    w->activation->forward(ops, r->n, r->width, r->pre, r->act);
    ops->linear_forward(ops, r->n, &w->out, NULL, fsm_rows(r->act, r->width), r->y);
}

static void backward_input_mixtral(const fsm_ops *ops, const fsm_expert_weights *w, const fsm_expert_rows *r)
{
    ops->linear_backward_input(ops, r->n, &w->out, r->dy, 0.0f, fsm_rows(r->dact, r->width));
    w->activation->backward(ops, r->n, r->width, r->pre, r->dact, r->pre);
    const int64_t part_rows[2] = {r->width, r->width}, leaf_rows[2] = {LEAF, LEAF};
    ops->linear_backward_joined(ops, r->n, &w->in, 2, part_rows, leaf_rows, fsm_rows(r->pre, 2 * r->width), r->dx);
}

static void backward_weight_mixtral(const fsm_ops *ops, const fsm_expert_weights *w, const fsm_expert_rows *r)
{
    ops->linear_backward_weight(ops, r->n, r->hidden, r->width, r->dy, fsm_rows(r->act, r->width), w->d_out, NULL);
    ops->linear_backward_weight(ops, r->n, 2 * r->width, r->hidden, fsm_rows(r->pre, 2 * r->width), r->x, w->d_in,
                                NULL);
}

const fsm_expert_kind fsm_expert_mixtral = {
    .name = "mixtral",
    .description = "three matrices, SwiGLU or GEGLU, no bias",
    .source = "Jiang et al., Mixtral of Experts, 2024",
    .activation = "swiglu",
    .pre_width = 2,
    .list_params = list_params_mixtral,
    .bind = bind_mixtral,
    .forward = forward_mixtral,
    .backward_input = backward_input_mixtral,
    .backward_weight = backward_weight_mixtral,
};
