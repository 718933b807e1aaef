/* GShard's noisy top-k gate (Lepikhin et al. 2020; noise as in Shazeer et al. 2017):
 *   logits = x Wg^T  (+ N(0,1) * softplus(x Wn^T) in noisy training)
 *   choices = top-k of logits; weights = softmax over the chosen logits (k = 1: the softmax probability over all
 *   experts, or 1 with normalize_top_k).
 * The losses see the logits that chose.
 */
#include "base/rng.h"
#include "moe/gate/gate.h"

#include <math.h>

enum { WEIGHT, NOISE_WEIGHT };

static int list_params_gshard(const fsmoe_moe_config *config, int64_t hidden, fsm_param_spec *specs)
{
    specs[WEIGHT] = (fsm_param_spec){"weight", config->num_experts, hidden, 2, FSM_SHARD_NONE, FSM_INIT_NORMAL, true};
    if (!config->noisy) return 1;
    specs[NOISE_WEIGHT] =
        (fsm_param_spec){"noise_weight", config->num_experts, hidden, 2, FSM_SHARD_NONE, FSM_INIT_ZERO, true};
    return 2;
}

static float softplus(float s)
{
    return s > 20.0f ? s : log1pf(expf(s));
}

static float sigmoid(float s)
{
    return 1.0f / (1.0f + expf(-s));
}

static void add_noise(fsm_gate *gate, const fsm_gate_input *in)
{
    int64_t scores = in->n * gate->num_experts;
    gate->ops->linear_forward(in->n, &gate->weights[NOISE_WEIGHT], NULL, in->x, gate->hidden, gate->spread,
                              gate->num_experts);
    uint64_t first = in->first_token * (uint64_t)gate->num_experts;
    for (int64_t i = 0; i < scores; i++) {
        gate->noise[i] = (float)fsm_rng_normal(in->seed, FSM_RNG_GATE_NOISE + in->layer, first + (uint64_t)i);
        gate->logits[i] += gate->noise[i] * softplus(gate->spread[i]);
    }
}

static void set_weights(fsm_gate *gate, int64_t n)
{
    int64_t k = gate->top_k;
    if (k > 1) {
        gate->ops->softmax(n, k, gate->score, gate->weight, NULL);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        gate->weight[i] = gate->normalize_top_k ? 1.0f : gate->prob[i * gate->num_experts + gate->choice[i]];
}

static void add_sums(const fsm_gate *gate, int64_t n, fsm_gate_sums *sums)
{
    int64_t num_experts = gate->num_experts;
    for (int64_t i = 0; i < n; i++) {
        const float *p = gate->prob + i * num_experts;
        for (int64_t e = 0; e < num_experts; e++) sums->probability[e] += p[e];
        sums->first_choices[gate->choice[i * gate->top_k]] += 1;
        *sums->log_sum_sq += (double)gate->lse[i] * gate->lse[i];
    }
    *sums->tokens += (double)n;
}

static void forward_gshard(fsm_gate *gate, const fsm_gate_input *in, fsm_gate_sums *sums)
{
    const fsm_ops *ops = gate->ops;
    ops->linear_forward(in->n, &gate->weights[WEIGHT], NULL, in->x, gate->hidden, gate->logits, gate->num_experts);
    if (gate->noisy && in->training) add_noise(gate, in);
    ops->softmax(in->n, gate->num_experts, gate->logits, gate->prob, gate->lse);
    ops->top_k(in->n, gate->num_experts, gate->top_k, gate->logits, gate->choice, gate->score);
    set_weights(gate, in->n);
    add_sums(gate, in->n, sums);
}

/* d logits of one token from the losses: softmax backward of `load`, and the z-loss. */
static void losses_backward(const fsm_gate *gate, int64_t token, const fsm_gate_loss_grad *loss, float *dlogits)
{
    const float *p = gate->prob + token * gate->num_experts;
    double mean = 0;
    for (int64_t e = 0; e < gate->num_experts; e++) mean += p[e] * loss->load[e];
    double z = loss->log_sum_coeff * gate->lse[token];
    for (int64_t e = 0; e < gate->num_experts; e++) dlogits[e] = (float)(p[e] * (loss->load[e] - mean + z));
}

/* d logits of one token from its combine weights. */
static void weights_backward(const fsm_gate *gate, int64_t token, const float *dweight, float *dlogits)
{
    int64_t k = gate->top_k;
    const int32_t *choice = gate->choice + token * k;
    const float *weight = gate->weight + token * k;
    if (k > 1) {
        float mean = 0;
        for (int64_t j = 0; j < k; j++) mean += weight[j] * dweight[j];
        for (int64_t j = 0; j < k; j++) dlogits[choice[j]] += weight[j] * (dweight[j] - mean);
    } else if (!gate->normalize_top_k) {
        const float *p = gate->prob + token * gate->num_experts;
        float g = dweight[0] * weight[0];
        for (int64_t e = 0; e < gate->num_experts; e++) dlogits[e] -= g * p[e];
        dlogits[choice[0]] += g;
    }
}

static void backward_gshard(fsm_gate *gate, const fsm_gate_input *in, const float *dweight,
                            const fsm_gate_loss_grad *loss, float *dx)
{
    const fsm_ops *ops = gate->ops;
    int64_t num_experts = gate->num_experts, hidden = gate->hidden;
    for (int64_t i = 0; i < in->n; i++) {
        float *dlogits = gate->dlogits + i * num_experts;
        losses_backward(gate, i, loss, dlogits);
        weights_backward(gate, i, dweight + i * gate->top_k, dlogits);
    }
    ops->linear_backward_input(in->n, &gate->weights[WEIGHT], gate->dlogits, num_experts, 1.0f, dx, hidden);
    ops->linear_backward_weight(in->n, num_experts, hidden, gate->dlogits, num_experts, in->x, hidden,
                                gate->params[WEIGHT].grad, NULL);
    if (!gate->noisy || !in->training) return;
    for (int64_t i = 0; i < in->n * num_experts; i++)
        gate->dspread[i] = gate->dlogits[i] * gate->noise[i] * sigmoid(gate->spread[i]);
    ops->linear_backward_input(in->n, &gate->weights[NOISE_WEIGHT], gate->dspread, num_experts, 1.0f, dx, hidden);
    ops->linear_backward_weight(in->n, num_experts, hidden, gate->dspread, num_experts, in->x, hidden,
                                gate->params[NOISE_WEIGHT].grad, NULL);
}

const fsm_gate_kind fsm_gate_gshard = {
    .name = "gshard",
    .description = "noisy top-k, softmax over the chosen logits",
    .source = "Lepikhin et al., GShard, 2020",
    .list_params = list_params_gshard,
    .forward = forward_gshard,
    .backward = backward_gshard,
};
