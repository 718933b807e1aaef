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

static void bind_mixtral(const fsmoe_moe_config *config, const fsm_param_view *views, int shard, fsm_linear *in,
                         fsm_linear *out)
{
    (void)config, (void)shard;
    *in = (fsm_linear){{views[W1].value, 2 * views[W1].rows, views[W1].cols, NULL}, NULL, views[W1].grad, NULL};
    *out = (fsm_linear){{views[W2].value, views[W2].rows, views[W2].cols, NULL}, NULL, views[W2].grad, NULL};
}

static void forward_mixtral(const fsm_ops *ops, const fsm_experts *e, const fsm_expert_rows *r)
{
    ops->grouped.forward(ops, &r->runs, e->in, r->x, fsm_rows(r->pre, 2 * r->width));
    fsm_experts_activate(ops, e->activation, r);
    ops->grouped.forward(ops, &r->runs, e->out, fsm_rows(r->act, r->width), r->y);
}

static void backward_input_mixtral(const fsm_ops *ops, const fsm_experts *e, const fsm_expert_rows *r)
{
    const int64_t part_rows[2] = {r->width, r->width}, leaf_rows[2] = {LEAF, LEAF};
    const fsm_joined w1_w3 = {2, part_rows, leaf_rows};
    ops->grouped.backward_input(ops, &r->runs, e->out, NULL, r->dy, fsm_rows(r->dact, r->width));
    fsm_experts_activate_backward(ops, e->activation, r);
    ops->grouped.backward_input(ops, &r->runs, e->in, &w1_w3, fsm_rows(r->pre, 2 * r->width), r->dx);
}

static void backward_weight_mixtral(const fsm_ops *ops, const fsm_experts *e, const fsm_expert_rows *r)
{
    ops->grouped.backward_weight(ops, &r->runs, e->out, r->dy, fsm_rows(r->act, r->width));
    ops->grouped.backward_weight(ops, &r->runs, e->in, fsm_rows(r->pre, 2 * r->width), r->x);
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
