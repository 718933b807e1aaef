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

void fsm_router_each_token(const fsm_gate_pass *pass, int64_t n, int64_t width, fsm_token_body *body)
{
    token_loop loop = {.pass = pass, .body = body};
    pass->gate->ops->for_rows(pass->gate->ops, n, width, run_tokens, &loop);
}

void fsm_router_project(fsm_gate *gate, int64_t n, const float *x)
{
    gate->ops->linear_forward(gate->ops, n, &gate->weights[FSM_ROUTER_WEIGHT], NULL, x, gate->hidden, gate->logits,
                              gate->num_experts);
}

void fsm_router_project_backward(fsm_gate *gate, int64_t n, const float *x, float *dx)
{
    int64_t num_experts = gate->num_experts, hidden = gate->hidden;
    gate->ops->linear_backward_input(gate->ops, n, &gate->weights[FSM_ROUTER_WEIGHT], gate->dlogits, num_experts, 1.0f,
                                     dx, hidden);
    gate->ops->linear_backward_weight(gate->ops, n, num_experts, hidden, gate->dlogits, num_experts, x, hidden,
                                      gate->params[FSM_ROUTER_WEIGHT].grad, NULL);
}

void fsm_router_softmax(fsm_gate *gate, int64_t n)
{
    gate->ops->softmax(gate->ops, n, gate->num_experts, gate->logits, gate->prob, gate->lse);
}

void fsm_router_choose(fsm_gate *gate, int64_t n, const float *scores)
{
    gate->ops->top_k(gate->ops, n, gate->num_experts, gate->choices, scores, gate->choice, gate->score);
}

void fsm_router_softmax_weights(fsm_gate *gate, int64_t n)
{
    int64_t k = gate->choices;
    if (k > 1) {
        gate->ops->softmax(gate->ops, n, k, gate->score, gate->weight, NULL);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        gate->weight[i] = gate->config->normalize_top_k ? 1.0f : gate->prob[i * gate->num_experts + gate->choice[i]];
}

/* d logits of one token from its combine weights. */
static void weights_backward(const fsm_gate_pass *pass, int64_t token)
{
    const fsm_gate *gate = pass->gate;
    int64_t k = gate->choices;
    const int32_t *choice = gate->choice + token * k;
    const float *weight = gate->weight + token * k, *dweight = pass->dweight + token * k;
    float *dlogits = gate->dlogits + token * gate->num_experts;
    if (k > 1) {
        float mean = 0;
        for (int64_t j = 0; j < k; j++) mean += weight[j] * dweight[j];
        for (int64_t j = 0; j < k; j++) dlogits[choice[j]] += weight[j] * (dweight[j] - mean);
    } else if (!gate->config->normalize_top_k) {
        const float *p = gate->prob + token * gate->num_experts;
        float g = dweight[0] * weight[0];
        for (int64_t e = 0; e < gate->num_experts; e++) dlogits[e] -= g * p[e];
        dlogits[choice[0]] += g;
    }
}

void fsm_router_softmax_weights_backward(fsm_gate *gate, int64_t n, const float *dweight)
{
    const fsm_gate_pass pass = {.gate = gate, .dweight = dweight};
    fsm_router_each_token(&pass, n, gate->num_experts, weights_backward);
}

const double *fsm_router_share(const fsm_gate *gate, const fsm_gate_loss_grad *loss)
{
    return gate->balance && !gate->balance->of_weights ? loss->share : NULL;
}

/* Softmax backward of `share`, the same for every token, and the z-loss. */
static void token_losses_backward(const fsm_gate_pass *pass, int64_t token)
{
    const fsm_gate *gate = pass->gate;
    const double *share = fsm_router_share(gate, pass->loss);
    const float *p = gate->prob + token * gate->num_experts;
    float *dlogits = gate->dlogits + token * gate->num_experts;
    double mean = 0, z = pass->loss->log_sum_coeff * gate->lse[token];
    for (int64_t e = 0; share && e < gate->num_experts; e++) mean += p[e] * share[e];
    for (int64_t e = 0; e < gate->num_experts; e++) dlogits[e] = (float)(p[e] * ((share ? share[e] : 0) - mean + z));
}

void fsm_router_losses_backward(fsm_gate *gate, int64_t n, const fsm_gate_loss_grad *loss)
{
    const fsm_gate_pass pass = {.gate = gate, .loss = loss};
    fsm_router_each_token(&pass, n, gate->num_experts, token_losses_backward);
}

static void token_z_backward(const fsm_gate_pass *pass, int64_t token)
{
    const fsm_gate *gate = pass->gate;
    const float z = (float)(pass->loss->log_sum_coeff * gate->lse[token]);
    for (int64_t e = token * gate->num_experts; e < (token + 1) * gate->num_experts; e++)
        gate->dlogits[e] = z == 0 ? 0 : z * expf(gate->logits[e] - gate->lse[token]);
}

void fsm_router_z_backward(fsm_gate *gate, int64_t n, const fsm_gate_loss_grad *loss)
{
    const fsm_gate_pass pass = {.gate = gate, .loss = loss};
    fsm_router_each_token(&pass, n, gate->num_experts, token_z_backward);
}
