#include "train/flops.h"

#include "config/config.h"
#include "moe/gate/gate.h"

#include <math.h>

/* How many experts a token goes through: where they choose, as many as their places make of it, rounded up in a
 * group. */
static double experts_a_token(const fsmoe_config *c)
{
    const fsmoe_moe_config *moe = &c->moe;
    const fsm_gate_kind *gate = fsm_gate_find(moe->gate);
    if (gate->mixes) return (double)(moe->num_experts * moe->slots_per_expert) / (double)c->data.seq_len;
    double top_k = (double)moe->top_k;
    return gate->experts_choose ? fmin(moe->capacity_factor * top_k, (double)moe->num_experts) : top_k;
}

/* How often a token goes through a matrix. */
static double uses(const fsm_param *p, const fsmoe_config *c)
{
    bool mixes = fsm_gate_find(c->moe.gate)->mixes;
    if (p->spec.rank != 2 || p->role == FSM_ROLE_POSITIONS) return 0;
    if (p->role == FSM_ROLE_EMBEDDING) return c->model.tie_embeddings ? 1 : 0;
    if (p->role == FSM_ROLE_GATE) return mixes ? 3 : 1;
    return p->role == FSM_ROLE_EXPERT ? experts_a_token(c) : 1;
}

fsm_model_flops fsm_flops_a_token(const fsm_params *params, const fsmoe_config *config)
{
    const fsmoe_model_config *m = &config->model;
    fsm_model_flops flops = {0};
    for (int i = 0; i < params->count; i++) {
        const fsm_param *p = &params->items[i];
        flops.products += 6 * uses(p, config) * (double)(p->spec.rows * p->spec.cols);
    }
    flops.attention =
        12.0 * (double)(m->num_layers * m->num_heads * m->head_dim) * 0.5 * (double)(config->data.seq_len + 1);
    return flops;
}
