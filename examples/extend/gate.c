/* A gate: the k best logits, each weighed by (1 + tanh(logit)) / 2. */
#include "extend.h"

#include <math.h>

static int list_params(const fsmoe_moe_config *config, int64_t hidden, fsm_param_spec *specs)
{
    specs[0] = fsm_router_weight_spec(config, hidden);
    return 1;
}

static int64_t logit_of(const fsm_gate_pass *pass, int64_t pair)
{
    return pair / pass->gate->choices * pass->gate->num_experts + pass->choice[pair];
}

static void forward(fsm_gate_pass *pass)
{
    fsm_router_project(pass, pass->input.x);
    fsm_router_softmax(pass); /* for the losses */
    fsm_router_choose(pass, pass->logits);
    for (int64_t i = 0; i < pass->input.n * pass->gate->choices; i++)
        pass->weight[i] = 0.5f * (1 + tanhf(pass->logits[logit_of(pass, i)]));
}

static void backward(fsm_gate_pass *pass)
{
    fsm_router_losses_backward(pass);
    for (int64_t i = 0; i < pass->input.n * pass->gate->choices; i++)
        pass->dlogits[logit_of(pass, i)] += pass->dweight[i] * 2 * pass->weight[i] * (1 - pass->weight[i]);
    fsm_router_project_backward(pass);
}

const fsm_gate_kind my_gate = {
    .name = "tanh",
    .description = "top-k, (1 + tanh(logit)) / 2",
    .source = "examples/extend",
    .has_logits = true,
    .has_probability = true,
    .has_weights = true,
    .list_params = list_params,
    .forward = forward,
    .backward = backward,
};
