/* X-MoE's gate (Chi et al. 2022): experts are directions in a space of P dimensions.
 *   z = x Wp^T;  logits = cos(z, c_e) / max(tau, 0.01);  choices and weights as gshard's, without noise.
 * tau is learned; where it lies at its floor or below it has no gradient. Lengths are guarded by 1e-12.
 */
#include "moe/gate/router.h"
#include "moe/gate/unit.h"

#include <math.h>

enum { PROJ, CENTROIDS, TEMPERATURE, COUNT };

static const float LEAST_TEMPERATURE = 0.01f;

typedef struct directions {
    int64_t width;                     /* P */
    float *token, *token_length;       /* [N, P] of length 1, [N] their lengths before */
    float *centroid, *centroid_length; /* [E, P], [E] likewise */
    float *dtoken, *dcentroid;         /* scratch of backward */
} directions;

static int list_params_xmoe(const fsmoe_moe_config *config, int64_t hidden, fsm_param_spec *specs)
{
    int64_t width = config->proj_dim;
    specs[PROJ] = (fsm_param_spec){"proj", width, hidden, 2, FSM_SHARD_NONE, FSM_INIT_NORMAL, true};
    specs[CENTROIDS] =
        (fsm_param_spec){"centroids", config->num_experts, width, 2, FSM_SHARD_NONE, FSM_INIT_NORMAL, true};
    specs[TEMPERATURE] = (fsm_param_spec){"temperature", 1, 1, 1, FSM_SHARD_NONE, FSM_INIT_TEMPERATURE, false};
    return COUNT;
}

static void take_xmoe(fsm_memory *memory, int64_t max_tokens, fsm_gate_pass *pass)
{
    directions *d = FSM_TAKE_HOST(memory, directions, 1);
    int64_t width = pass->gate->config->proj_dim, experts = pass->gate->num_experts;
    directions arrays = {.width = width,
                         .token = fsm_take_reals(memory, max_tokens * width),
                         .token_length = fsm_take_reals(memory, max_tokens),
                         .centroid = fsm_take_reals(memory, experts * width),
                         .centroid_length = fsm_take_reals(memory, experts),
                         .dtoken = fsm_take_reals(memory, max_tokens * width),
                         .dcentroid = fsm_take_reals(memory, experts * width)};
    pass->own = d;
    if (d) *d = arrays; /* not while memory is only measured */
}

static float temperature_of(const fsm_gate *gate)
{
    return fmaxf(*gate->params[TEMPERATURE].value, LEAST_TEMPERATURE);
}

static void forward_xmoe(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    const fsm_gate_input *in = &pass->input;
    directions *d = pass->own;
    const float scale = 1 / temperature_of(gate);
    gate->ops->linear_forward(gate->ops, in->n, &gate->weights[PROJ], NULL, fsm_reals(in->x, gate->hidden),
                              fsm_reals(d->token, d->width));
    fsm_unit_forward(gate->ops, in->n, d->width, 1, d->width, d->token, d->token, d->token_length);
    fsm_unit_forward(gate->ops, gate->num_experts, d->width, 1, d->width, gate->params[CENTROIDS].value, d->centroid,
                     d->centroid_length);
    gate->ops->gemm(gate->ops, false, true, in->n, gate->num_experts, d->width, &scale, fsm_reals(d->token, d->width),
                    fsm_reals(d->centroid, d->width), 0, fsm_reals(pass->logits, gate->num_experts));
    fsm_router_softmax(pass);
    fsm_router_choose(pass, pass->logits);
    fsm_router_softmax_weights(pass);
}

static void temperature_backward(const fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    float tau = *gate->params[TEMPERATURE].value;
    double sum = 0;
    if (tau <= LEAST_TEMPERATURE) return;
    for (int64_t i = 0; i < pass->input.n * gate->num_experts; i++) sum += (double)pass->dlogits[i] * pass->logits[i];
    *gate->params[TEMPERATURE].grad -= (float)(sum / tau);
}

static void backward_xmoe(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    const fsm_gate_input *in = &pass->input;
    directions *d = pass->own;
    int64_t experts = gate->num_experts, width = d->width;
    float scale = 1 / temperature_of(gate);
    fsm_router_losses_backward(pass);
    fsm_router_softmax_weights_backward(pass);
    temperature_backward(pass);
    gate->ops->gemm(gate->ops, false, false, in->n, width, experts, &scale, fsm_reals(pass->dlogits, experts),
                    fsm_reals(d->centroid, width), 0, fsm_reals(d->dtoken, width));
    gate->ops->gemm(gate->ops, true, false, experts, width, in->n, &scale, fsm_reals(pass->dlogits, experts),
                    fsm_reals(d->token, width), 0, fsm_reals(d->dcentroid, width));
    fsm_unit_backward(gate->ops, in->n, width, 1, width, d->token, d->token_length, d->dtoken, 0, d->dtoken);
    fsm_unit_backward(gate->ops, experts, width, 1, width, d->centroid, d->centroid_length, d->dcentroid, 1,
                      gate->params[CENTROIDS].grad);
    gate->ops->linear_backward_input(gate->ops, in->n, &gate->weights[PROJ], fsm_reals(d->dtoken, width), 1.0f,
                                     fsm_reals(pass->dx, gate->hidden));
    gate->ops->linear_backward_weight(gate->ops, in->n, width, gate->hidden, fsm_reals(d->dtoken, width),
                                      fsm_reals(in->x, gate->hidden), gate->params[PROJ].grad, NULL);
}

const fsm_gate_kind fsm_gate_xmoe = {
    .name = "xmoe",
    .description = "cosine with learned directions, learned temperature, top-k",
    .source = "Chi et al., X-MoE, 2022",
    .has_logits = true,
    .has_probability = true,
    .has_weights = true,
    .list_params = list_params_xmoe,
    .take = take_xmoe,
    .forward = forward_xmoe,
    .backward = backward_xmoe,
};
