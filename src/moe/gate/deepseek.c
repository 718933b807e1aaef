/* DeepSeek-V3's gate (DeepSeek-AI 2024): s = sigmoid(x Wg^T). Experts are in n_group groups; a group's score is the sum of
 * its two best s + bias; the k experts are the best by s + bias within the topk_group best groups; their weights are s
 * without bias, divided by their sum, times routed_scaling_factor. The bias has no gradient: after a step it moves by
 * bias_update_rate towards balance (after_step). P of the losses is s divided by its sum over experts.
 */
#include "base/sigmoid.h"
#include "moe/gate/router.h"

#include <math.h>

enum { BIAS = FSM_ROUTER_WEIGHT + 1 };

static int list_params_deepseek(const fsmoe_moe_config *config, int64_t hidden, fsm_param_spec *specs)
{
    specs[FSM_ROUTER_WEIGHT] = fsm_router_weight_spec(config, hidden);
    specs[BIAS] = (fsm_param_spec){"bias", 1, config->num_experts, 1, FSM_SHARD_NONE, FSM_INIT_ZERO, false};
    return 2;
}

static const float LEAST_SUM = 1e-20f; /* of scores that are divided by: all of them may be 0 */

typedef struct groups {
    float *score;  /* [N, E] sigmoid of the logits */
    float *biased; /* [N, E] score + bias; -infinity in closed groups */
    float *best;   /* [N, n_group] scores of groups */
    float *value;  /* [N, topk_group] */
    int32_t *open; /* [N, topk_group] */
} groups;

static void take_deepseek(fsm_memory *memory, int64_t max_tokens, fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    int64_t scores = max_tokens * gate->num_experts, n_group = gate->config->n_group, top = gate->config->topk_group;
    groups *g = FSM_TAKE_HOST(memory, groups, 1);
    groups arrays = {.score = fsm_take_reals(memory, scores),
                     .biased = fsm_take_reals(memory, scores),
                     .best = fsm_take_reals(memory, max_tokens * n_group),
                     .value = fsm_take_reals(memory, max_tokens * top),
                     .open = fsm_take_indices(memory, max_tokens * top)};
    pass->own = g;
    if (g) *g = arrays; /* not while memory is only measured */
}

/* The sum of the two largest of n values, or the only one. */
static float two_best(const float *values, int64_t n)
{
    float first = -INFINITY, second = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        if (values[i] > first) {
            second = first;
            first = values[i];
        } else if (values[i] > second) {
            second = values[i];
        }
    }
    return n > 1 ? first + second : first;
}

/* prob = score / sum of scores, P of the losses; lse is the logits'. */
static void score_token(const fsm_gate_pass *pass, int64_t token)
{
    const fsm_gate *gate = pass->gate;
    const groups *g = pass->own;
    int64_t experts = gate->num_experts, n_group = gate->config->n_group, size = experts / n_group;
    float *score = g->score + token * experts, *biased = g->biased + token * experts, sum = LEAST_SUM;
    for (int64_t e = 0; e < experts; e++) {
        score[e] = fsm_sigmoid(pass->logits[token * experts + e]);
        biased[e] = score[e] + gate->params[BIAS].value[e];
        sum += score[e];
    }
    for (int64_t e = 0; e < experts; e++) pass->prob[token * experts + e] = score[e] / sum;
    for (int64_t i = 0; i < n_group; i++) g->best[token * n_group + i] = two_best(biased + i * size, size);
}

/* -infinity for the experts of all but the token's best groups. */
static void close_groups(const fsm_gate_pass *pass, int64_t token)
{
    const fsm_gate *gate = pass->gate;
    const groups *g = pass->own;
    int64_t top = gate->config->topk_group, size = gate->num_experts / gate->config->n_group;
    for (int64_t e = 0; e < gate->num_experts; e++) {
        bool open = false;
        for (int64_t i = token * top; i < (token + 1) * top; i++) open |= g->open[i] == e / size;
        if (!open) g->biased[token * gate->num_experts + e] = -INFINITY;
    }
}

static void weigh(const fsm_gate_pass *pass, int64_t token)
{
    const fsm_gate *gate = pass->gate;
    int64_t k = gate->choices;
    const float *score = ((const groups *)pass->own)->score + token * gate->num_experts;
    const int32_t *choice = pass->choice + token * k;
    float sum = LEAST_SUM;
    for (int64_t j = 0; j < k; j++) sum += score[choice[j]];
    for (int64_t j = 0; j < k; j++)
        pass->weight[token * k + j] = (float)gate->config->routed_scaling_factor * score[choice[j]] / sum;
}

static void forward_deepseek(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    const groups *g = pass->own;
    int64_t n_group = gate->config->n_group, top = gate->config->topk_group;
    fsm_router_project(pass, pass->input.x);
    fsm_router_softmax(pass);
    fsm_router_each_token(pass, gate->num_experts, score_token);
    if (top < n_group) {
        gate->ops->top_k(gate->ops, pass->input.n, n_group, top, g->best, g->open, g->value);
        fsm_router_each_token(pass, gate->num_experts, close_groups);
    }
    fsm_router_choose(pass, g->biased);
    fsm_router_each_token(pass, gate->choices, weigh);
}

/* d score of one token from its weights and, through prob, from the losses; then through the sigmoid. */
static void scores_backward(const fsm_gate_pass *pass, int64_t token)
{
    const fsm_gate *gate = pass->gate;
    int64_t k = gate->choices, experts = gate->num_experts;
    const double *share = fsm_router_share(pass);
    const float *score = ((const groups *)pass->own)->score + token * experts, *prob = pass->prob + token * experts;
    const float *dweight = pass->dweight + token * k;
    const int32_t *choice = pass->choice + token * k;
    float *dlogits = pass->dlogits + token * experts;
    double chosen = LEAST_SUM, all = LEAST_SUM, mean_weight = 0, mean_share = 0;
    for (int64_t j = 0; j < k; j++) chosen += score[choice[j]];
    for (int64_t j = 0; j < k; j++) mean_weight += dweight[j] * score[choice[j]] / chosen;
    for (int64_t e = 0; e < experts; e++) all += score[e];
    for (int64_t e = 0; share && e < experts; e++) mean_share += share[e] * prob[e];
    for (int64_t e = 0; share && e < experts; e++)
        dlogits[e] += (float)((share[e] - mean_share) / all) * score[e] * (1 - score[e]);
    for (int64_t j = 0; j < k; j++) {
        double d = gate->config->routed_scaling_factor * (dweight[j] - mean_weight) / chosen;
        dlogits[choice[j]] += (float)d * score[choice[j]] * (1 - score[choice[j]]);
    }
}

static void backward_deepseek(fsm_gate_pass *pass)
{
    fsm_router_z_backward(pass);
    fsm_router_each_token(pass, pass->gate->num_experts, scores_backward);
    fsm_router_project_backward(pass);
}

static void move_bias(fsm_gate *gate, const double *chosen)
{
    double mean = 0;
    float *bias = gate->params[BIAS].value;
    for (int64_t e = 0; e < gate->num_experts; e++) mean += chosen[e] / (double)gate->num_experts;
    for (int64_t e = 0; e < gate->num_experts; e++) {
        int sign = (mean > chosen[e]) - (mean < chosen[e]);
        bias[e] += (float)(gate->config->bias_update_rate * sign);
    }
}

const fsm_gate_kind fsm_gate_deepseek = {
    .name = "deepseek",
    .description = "sigmoid, balance bias, group-limited top-k",
    .source = "DeepSeek-AI, DeepSeek-V3, 2024",
    .has_logits = true,
    .has_probability = true,
    .has_weights = true,
    .list_params = list_params_deepseek,
    .take = take_deepseek,
    .forward = forward_deepseek,
    .backward = backward_deepseek,
    .after_step = move_bias,
};
