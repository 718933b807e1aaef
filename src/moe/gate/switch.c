/* Switch's gate (Fedus et al. 2021): the one best expert, weighed by its softmax probability. In training the gate may
 * see its input times U(1 - e, 1 + e), drawn by the token's number. */
#include "base/rng.h"
#include "moe/gate/router.h"

/* own: rows [N, M], the jittered input; in backward its gradient, as exact as a row is. */
static void take_switch(fsm_memory *memory, int64_t max_tokens, fsm_gate_pass *pass)
{
    if (pass->gate->config->jitter > 0) pass->own = fsm_take_rows(memory, max_tokens * pass->gate->hidden);
}

static bool jitters(const fsm_gate_pass *pass)
{
    return pass->input.training && pass->gate->config->jitter > 0;
}

static fsm_draw draw_of(const fsm_gate_input *in)
{
    return (fsm_draw){.seed = in->seed, .stream = FSM_RNG_GATE_NOISE + in->layer, .first = in->first_token};
}

static const fsm_row *seen(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    const fsm_draw draw = draw_of(&pass->input);
    if (!jitters(pass)) return pass->input.x;
    gate->ops->route.jitter_forward(gate->ops, pass->input.n, gate->hidden, (float)gate->config->jitter, &draw,
                                    pass->input.x, pass->own);
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
    const fsm_gate *gate = pass->gate;
    const fsm_ops *ops = gate->ops;
    const fsm_draw draw = draw_of(&pass->input);
    int64_t n = pass->input.n, num_experts = gate->num_experts, hidden = gate->hidden;
    fsm_matrix jittered = fsm_rows(pass->own, hidden), dlogits = fsm_reals(pass->dlogits, num_experts);
    ops->linear_backward_weight(ops, n, num_experts, hidden, dlogits, jittered, gate->params[FSM_ROUTER_WEIGHT].grad,
                                NULL);
    ops->linear_backward_input(ops, n, &gate->weights[FSM_ROUTER_WEIGHT], dlogits, 0, jittered);
    ops->route.jitter_backward(ops, n, hidden, (float)gate->config->jitter, &draw, pass->own, pass->dx);
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
    .list_params = fsm_router_list_weight,
    .take = take_switch,
    .forward = forward_switch,
    .backward = backward_switch,
};
