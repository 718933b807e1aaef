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

static void take_sigmoid(fsm_memory *memory, int64_t max_tokens, fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    if (!gate->config->balanced) return;
    fsm_balanced *own = FSM_TAKE_HOST(memory, fsm_balanced, 1), taken;
    fsm_balanced_take(memory, max_tokens, gate->config->capacity_group, gate->num_experts, gate->choices, &taken);
    pass->own = own;
    if (own) *own = taken; /* not while memory is only measured */
}

/* Groups [first, first + count) of the pass's tokens. */
static void choose_balanced(void *context, int64_t first, int64_t count)
{
    const fsm_gate_pass *pass = context;
    int64_t size = pass->input.group;
    for (int64_t g = first; g < first + count; g++) {
        int64_t token = g * size, left = pass->input.n - token, at = token * pass->gate->num_experts;
        fsm_balanced_choose(pass->own, g, left < size ? left : size, pass->prob + at, pass->logits + at,
                            pass->choice + token * pass->gate->choices);
    }
}

static void choose(fsm_gate_pass *pass)
{
    const fsm_ops *ops = pass->gate->ops;
    int64_t size = pass->input.group, groups = size > 0 ? (pass->input.n + size - 1) / size : 0;
    if (!pass->own || !pass->input.training) fsm_router_choose(pass, pass->logits);
    else ops->for_rows(ops, groups, size * pass->gate->num_experts, choose_balanced, pass);
}

/* Where a (token, choice) pair's expert stands among the logits. */
static int64_t logit_of(const fsm_gate_pass *pass, int64_t pair)
{
    return pair / pass->gate->choices * pass->gate->num_experts + pass->choice[pair];
}

static void forward_sigmoid(fsm_gate_pass *pass)
{
    fsm_router_project(pass, pass->input.x);
    fsm_router_softmax(pass);
    choose(pass);
    for (int64_t i = 0; i < pass->input.n * pass->gate->choices; i++) {
        pass->score[i] = pass->logits[logit_of(pass, i)];
        pass->weight[i] = fsm_sigmoid(pass->score[i]);
    }
}

static void backward_sigmoid(fsm_gate_pass *pass)
{
    fsm_router_losses_backward(pass);
    for (int64_t i = 0; i < pass->input.n * pass->gate->choices; i++) {
        float w = pass->weight[i];
        pass->dlogits[logit_of(pass, i)] += pass->dweight[i] * w * (1 - w);
    }
    fsm_router_project_backward(pass);
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
