/* BASE's and StableMoE's gate (Lewis et al. 2021; Dai et al. 2022): the k best logits, each weighed by its sigmoid, not
 * normalised. With `balanced`, in training, experts get equally many tokens of every group (balanced.h). */
#include "base/sigmoid.h"
#include "moe/gate/balanced.h"
#include "moe/gate/router.h"

static int list_params_sigmoid(const fsmoe_moe_config *config, int64_t hidden, fsm_param_spec *specs)
{
    specs[FSM_ROUTER_WEIGHT] = fsm_router_weight_spec(config, hidden);
    return 1;
}

static void take_sigmoid(fsm_arena *arena, int64_t max_tokens, fsm_gate *gate)
{
    if (!gate->config->balanced) return;
    fsm_balanced *own = FSM_ARENA_ARRAY(arena, fsm_balanced, 1), taken;
    fsm_balanced_take(arena, max_tokens, gate->config->capacity_group, gate->num_experts, gate->choices, &taken);
    gate->own = own;
    if (own) *own = taken; /* not while the arena only measures */
}

typedef struct groups {
    const fsm_gate *gate;
    int64_t n, size; /* tokens, and those of a group */
} groups;

static void choose_balanced(void *context, int64_t first, int64_t count)
{
    const groups *all = context;
    const fsm_gate *gate = all->gate;
    for (int64_t g = first; g < first + count; g++) {
        int64_t token = g * all->size, left = all->n - token, at = token * gate->num_experts;
        fsm_balanced_choose(gate->own, g, left < all->size ? left : all->size, gate->prob + at, gate->logits + at,
                            gate->choice + token * gate->choices);
    }
}

static void choose(fsm_gate *gate, const fsm_gate_input *in)
{
    const fsm_balanced *balanced = gate->own;
    if (!balanced || !in->training) {
        fsm_router_choose(gate, in->n, gate->logits);
        return;
    }
    groups all = {.gate = gate, .n = in->n, .size = in->group};
    int64_t count = all.size > 0 ? (in->n + all.size - 1) / all.size : 0;
    gate->ops->for_rows(gate->ops, count, all.size * gate->num_experts, choose_balanced, &all);
}

static void forward_sigmoid(fsm_gate *gate, const fsm_gate_input *in)
{
    fsm_router_project(gate, in->n, in->x);
    fsm_router_softmax(gate, in->n);
    choose(gate, in);
    for (int64_t i = 0; i < in->n * gate->choices; i++) {
        gate->score[i] = gate->logits[i / gate->choices * gate->num_experts + gate->choice[i]];
        gate->weight[i] = fsm_sigmoid(gate->score[i]);
    }
}

static void backward_sigmoid(fsm_gate *gate, const fsm_gate_input *in, const float *dweight,
                             const fsm_gate_loss_grad *loss, float *dx)
{
    fsm_router_losses_backward(gate, in->n, loss);
    for (int64_t i = 0; i < in->n * gate->choices; i++) {
        float w = gate->weight[i];
        gate->dlogits[i / gate->choices * gate->num_experts + gate->choice[i]] += dweight[i] * w * (1 - w);
    }
    fsm_router_project_backward(gate, in->n, in->x, dx);
}

const fsm_gate_kind fsm_gate_sigmoid = {
    .name = "sigmoid",
    .description = "top-k, sigmoid of the logit",
    .source = "Lewis et al., BASE layers, 2021; Dai et al., StableMoE, 2022",
    .has_logits = true,
    .has_weights = true,
    .list_params = list_params_sigmoid,
    .take = take_sigmoid,
    .forward = forward_sigmoid,
    .backward = backward_sigmoid,
};
