/* BASE's and StableMoE's gate (Lewis et al. 2021; Dai et al. 2022): the k best logits, each weighed by its sigmoid, not
 * normalised. With `balanced`, experts get equally many tokens in training: the choices are the best of a balanced
 * transport plan (sinkhorn.h), as Clark et al. 2022 replace BASE's auction. */
#include "moe/gate/noise.h"
#include "moe/gate/router.h"
#include "moe/gate/sinkhorn.h"

static int list_params_sigmoid(const fsmoe_moe_config *config, int64_t hidden, fsm_param_spec *specs)
{
    specs[FSM_ROUTER_WEIGHT] = fsm_router_weight_spec(config, hidden);
    return 1;
}

/* own: [N, E] the plan. */
static void take_sigmoid(fsm_arena *arena, int64_t max_tokens, fsm_gate *gate)
{
    if (gate->config->balanced) gate->own = FSM_ARENA_ARRAY(arena, float, max_tokens * gate->num_experts);
}

static void forward_sigmoid(fsm_gate *gate, const fsm_gate_input *in)
{
    float *plan = gate->own;
    fsm_router_project(gate, in->n, in->x);
    fsm_router_softmax(gate, in->n);
    if (plan && in->training) {
        for (int64_t first = 0; first < in->n; first += in->group) {
            int64_t tokens = first + in->group < in->n ? in->group : in->n - first;
            fsm_sinkhorn(tokens, gate->num_experts, gate->logits + first * gate->num_experts,
                         plan + first * gate->num_experts);
        }
    }
    fsm_router_choose(gate, in->n, plan && in->training ? plan : gate->logits);
    for (int64_t i = 0; i < in->n * gate->choices; i++)
        gate->weight[i] = fsm_sigmoid(gate->logits[i / gate->choices * gate->num_experts + gate->choice[i]]);
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
