/* DeepSeek-V3's gate (DeepSeek-AI 2024): s = sigmoid(x Wg^T). Experts are in n_group groups; a group's score is the sum
 * of its two best s + bias; the k experts are the best by s + bias within the topk_group best groups; their weights are
 * s without bias, divided by their sum, times routed_scaling_factor. The bias has no gradient: after a step it moves by
 * bias_update_rate towards balance (after_step). P of the losses is s divided by its sum over experts.
 */
#include "moe/gate/router.h"

enum { BIAS = FSM_ROUTER_WEIGHT + 1 };

static int list_params_deepseek(const fsmoe_moe_config *config, int64_t hidden, fsm_param_spec *specs)
{
    specs[FSM_ROUTER_WEIGHT] = fsm_router_weight_spec(config, hidden);
    specs[BIAS] = (fsm_param_spec){"bias", 1, config->num_experts, 1, FSM_SHARD_NONE, FSM_INIT_ZERO, false};
    return 2;
}

typedef struct groups {
    fsm_real *score;  /* [N, E] sigmoid of the logits */
    fsm_real *biased; /* [N, E] score + bias; -infinity in closed groups */
    fsm_real *best;   /* [N, n_group] scores of groups */
    fsm_real *value;  /* [N, topk_group] */
    fsm_index *open;  /* [N, topk_group] */
} groups;

static void take_deepseek(fsm_memory *memory, int64_t max_tokens, fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    int64_t scores = max_tokens * gate->num_experts, n_group = gate->config->n_group, top = gate->config->topk_group;
    groups *g = FSM_TAKE_HOST(memory, groups, 1);
    groups arrays = {.score = fsm_take_reals(memory, scores),
                     .biased = fsm_take_reals(memory, scores),
                     .best = fsm_take_reals(memory, max_tokens * n_group),
                     .value = fsm_take_reals(memory, max_tokens * top),
                     .open = fsm_take_indices(memory, max_tokens * top)};
    pass->own = g;
    if (g) *g = arrays; /* not while memory is only measured */
}

static fsm_group_shape shape_of(const fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    return (fsm_group_shape){.n = pass->input.n,
                             .experts = gate->num_experts,
                             .groups = gate->config->n_group,
                             .choices = gate->choices,
                             .scale = gate->config->routed_scaling_factor};
}

static void forward_deepseek(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    const fsm_ops *ops = gate->ops;
    const groups *g = pass->own;
    const fsm_group_shape shape = shape_of(pass);
    int64_t top = gate->config->topk_group;
    fsm_router_project(pass, pass->input.x);
    fsm_router_softmax(pass); /* for lse: prob becomes P of the losses */
    ops->route.group_scores(ops, &shape, pass->logits, gate->params[BIAS].value, g->score, g->biased, pass->prob,
                            g->best);
    if (top < shape.groups) {
        ops->top_k(ops, shape.n, shape.groups, top, g->best, g->open, g->value);
        ops->route.close_groups(ops, &shape, top, g->open, g->biased);
    }
    fsm_router_choose(pass, g->biased);
    ops->route.group_weights(ops, &shape, g->score, pass->choice, pass->weight);
}

static void backward_deepseek(fsm_gate_pass *pass)
{
    const fsm_ops *ops = pass->gate->ops;
    const fsm_group_shape shape = shape_of(pass);
    fsm_router_z_backward(pass);
    ops->route.group_backward(ops, &shape, ((const groups *)pass->own)->score, pass->prob, pass->choice, pass->dweight,
                              fsm_router_share(pass), pass->dlogits);
    fsm_router_project_backward(pass);
}

static void move_bias(fsm_gate *gate, const fsm_sum *chosen)
{
    gate->ops->route.move_bias(gate->ops, gate->num_experts, gate->config->bias_update_rate, chosen,
                               gate->params[BIAS].value);
}

const fsm_gate_kind fsm_gate_deepseek = {
    .name = "deepseek",
    .description = "sigmoid, balance bias, group-limited top-k",
    .source = "DeepSeek-AI, DeepSeek-V3, 2024",
    .has_logits = true,
    .has_probability = true,
    .has_weights = true,
    .list_params = list_params_deepseek,
    .take = take_deepseek,
    .forward = forward_deepseek,
    .backward = backward_deepseek,
    .after_step = move_bias,
};
