/* A gate: the k best logits, each weighed by (1 + tanh(logit)) / 2. */
#include "extend.h"

#include <math.h>

static int list_params(const fsmoe_moe_config *config, int64_t hidden, fsm_param_spec *specs)
{
    specs[0] = fsm_router_weight_spec(config, hidden);
    return 1;
}

static float *logit_of(const fsm_gate *gate, float *scores, int64_t pair)
{
    return &scores[pair / gate->choices * gate->num_experts + gate->choice[pair]];
}

static void forward(fsm_gate *gate, const fsm_gate_input *in)
{
    fsm_router_project(gate, in->n, in->x);
    fsm_router_softmax(gate, in->n); /* for the losses */
    fsm_router_choose(gate, in->n, gate->logits);
    for (int64_t i = 0; i < in->n * gate->choices; i++)
        gate->weight[i] = 0.5f * (1 + tanhf(*logit_of(gate, gate->logits, i)));
}

static void backward(fsm_gate *gate, const fsm_gate_input *in, const float *dweight, const fsm_gate_loss_grad *loss,
                     float *dx)
{
    fsm_router_losses_backward(gate, in->n, loss);
    for (int64_t i = 0; i < in->n * gate->choices; i++)
        *logit_of(gate, gate->dlogits, i) += dweight[i] * 2 * gate->weight[i] * (1 - gate->weight[i]);
    fsm_router_project_backward(gate, in->n, in->x, dx);
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
