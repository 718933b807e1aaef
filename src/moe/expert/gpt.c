/* GPT-2's feed-forward block: y = gelu(x W1^T + b1) W2^T + b2. */
#include "moe/expert/expert.h"

enum { W1, B1, W2, B2, COUNT };

static int list_params_gpt(int64_t hidden, int64_t ffn_hidden, fsm_param_spec *specs)
{
    specs[W1] = (fsm_param_spec){"c_fc.weight", ffn_hidden, hidden, 2, FSM_SHARD_ROWS, FSM_INIT_NORMAL, true};
    specs[B1] = (fsm_param_spec){"c_fc.bias", 1, ffn_hidden, 1, FSM_SHARD_COLS, FSM_INIT_ZERO, false};
    specs[W2] =
        (fsm_param_spec){"c_proj.weight", hidden, ffn_hidden, 2, FSM_SHARD_COLS, FSM_INIT_NORMAL_RESIDUAL, true};
    specs[B2] = (fsm_param_spec){"c_proj.bias", 1, hidden, 1, FSM_SHARD_NONE, FSM_INIT_ZERO, false};
    return COUNT;
}

static void bind_gpt(const fsm_param_view *views, int shard, fsm_expert_weights *weights)
{
    *weights = (fsm_expert_weights){
        .in = {views[W1].value, views[W1].rows, views[W1].cols, NULL},
        .out = {views[W2].value, views[W2].rows, views[W2].cols, NULL},
        .bias_in = views[B1].value,
        .bias_out = views[B2].value,
        .d_in = views[W1].grad,
        .d_out = views[W2].grad,
        .d_bias_in = views[B1].grad,
        .d_bias_out = views[B2].grad,
        .add_bias_out = shard == 0,
    };
}

static void forward_gpt(const fsm_ops *ops, const fsm_expert_weights *w, const fsm_expert_rows *r)
{
    ops->linear_forward(r->n, &w->in, w->bias_in, r->x, r->hidden, r->pre, r->width);
    ops->gelu_forward(r->n * r->width, r->pre, r->act);
    ops->linear_forward(r->n, &w->out, w->add_bias_out ? w->bias_out : NULL, r->act, r->width, r->y, r->hidden);
}

static void backward_input_gpt(const fsm_ops *ops, const fsm_expert_weights *w, const fsm_expert_rows *r)
{
    ops->linear_backward_input(r->n, &w->out, r->dy, r->hidden, 0.0f, r->dact, r->width);
    ops->gelu_backward(r->n * r->width, r->pre, r->dact, r->dpre);
    ops->linear_backward_input(r->n, &w->in, r->dpre, r->width, 0.0f, r->dx, r->hidden);
}

/* Every shard sees all rows' dy, so each computes the whole bias gradient and the replicas agree. */
static void backward_weight_gpt(const fsm_ops *ops, const fsm_expert_weights *w, const fsm_expert_rows *r)
{
    ops->linear_backward_weight(r->n, r->hidden, r->width, r->dy, r->hidden, r->act, r->width, w->d_out, w->d_bias_out);
    ops->linear_backward_weight(r->n, r->width, r->hidden, r->dpre, r->width, r->x, r->hidden, w->d_in, w->d_bias_in);
}

const fsm_expert_kind fsm_expert_gpt = {
    .name = "gpt",
    .description = "two matrices, GELU, biases",
    .source = "Radford et al., GPT-2, 2019",
    .pre_width = 1,
    .list_params = list_params_gpt,
    .bind = bind_gpt,
    .forward = forward_gpt,
    .backward_input = backward_input_gpt,
    .backward_weight = backward_weight_gpt,
};
