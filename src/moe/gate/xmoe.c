/* X-MoE's gate (Chi et al. 2022): experts are directions in a space of P dimensions.
 *   z = x Wp^T;  logits = cos(z, c_e) / max(tau, 0.01);  choices and weights as gshard's, without noise.
 * tau is learned; where it lies at its floor or below it has no gradient. Lengths are guarded by 1e-12.
 */
#include "moe/gate/router.h"

enum { PROJ, CENTROIDS, TEMPERATURE, COUNT };

static const float LEAST_TEMPERATURE = 0.01f;

typedef struct directions {
    int64_t width;                        /* P */
    fsm_real *token, *token_length;       /* [N, P] of length 1, [N] their lengths before */
    fsm_real *centroid, *centroid_length; /* [E, P], [E] likewise */
    fsm_real *scale;                      /* [1] 1 / max(tau, 0.01) */
    fsm_real *dtoken, *dcentroid;         /* scratch of backward */
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
                         .scale = fsm_take_reals(memory, 1),
                         .dtoken = fsm_take_reals(memory, max_tokens * width),
                         .dcentroid = fsm_take_reals(memory, experts * width)};
    pass->own = d;
    if (d) *d = arrays; /* not while memory is only measured */
}

static void forward_xmoe(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    const fsm_ops *ops = gate->ops;
    const fsm_gate_input *in = &pass->input;
    directions *d = pass->own;
    const fsm_vectors tokens = {.n = in->n, .size = d->width}, experts = {.n = gate->num_experts, .size = d->width};
    fsm_matrix token = fsm_reals(d->token, d->width), centroid = fsm_reals(d->centroid, d->width);
    ops->linear_forward(ops, in->n, &gate->weights[PROJ], NULL, fsm_rows(in->x, gate->hidden), token);
    ops->route.unit_forward(ops, &tokens, token, d->token, d->token_length);
    ops->route.unit_forward(ops, &experts, fsm_reals(gate->params[CENTROIDS].value, d->width), d->centroid,
                            d->centroid_length);
    ops->route.inverse(ops, 1, LEAST_TEMPERATURE, gate->params[TEMPERATURE].value, d->scale);
    ops->gemm(ops, false, true, in->n, gate->num_experts, d->width, d->scale, token, centroid, 0,
              fsm_reals(pass->logits, gate->num_experts));
    fsm_router_softmax(pass);
    fsm_router_choose(pass, pass->logits);
    fsm_router_softmax_weights(pass);
}

/* From dlogits into tau and both sides of the product. */
static void cosines_backward(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    const fsm_ops *ops = gate->ops;
    const directions *d = pass->own;
    int64_t n = pass->input.n, experts = gate->num_experts, width = d->width;
    fsm_matrix dlogits = fsm_reals(pass->dlogits, experts);
    ops->route.temperature_backward(ops, n * experts, LEAST_TEMPERATURE, gate->params[TEMPERATURE].value, pass->logits,
                                    pass->dlogits, gate->params[TEMPERATURE].grad);
    ops->gemm(ops, false, false, n, width, experts, d->scale, dlogits, fsm_reals(d->centroid, width), 0,
              fsm_reals(d->dtoken, width));
    ops->gemm(ops, true, false, experts, width, n, d->scale, dlogits, fsm_reals(d->token, width), 0,
              fsm_reals(d->dcentroid, width));
}

static void backward_xmoe(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    const fsm_ops *ops = gate->ops;
    const fsm_gate_input *in = &pass->input;
    const directions *d = pass->own;
    int64_t width = d->width;
    const fsm_vectors tokens = {.n = in->n, .size = width}, experts = {.n = gate->num_experts, .size = width};
    fsm_router_losses_backward(pass);
    fsm_router_softmax_weights_backward(pass);
    cosines_backward(pass);
    ops->route.unit_backward(ops, &tokens, width, d->token, d->token_length, d->dtoken, 0, d->dtoken);
    ops->route.unit_backward(ops, &experts, width, d->centroid, d->centroid_length, d->dcentroid, 1,
                             gate->params[CENTROIDS].grad);
    ops->linear_backward_input(ops, in->n, &gate->weights[PROJ], fsm_reals(d->dtoken, width), 1,
                               fsm_reals(pass->dx, gate->hidden));
    ops->linear_backward_weight(ops, in->n, width, gate->hidden, fsm_reals(d->dtoken, width),
                                fsm_rows(in->x, gate->hidden), gate->params[PROJ].grad, NULL);
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
