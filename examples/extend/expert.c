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

static void bind(const fsmoe_moe_config *config, const fsm_param_view *views, int shard, fsm_expert_weights *weights)
{
    (void)config, (void)shard;
    *weights = (fsm_expert_weights){
        .in = {views[0].value, 2 * views[0].rows, views[0].cols, NULL},
        .out = {views[2].value, views[2].rows, views[2].cols, NULL},
        .d_in = views[0].grad,
        .d_out = views[2].grad,
    };
}

static void forward(const fsm_ops *ops, const fsm_expert_weights *w, const fsm_expert_rows *r)
{
    int64_t width = r->width;
    ops->linear_forward(ops, r->n, &w->in, NULL, r->x, fsm_rows(r->pre, 2 * width));
    for (int64_t i = 0; i < r->n * width; i++) {
        const float *a = r->pre + i / width * 2 * width + i % width;
        r->act[i] = a[0] * a[width];
    }
    ops->linear_forward(ops, r->n, &w->out, NULL, fsm_rows(r->act, width), r->y);
}

static void backward_input(const fsm_ops *ops, const fsm_expert_weights *w, const fsm_expert_rows *r)
{
    int64_t width = r->width;
    ops->linear_backward_input(ops, r->n, &w->out, r->dy, 0, fsm_rows(r->dact, width));
    for (int64_t i = 0; i < r->n * width; i++) {
        int64_t at = i / width * 2 * width + i % width;
        float a = r->pre[at], b = r->pre[at + width];
        r->pre[at] = r->dact[i] * b;
        r->pre[at + width] = r->dact[i] * a;
    }
    ops->linear_backward_input(ops, r->n, &w->in, fsm_rows(r->pre, 2 * width), 0, r->dx);
}

static void backward_weight(const fsm_ops *ops, const fsm_expert_weights *w, const fsm_expert_rows *r)
{
    ops->linear_backward_weight(ops, r->n, r->hidden, r->width, r->dy, fsm_rows(r->act, r->width), w->d_out, NULL);
    ops->linear_backward_weight(ops, r->n, 2 * r->width, r->hidden, fsm_rows(r->pre, 2 * r->width), r->x, w->d_in,
                                NULL);
}

const fsm_expert_kind my_expert = {
    .name = "bilinear",
    .description = "three matrices, product of two",
    .source = "Shazeer, GLU variants improve transformer, 2020",
    .activation = "swiglu", /* what moe.activation auto stands for: it is not looked at */
    .pre_width = 2,
    .list_params = list_params,
    .bind = bind,
    .forward = forward,
    .backward_input = backward_input,
    .backward_weight = backward_weight,
};
