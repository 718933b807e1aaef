#include "moe/gate/router.h"

#include "moe/gate/balance.h"

#include <math.h>

fsm_param_spec fsm_router_weight_spec(const fsmoe_moe_config *config, int64_t hidden)
{
    return (fsm_param_spec){"weight", config->num_experts, hidden, 2, FSM_SHARD_NONE, FSM_INIT_NORMAL, true};
}

typedef struct token_loop {
    const fsm_gate_pass *pass;
    fsm_token_body *body;
} token_loop;

static void run_tokens(void *context, int64_t first, int64_t count)
{
    const token_loop *loop = context;
    for (int64_t i = first; i < first + count; i++) loop->body(loop->pass, i);
}

void fsm_router_each_token(const fsm_gate_pass *pass, int64_t width, fsm_token_body *body)
{
    token_loop loop = {.pass = pass, .body = body};
    const fsm_ops *ops = pass->gate->ops;
    ops->for_rows(ops, pass->input.n, width, run_tokens, &loop);
}

void fsm_router_project(fsm_gate_pass *pass, const float *x)
{
    const fsm_gate *gate = pass->gate;
    gate->ops->linear_forward(gate->ops, pass->input.n, &gate->weights[FSM_ROUTER_WEIGHT], NULL,
                              fsm_reals(x, gate->hidden), fsm_reals(pass->logits, gate->num_experts));
}

void fsm_router_project_backward(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    int64_t n = pass->input.n, num_experts = gate->num_experts, hidden = gate->hidden;
    gate->ops->linear_backward_input(gate->ops, n, &gate->weights[FSM_ROUTER_WEIGHT],
                                     fsm_reals(pass->dlogits, num_experts), 1.0f, fsm_reals(pass->dx, hidden));
    gate->ops->linear_backward_weight(gate->ops, n, num_experts, hidden, fsm_reals(pass->dlogits, num_experts),
                                      fsm_reals(pass->input.x, hidden), gate->params[FSM_ROUTER_WEIGHT].grad, NULL);
}

void fsm_router_softmax(fsm_gate_pass *pass)
{
    const fsm_ops *ops = pass->gate->ops;
    ops->softmax(ops, pass->input.n, pass->gate->num_experts, pass->logits, pass->prob, pass->lse);
}

void fsm_router_choose(fsm_gate_pass *pass, const float *scores)
{
    const fsm_gate *gate = pass->gate;
    gate->ops->top_k(gate->ops, pass->input.n, gate->num_experts, gate->choices, scores, pass->choice, pass->score);
}

void fsm_router_softmax_weights(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    int64_t n = pass->input.n, k = gate->choices;
    if (k > 1) {
        gate->ops->softmax(gate->ops, n, k, pass->score, pass->weight, NULL);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        pass->weight[i] = gate->config->normalize_top_k ? 1.0f : pass->prob[i * gate->num_experts + pass->choice[i]];
}

/* d logits of one token from its combine weights. */
static void weights_backward(const fsm_gate_pass *pass, int64_t token)
{
    const fsm_gate *gate = pass->gate;
    int64_t k = gate->choices;
    const int32_t *choice = pass->choice + token * k;
    const float *weight = pass->weight + token * k, *dweight = pass->dweight + token * k;
    float *dlogits = pass->dlogits + token * gate->num_experts;
    if (k > 1) {
        float mean = 0;
        for (int64_t j = 0; j < k; j++) mean += weight[j] * dweight[j];
        for (int64_t j = 0; j < k; j++) dlogits[choice[j]] += weight[j] * (dweight[j] - mean);
    } else if (!gate->config->normalize_top_k) {
        const float *p = pass->prob + token * gate->num_experts;
        float g = dweight[0] * weight[0];
        for (int64_t e = 0; e < gate->num_experts; e++) dlogits[e] -= g * p[e];
        dlogits[choice[0]] += g;
    }
}

void fsm_router_softmax_weights_backward(fsm_gate_pass *pass)
{
    fsm_router_each_token(pass, pass->gate->num_experts, weights_backward);
}

const double *fsm_router_share(const fsm_gate_pass *pass)
{
    const fsm_balance *balance = pass->gate->balance;
    return balance && !balance->of_weights ? pass->loss.share : NULL;
}

/* Softmax backward of `share`, the same for every token, and the z-loss. */
static void token_losses_backward(const fsm_gate_pass *pass, int64_t token)
{
    int64_t num_experts = pass->gate->num_experts;
    const double *share = fsm_router_share(pass);
    const float *p = pass->prob + token * num_experts;
    float *dlogits = pass->dlogits + token * num_experts;
    double mean = 0, z = pass->loss.log_sum_coeff * pass->lse[token];
    for (int64_t e = 0; share && e < num_experts; e++) mean += p[e] * share[e];
    for (int64_t e = 0; e < num_experts; e++) dlogits[e] = (float)(p[e] * ((share ? share[e] : 0) - mean + z));
}

void fsm_router_losses_backward(fsm_gate_pass *pass)
{
    fsm_router_each_token(pass, pass->gate->num_experts, token_losses_backward);
}

static void token_z_backward(const fsm_gate_pass *pass, int64_t token)
{
    int64_t num_experts = pass->gate->num_experts;
    const float z = (float)(pass->loss.log_sum_coeff * pass->lse[token]);
    for (int64_t e = token * num_experts; e < (token + 1) * num_experts; e++)
        pass->dlogits[e] = z == 0 ? 0 : z * expf(pass->logits[e] - pass->lse[token]);
}

void fsm_router_z_backward(fsm_gate_pass *pass)
{
    fsm_router_each_token(pass, pass->gate->num_experts, token_z_backward);
}
