/* An expert: y = ((x W1^T) * (x W3^T)) W2^T, the bilinear form of a gated block. W1 and W3 lie side by side. */
#include "extend.h"

static int list_params(const fsmoe_moe_config *config, int64_t hidden, int64_t ffn_hidden, fsm_param_spec *specs)
{
    (void)config;
    specs[0] = (fsm_param_spec){"w1.weight", ffn_hidden, hidden, 2, FSM_SHARD_ROWS, FSM_INIT_NORMAL, true};
    specs[1] = (fsm_param_spec){"w3.weight", ffn_hidden, hidden, 2, FSM_SHARD_ROWS, FSM_INIT_NORMAL, true};
    specs[2] = (fsm_param_spec){"w2.weight", hidden, ffn_hidden, 2, FSM_SHARD_COLS, FSM_INIT_NORMAL_RESIDUAL, true};
    return 3;
}

static void bind(const fsmoe_moe_config *config, const fsm_param_view *views, int shard, fsm_linear *in,
                 fsm_linear *out)
{
    (void)config, (void)shard;
    *in = (fsm_linear){{views[0].value, 2 * views[0].rows, views[0].cols, NULL}, NULL, views[0].grad, NULL};
    *out = (fsm_linear){{views[2].value, views[2].rows, views[2].cols, NULL}, NULL, views[2].grad, NULL};
}

static void multiply(const fsm_ops *ops, int64_t n, int64_t width, const fsm_row *pre, fsm_row *act)
{
    (void)ops;
    for (int64_t i = 0; i < n * width; i++) {
        const float *a = pre + i / width * 2 * width + i % width;
        act[i] = a[0] * a[width];
    }
}

static void multiply_backward(const fsm_ops *ops, int64_t n, int64_t width, const fsm_row *pre, const fsm_row *dact,
                              fsm_row *dpre)
{
    (void)ops;
    for (int64_t i = 0; i < n * width; i++) {
        int64_t at = i / width * 2 * width + i % width;
        float a = pre[at], b = pre[at + width];
        dpre[at] = dact[i] * b;
        dpre[at + width] = dact[i] * a;
    }
}

static const fsm_activation product = {"product", true, multiply, multiply_backward};

static void forward(const fsm_ops *ops, const fsm_experts *e, const fsm_expert_rows *r)
{
    ops->grouped.forward(ops, &r->runs, e->in, r->x, fsm_rows(r->pre, 2 * r->width));
    fsm_experts_activate(ops, &product, r);
    ops->grouped.forward(ops, &r->runs, e->out, fsm_rows(r->act, r->width), r->y);
}

static void backward_input(const fsm_ops *ops, const fsm_experts *e, const fsm_expert_rows *r)
{
    ops->grouped.backward_input(ops, &r->runs, e->out, NULL, r->dy, fsm_rows(r->dact, r->width));
    fsm_experts_activate_backward(ops, &product, r);
    const int64_t part_rows[2] = {r->width, r->width}, leaf_rows[2] = {64, 64};
    const fsm_joined w1_w3 = {2, part_rows, leaf_rows}; /* so that canonical sums do not depend on the layout */
    ops->grouped.backward_input(ops, &r->runs, e->in, &w1_w3, fsm_rows(r->pre, 2 * r->width), r->dx);
}

static void backward_weight(const fsm_ops *ops, const fsm_experts *e, const fsm_expert_rows *r)
{
    ops->grouped.backward_weight(ops, &r->runs, e->out, r->dy, fsm_rows(r->act, r->width));
    ops->grouped.backward_weight(ops, &r->runs, e->in, fsm_rows(r->pre, 2 * r->width), r->x);
}

const fsm_expert_kind my_expert = {
    .name = "bilinear",
    .description = "three matrices, product of two",
    .source = "Shazeer, GLU variants improve transformer, 2020",
    .activation = "swiglu", /* what moe.activation auto stands for: it is not looked at */
    .pre_width = 2,
    .runs_on_host = true,
    .list_params = list_params,
    .bind = bind,
    .forward = forward,
    .backward_input = backward_input,
    .backward_weight = backward_weight,
};
