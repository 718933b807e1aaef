/* SoftMoE (Puigcerver et al. 2023): every slot of an expert is a mixture of all tokens of a sample, every token's output a
 * mixture of all slots' outputs.
 *   logits = x Phi [G, E S];  dispatch = softmax of each column (over tokens);  combine = softmax of each row (over slots)
 * normalize_slots: tokens and columns of Phi have length 1 first. It looks at later tokens, so it is not causal.
 */
#include "moe/gate/gate.h"
#include "moe/gate/unit.h"

enum { PHI };

static int64_t slots_of(const fsm_gate *gate)
{
    return gate->num_experts * gate->config->slots_per_expert;
}

static int list_params_soft(const fsmoe_moe_config *config, int64_t hidden, fsm_param_spec *specs)
{
    int64_t slots = config->num_experts * config->slots_per_expert;
    specs[PHI] = (fsm_param_spec){"phi", hidden, slots, 2, FSM_SHARD_NONE, FSM_INIT_NORMAL, true};
    return 1;
}

/* The state of one group at a time: everything is worked out again in backward. */
typedef struct unit {
    float *token, *token_length; /* [G, M], [G] */
    float *phi, *phi_length;     /* [M, E S], [E S] */
    float *dtoken, *dphi;        /* likewise */
} unit;

static void take_soft(fsm_memory *memory, int64_t max_tokens, fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    if (!gate->config->normalize_slots) return;
    unit *u = FSM_TAKE_HOST(memory, unit, 1);
    int64_t tokens = max_tokens * gate->hidden, phi = gate->hidden * slots_of(gate);
    unit arrays = {.token = fsm_take_reals(memory, tokens),
                   .token_length = fsm_take_reals(memory, max_tokens),
                   .phi = fsm_take_reals(memory, phi),
                   .phi_length = fsm_take_reals(memory, slots_of(gate)),
                   .dtoken = fsm_take_reals(memory, tokens),
                   .dphi = fsm_take_reals(memory, phi)};
    pass->own = u;
    if (u) *u = arrays; /* not while memory is only measured */
}

static void mix_soft(fsm_gate_pass *pass, int64_t group, const float *x, float *dispatch, float *combine)
{
    const fsm_gate *gate = pass->gate;
    const float *phi = gate->params[PHI].value;
    int64_t hidden = gate->hidden, slots = slots_of(gate);
    unit *u = pass->own;
    if (u) {
        fsm_unit_forward(gate->ops, group, hidden, 1, hidden, x, u->token, u->token_length);
        fsm_unit_forward(gate->ops, slots, hidden, slots, 1, phi, u->phi, u->phi_length);
    }
    gate->ops->gemm(gate->ops, false, false, group, slots, hidden, NULL, fsm_reals(u ? u->token : x, hidden),
                    fsm_reals(u ? u->phi : phi, slots), 0, fsm_reals(dispatch, slots));
    gate->ops->softmax(gate->ops, group, slots, dispatch, combine, NULL);
    gate->ops->softmax_columns(gate->ops, group, slots, dispatch, dispatch);
}

static void mix_backward_soft(fsm_gate_pass *pass, int64_t group, const float *x, const float *dispatch,
                              const float *combine, float *d_dispatch, float *d_combine, float *dx)
{
    const fsm_gate *gate = pass->gate;
    const float *phi = gate->params[PHI].value, *dlogits = d_combine;
    float *dphi = gate->params[PHI].grad;
    int64_t hidden = gate->hidden, slots = slots_of(gate);
    unit *u = pass->own;
    gate->ops->softmax_backward(gate->ops, group, slots, combine, d_combine, 0, d_combine);
    gate->ops->softmax_columns_backward(gate->ops, group, slots, dispatch, d_dispatch, 1, d_combine);
    if (u) { /* another group may have been mixed since */
        fsm_unit_forward(gate->ops, group, hidden, 1, hidden, x, u->token, u->token_length);
        fsm_unit_forward(gate->ops, slots, hidden, slots, 1, phi, u->phi, u->phi_length);
    }
    gate->ops->gemm(gate->ops, false, true, group, hidden, slots, NULL, fsm_reals(dlogits, slots),
                    fsm_reals(u ? u->phi : phi, slots), u ? 0 : 1, fsm_reals(u ? u->dtoken : dx, hidden));
    gate->ops->gemm(gate->ops, true, false, hidden, slots, group, NULL, fsm_reals(u ? u->token : x, hidden),
                    fsm_reals(dlogits, slots), u ? 0 : 1, fsm_reals(u ? u->dphi : dphi, slots));
    if (!u) return;
    fsm_unit_backward(gate->ops, group, hidden, 1, hidden, u->token, u->token_length, u->dtoken, 1, dx);
    fsm_unit_backward(gate->ops, slots, hidden, slots, 1, u->phi, u->phi_length, u->dphi, 1, dphi);
}

const fsm_gate_kind fsm_gate_soft = {
    .name = "soft",
    .description = "slots are mixtures of tokens",
    .source = "Puigcerver et al., From sparse to soft mixtures of experts, 2023",
    .mixes = true,
    .list_params = list_params_soft,
    .take = take_soft,
    .mix = mix_soft,
    .mix_backward = mix_backward_soft,
};
