/* GPT-2's feed-forward block: y = f(x W1^T + b1) W2^T + b2, f GELU if nothing else is asked for, b1 and b2 optional. */
#include "moe/expert/expert.h"

/* Places of the tensors in memory; -1: not there. */
typedef struct places {
    int w1, b1, w2, b2, count;
} places;

static places places_of(const fsmoe_moe_config *config)
{
    static const places with_bias = {0, 1, 2, 3, 4}, without = {0, -1, 1, -1, 2};
    return fsm_expert_has_bias(&fsm_expert_gpt, config) ? with_bias : without;
}

static int list_params_gpt(const fsmoe_moe_config *config, int64_t hidden, int64_t ffn_hidden, fsm_param_spec *specs)
{
    places at = places_of(config);
    specs[at.w1] = (fsm_param_spec){"c_fc.weight", ffn_hidden, hidden, 2, FSM_SHARD_ROWS, FSM_INIT_NORMAL, true};
    specs[at.w2] =
        (fsm_param_spec){"c_proj.weight", hidden, ffn_hidden, 2, FSM_SHARD_COLS, FSM_INIT_NORMAL_RESIDUAL, true};
    if (at.b1 >= 0) {
        specs[at.b1] = (fsm_param_spec){"c_fc.bias", 1, ffn_hidden, 1, FSM_SHARD_COLS, FSM_INIT_ZERO, false};
        specs[at.b2] = (fsm_param_spec){"c_proj.bias", 1, hidden, 1, FSM_SHARD_NONE, FSM_INIT_ZERO, false};
    }
    return at.count;
}

static void bind_gpt(const fsmoe_moe_config *config, const fsm_param_view *views, int shard, fsm_linear *in,
                     fsm_linear *out)
{
    places at = places_of(config);
    const fsm_param_view none = {0}, w1 = views[at.w1], w2 = views[at.w2];
    const fsm_param_view b1 = at.b1 >= 0 ? views[at.b1] : none, b2 = at.b2 >= 0 ? views[at.b2] : none;
    *in = (fsm_linear){{w1.value, w1.rows, w1.cols, NULL}, b1.value, w1.grad, b1.grad};
    *out = (fsm_linear){{w2.value, w2.rows, w2.cols, NULL}, shard == 0 ? b2.value : NULL, w2.grad, b2.grad};
}

static void forward_gpt(const fsm_ops *ops, const fsm_experts *e, const fsm_expert_rows *r)
{
    ops->grouped.forward(ops, &r->runs, e->in, r->x, fsm_rows(r->pre, r->width));
    fsm_experts_activate(ops, e->activation, r);
    ops->grouped.forward(ops, &r->runs, e->out, fsm_rows(r->act, r->width), r->y);
}

static void backward_input_gpt(const fsm_ops *ops, const fsm_experts *e, const fsm_expert_rows *r)
{
    ops->grouped.backward_input(ops, &r->runs, e->out, NULL, r->dy, fsm_rows(r->dact, r->width));
    fsm_experts_activate_backward(ops, e->activation, r);
    ops->grouped.backward_input(ops, &r->runs, e->in, NULL, fsm_rows(r->pre, r->width), r->dx);
}

/* Every shard sees all rows' dy, so each computes the whole bias gradient and the replicas agree. */
static void backward_weight_gpt(const fsm_ops *ops, const fsm_experts *e, const fsm_expert_rows *r)
{
    ops->grouped.backward_weight(ops, &r->runs, e->out, r->dy, fsm_rows(r->act, r->width));
    ops->grouped.backward_weight(ops, &r->runs, e->in, fsm_rows(r->pre, r->width), r->x);
}

const fsm_expert_kind fsm_expert_gpt = {
    .name = "gpt",
    .description = "two matrices, GELU or ReLU, biases",
    .source = "Radford et al., GPT-2, 2019",
    .activation = "gelu",
    .has_bias = true,
    .pre_width = 1,
    .list_params = list_params_gpt,
    .bind = bind_gpt,
    .forward = forward_gpt,
    .backward_input = backward_input_gpt,
    .backward_weight = backward_weight_gpt,
};
