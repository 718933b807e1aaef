/* A gate: the k best logits, each weighed by (1 + tanh(logit)) / 2. It runs on the host. */
#include "extend.h"

#include <math.h>

static float weight_of(float logit, float *slope)
{
    float weight = 0.5f * (1 + tanhf(logit));
    *slope = 2 * weight * (1 - weight);
    return weight;
}

static void forward(fsm_gate_pass *pass)
{
    fsm_router_project(pass, pass->input.x);
    fsm_router_softmax(pass); /* for the losses */
    fsm_router_choose(pass, pass->logits);
    fsm_router_weigh(pass, weight_of);
}

static void backward(fsm_gate_pass *pass)
{
    fsm_router_losses_backward(pass);
    fsm_router_weigh_backward(pass, weight_of);
    fsm_router_project_backward(pass);
}

const fsm_gate_kind my_gate = {
    .name = "tanh",
    .description = "top-k, (1 + tanh(logit)) / 2",
    .source = "examples/extend",
    .runs_on_host = true,
    .has_logits = true,
    .has_probability = true,
    .has_weights = true,
    .list_params = fsm_router_list_weight,
    .forward = forward,
    .backward = backward,
};
