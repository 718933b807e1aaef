/* Switch's gate (Fedus et al. 2021): the one best expert, weighed by its softmax probability. In training the gate may
 * see its input times U(1 - e, 1 + e), drawn by the token's number. */
#include "base/rng.h"
#include "moe/gate/router.h"

static int list_params_switch(const fsmoe_moe_config *config, int64_t hidden, fsm_param_spec *specs)
{
    specs[FSM_ROUTER_WEIGHT] = fsm_router_weight_spec(config, hidden);
    return 1;
}

/* own: [N, M] the jittered input, in backward its gradient. */
static void take_switch(fsm_memory *memory, int64_t max_tokens, fsm_gate_pass *pass)
{
    if (pass->gate->config->jitter > 0) pass->own = fsm_take_reals(memory, max_tokens * pass->gate->hidden);
}

enum { DRAW = 4 }; /* copies of an element that drawing its number takes as long as */

/* y [M] of one token = (add ? y : 0) + x times the token's jitter: four elements share a random number's counter. */
static void jitter_row(const fsm_gate_pass *pass, int64_t token, const float *x, bool add, float *y)
{
    const fsm_gate_input *in = &pass->input;
    const float most = (float)pass->gate->config->jitter;
    int64_t hidden = pass->gate->hidden, blocks = (hidden + 3) / 4;
    uint64_t first = (in->first_token + (uint64_t)token) * (uint64_t)blocks;
    for (int64_t block = 0; block < blocks; block++) {
        float u[4];
        fsm_rng_uniform_four(in->seed, FSM_RNG_GATE_NOISE + in->layer, first + (uint64_t)block, u);
        for (int64_t m = 4 * block; m < 4 * block + 4 && m < hidden; m++)
            y[m] = (add ? y[m] : 0) + x[m] * (1 + most * (2 * u[m % 4] - 1));
    }
}

static void jitter_token(const fsm_gate_pass *pass, int64_t token)
{
    int64_t at = token * pass->gate->hidden;
    jitter_row(pass, token, pass->input.x + at, false, (float *)pass->own + at);
}

static void jitter_token_backward(const fsm_gate_pass *pass, int64_t token)
{
    int64_t at = token * pass->gate->hidden;
    jitter_row(pass, token, (float *)pass->own + at, true, pass->dx + at);
}

static bool jitters(const fsm_gate_pass *pass)
{
    return pass->input.training && pass->gate->config->jitter > 0;
}

static const float *seen(fsm_gate_pass *pass)
{
    if (!jitters(pass)) return pass->input.x;
    fsm_router_each_token(pass, DRAW * pass->gate->hidden, jitter_token);
    return pass->own;
}

static void forward_switch(fsm_gate_pass *pass)
{
    fsm_router_project(pass, seen(pass));
    fsm_router_softmax(pass);
    fsm_router_choose(pass, pass->logits);
    fsm_router_softmax_weights(pass);
}

/* dx += what reached the jittered input times the jitter. */
static void jittered_backward(fsm_gate_pass *pass)
{
    float *jittered = pass->own;
    const fsm_gate *gate = pass->gate;
    const fsm_weight *w = &gate->weights[FSM_ROUTER_WEIGHT];
    int64_t n = pass->input.n, num_experts = gate->num_experts, hidden = gate->hidden;
    gate->ops->linear_backward_weight(gate->ops, n, num_experts, hidden, fsm_reals(pass->dlogits, num_experts),
                                      fsm_reals(jittered, hidden), gate->params[FSM_ROUTER_WEIGHT].grad, NULL);
    gate->ops->linear_backward_input(gate->ops, n, w, fsm_reals(pass->dlogits, num_experts), 0.0f,
                                     fsm_reals(jittered, hidden));
    fsm_router_each_token(pass, DRAW * hidden, jitter_token_backward);
}

static void backward_switch(fsm_gate_pass *pass)
{
    fsm_router_losses_backward(pass);
    fsm_router_softmax_weights_backward(pass);
    if (jitters(pass)) jittered_backward(pass);
    else fsm_router_project_backward(pass);
}

const fsm_gate_kind fsm_gate_switch = {
    .name = "switch",
    .description = "top-1, softmax probability",
    .source = "Fedus et al., Switch Transformers, 2021",
    .has_logits = true,
    .has_probability = true,
    .has_weights = true,
    .list_params = list_params_switch,
    .take = take_switch,
    .forward = forward_switch,
    .backward = backward_switch,
};
