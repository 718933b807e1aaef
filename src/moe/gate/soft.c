/* SoftMoE (Puigcerver et al. 2023): every slot of an expert is a mixture of all tokens of a sample, every token's
 * output a mixture of all slots' outputs.
 *   logits = x Phi [G, E S];  dispatch = softmax of each column (over tokens);  combine = softmax of each row (over
 * slots) normalize_slots: tokens and columns of Phi have length 1 first. It looks at later tokens, so it is not causal.
 */
#include "moe/gate/gate.h"

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
    fsm_real *token, *token_length; /* [G, M], [G] */
    fsm_real *phi, *phi_length;     /* [M, E S], [E S] */
    fsm_real *dtoken, *dphi;        /* likewise */
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

/* What is multiplied: tokens and Phi, or both of length 1. */
typedef struct factors {
    fsm_vectors tokens, columns;
    fsm_matrix token, phi;
} factors;

static factors factors_of(const fsm_gate_pass *pass, int64_t group, const fsm_row *x)
{
    const fsm_gate *gate = pass->gate;
    const fsm_ops *ops = gate->ops;
    const unit *u = pass->own;
    int64_t slots = slots_of(gate);
    factors f = {.tokens = {.n = group, .size = gate->hidden},
                 .columns = {.n = slots, .size = gate->hidden, .columns = true},
                 .token = fsm_rows(x, gate->hidden),
                 .phi = fsm_reals(gate->params[PHI].value, slots)};
    if (!u) return f;
    ops->route.unit_forward(ops, &f.tokens, f.token, u->token, u->token_length);
    ops->route.unit_forward(ops, &f.columns, f.phi, u->phi, u->phi_length);
    f.token = fsm_reals(u->token, gate->hidden);
    f.phi = fsm_reals(u->phi, slots);
    return f;
}

static void mix_soft(fsm_gate_pass *pass, int64_t group, const fsm_row *x, fsm_real *dispatch, fsm_real *combine)
{
    const fsm_ops *ops = pass->gate->ops;
    int64_t slots = slots_of(pass->gate);
    factors f = factors_of(pass, group, x);
    ops->gemm(ops, false, false, group, slots, pass->gate->hidden, NULL, f.token, f.phi, 0, fsm_reals(dispatch, slots));
    ops->softmax(ops, group, slots, dispatch, combine, NULL);
    ops->softmax_columns(ops, group, slots, dispatch, dispatch);
}

static void mix_backward_soft(fsm_gate_pass *pass, int64_t group, const fsm_row *x, const fsm_real *dispatch,
                              const fsm_real *combine, fsm_real *d_dispatch, fsm_real *d_combine, fsm_real *dx)
{
    const fsm_gate *gate = pass->gate;
    const fsm_ops *ops = gate->ops;
    fsm_real *dphi = gate->params[PHI].grad;
    int64_t hidden = gate->hidden, slots = slots_of(gate);
    const unit *u = pass->own;
    const float beta = u ? 0 : 1;
    ops->softmax_backward(ops, group, slots, combine, d_combine, 0, d_combine);
    ops->softmax_columns_backward(ops, group, slots, dispatch, d_dispatch, 1, d_combine);
    fsm_matrix dlogits = fsm_reals(d_combine, slots);
    factors f = factors_of(pass, group, x); /* again: another group may have been mixed since */
    ops->gemm(ops, false, true, group, hidden, slots, NULL, dlogits, f.phi, beta,
              fsm_reals(u ? u->dtoken : dx, hidden));
    ops->gemm(ops, true, false, hidden, slots, group, NULL, f.token, dlogits, beta,
              fsm_reals(u ? u->dphi : dphi, slots));
    if (!u) return;
    ops->route.unit_backward(ops, &f.tokens, hidden, u->token, u->token_length, u->dtoken, 1, dx);
    ops->route.unit_backward(ops, &f.columns, slots, u->phi, u->phi_length, u->dphi, 1, dphi);
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
