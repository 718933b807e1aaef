#include "train/flops.h"

#include "config/config.h"
#include "moe/gate/gate.h"

/* How often a token goes through a matrix: of experts, through as many as it is given to. */
static double uses(const fsm_param *p, const fsmoe_config *c)
{
    const fsmoe_moe_config *moe = &c->moe;
    bool mixes = fsm_gate_find(moe->gate)->mixes;
    if (p->spec.rank != 2 || p->role == FSM_ROLE_POSITIONS) return 0;
    if (p->role == FSM_ROLE_EMBEDDING) return c->model.tie_embeddings ? 1 : 0;
    if (p->role == FSM_ROLE_GATE) return mixes ? 3 : 1;
    if (p->role != FSM_ROLE_EXPERT) return 1;
    double slots = (double)(moe->num_experts * moe->slots_per_expert);
    return mixes ? slots / (double)c->data.seq_len : (double)moe->top_k;
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
