/* GShard's noisy top-k gate (Lepikhin et al. 2020; noise as in Shazeer et al. 2017):
 *   logits = x Wg^T  (+ N(0,1) * softplus(x Wn^T) in noisy training)
 *   choices = top-k of logits; weights = softmax over the chosen logits (k = 1: the softmax probability over all
 *   experts, or 1 with normalize_top_k).
 * The losses see the logits that chose. Under noise the load of importance_load is smooth (noise.h).
 */
#include "base/rng.h"
#include "moe/gate/noise.h"
#include "moe/gate/router.h"

enum { NOISE_WEIGHT = FSM_ROUTER_WEIGHT + 1 };

static int list_params_gshard(const fsmoe_moe_config *config, int64_t hidden, fsm_param_spec *specs)
{
    specs[FSM_ROUTER_WEIGHT] = fsm_router_weight_spec(config, hidden);
    if (!config->noisy) return 1;
    specs[NOISE_WEIGHT] =
        (fsm_param_spec){"noise_weight", config->num_experts, hidden, 2, FSM_SHARD_NONE, FSM_INIT_ZERO, true};
    return 2;
}

static void take_gshard(fsm_memory *memory, int64_t max_tokens, fsm_gate_pass *pass)
{
    if (!pass->gate->config->noisy) return;
    fsm_gate_noise *noise = FSM_TAKE_HOST(memory, fsm_gate_noise, 1);
    int64_t scores = max_tokens * pass->gate->num_experts;
    fsm_gate_noise arrays = {.drawn = fsm_take_reals(memory, scores),
                             .spread = fsm_take_reals(memory, scores),
                             .dspread = fsm_take_reals(memory, scores)};
    if (fsm_smooth_load_needed(pass->gate->config)) fsm_smooth_load_take(memory, pass->gate, max_tokens, &arrays);
    pass->own = noise;
    if (noise) *noise = arrays; /* not while memory is only measured */
}

static void draw_noise(fsm_gate_pass *pass)
{
    const fsm_gate_input *in = &pass->input;
    const fsm_ops *ops = pass->gate->ops;
    const fsm_gate_noise *noise = pass->own;
    int64_t scores = in->n * pass->gate->num_experts;
    const fsm_draw draw = {.seed = in->seed,
                           .stream = FSM_RNG_GATE_NOISE + in->layer,
                           .first = in->first_token * (uint64_t)pass->gate->num_experts};
    if (in->noise) ops->copy(ops, FSM_REAL_BYTES * (size_t)scores, in->noise, noise->drawn);
    else ops->route.normal(ops, scores, &draw, noise->drawn);
}

static void noise_forward(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    const fsm_gate_noise *noise = pass->own;
    int64_t n = pass->input.n, num_experts = gate->num_experts;
    gate->ops->linear_forward(gate->ops, n, &gate->weights[NOISE_WEIGHT], NULL, fsm_rows(pass->input.x, gate->hidden),
                              fsm_reals(noise->spread, num_experts));
    draw_noise(pass);
    gate->ops->route.noise_forward(gate->ops, n * num_experts, noise->drawn, noise->spread, pass->logits);
}

static void forward_gshard(fsm_gate_pass *pass)
{
    fsm_gate_noise *noise = pass->own;
    fsm_router_project(pass, pass->input.x);
    if (noise) noise->on = pass->input.training;
    if (noise && noise->on) noise_forward(pass);
    fsm_router_softmax(pass);
    fsm_router_choose(pass, pass->logits);
    fsm_router_softmax_weights(pass);
}

static void noise_backward(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    int64_t n = pass->input.n, num_experts = gate->num_experts, hidden = gate->hidden;
    const fsm_gate_noise *noise = pass->own;
    gate->ops->zero(gate->ops, n * num_experts, noise->dspread);
    if (fsm_smooth_load_needed(gate->config)) fsm_smooth_load_backward(pass);
    gate->ops->route.noise_backward(gate->ops, n * num_experts, noise->drawn, noise->spread, pass->dlogits,
                                    noise->dspread);
    gate->ops->linear_backward_input(gate->ops, n, &gate->weights[NOISE_WEIGHT], fsm_reals(noise->dspread, num_experts),
                                     1.0f, fsm_reals(pass->dx, hidden));
    gate->ops->linear_backward_weight(gate->ops, n, num_experts, hidden, fsm_reals(noise->dspread, num_experts),
                                      fsm_rows(pass->input.x, hidden), gate->params[NOISE_WEIGHT].grad, NULL);
}

static void backward_gshard(fsm_gate_pass *pass)
{
    const fsm_gate_noise *noise = pass->own;
    fsm_router_losses_backward(pass);
    fsm_router_softmax_weights_backward(pass);
    if (noise && noise->on) noise_backward(pass);
    fsm_router_project_backward(pass);
}

static const char *on_host_gshard(const fsmoe_moe_config *config)
{
    return fsm_smooth_load_needed(config) ? "the smooth load under noise, which importance_load is made of" : NULL;
}

const fsm_gate_kind fsm_gate_gshard = {
    .name = "gshard",
    .description = "noisy top-k, softmax over the chosen logits",
    .source = "Lepikhin et al., GShard, 2020",
    .has_logits = true,
    .has_probability = true,
    .has_weights = true,
    .on_host = on_host_gshard,
    .list_params = list_params_gshard,
    .take = take_gshard,
    .forward = forward_gshard,
    .backward = backward_gshard,
    .add_load = fsm_smooth_load,
};
