/* Expert Choice (Zhou et al. 2022): S = softmax over experts of each token; of every group of tokens each expert takes the
 * T with its largest S, ties to the earlier token; weight = S. A token has any number of experts, also none. It looks at
 * later tokens of the group, so it is not causal.
 */
#include "moe/gate/router.h"

#include <string.h>

static int list_params_expert_choice(const fsmoe_moe_config *config, int64_t hidden, fsm_param_spec *specs)
{
    specs[FSM_ROUTER_WEIGHT] = fsm_router_weight_spec(config, hidden);
    return 1;
}

/* Of one group at a time. */
typedef struct picks {
    float *column;  /* [N] an expert's S */
    float *value;   /* [N] */
    int32_t *token; /* [N] the T tokens it takes */
    int32_t *taken; /* [N] experts that a token of the batch has already */
} picks;

static void take_expert_choice(fsm_arena *arena, int64_t max_tokens, fsm_gate *gate)
{
    picks *p = FSM_ARENA_ARRAY(arena, picks, 1);
    picks arrays = {.column = FSM_ARENA_ARRAY(arena, float, max_tokens),
                    .value = FSM_ARENA_ARRAY(arena, float, max_tokens),
                    .token = FSM_ARENA_ARRAY(arena, int32_t, max_tokens),
                    .taken = FSM_ARENA_ARRAY(arena, int32_t, max_tokens)};
    gate->own = p;
    if (p) *p = arrays; /* not while the arena only measures */
}

/* Puts expert e among a token's choices, by falling weight, after equals. */
static void give(fsm_gate *gate, picks *p, int64_t token, int32_t e, float weight)
{
    int64_t first = token * gate->choices, at = first + p->taken[token]++;
    for (; at > first && gate->weight[at - 1] < weight; at--) {
        gate->weight[at] = gate->weight[at - 1];
        gate->choice[at] = gate->choice[at - 1];
    }
    gate->weight[at] = weight;
    gate->choice[at] = e;
}

static void choose_in_group(fsm_gate *gate, picks *p, int64_t first, int64_t tokens, int64_t capacity)
{
    if (capacity > tokens) capacity = tokens;
    for (int32_t e = 0; e < gate->num_experts; e++) {
        for (int64_t i = 0; i < tokens; i++) p->column[i] = gate->prob[(first + i) * gate->num_experts + e];
        gate->ops->top_k(gate->ops, 1, tokens, capacity, p->column, p->token, p->value);
        for (int64_t t = 0; t < capacity; t++) give(gate, p, first + p->token[t], e, p->value[t]);
    }
}

static void forward_expert_choice(fsm_gate *gate, const fsm_gate_input *in)
{
    picks *p = gate->own;
    fsm_router_project(gate, in->n, in->x);
    fsm_router_softmax(gate, in->n);
    memset(p->taken, 0, sizeof *p->taken * (size_t)in->n);
    memset(gate->choice, -1, sizeof *gate->choice * (size_t)(in->n * gate->choices));
    gate->ops->zero(gate->ops, in->n * gate->choices, gate->weight);
    for (int64_t first = 0; first < in->n; first += in->group) {
        int64_t tokens = first + in->group < in->n ? in->group : in->n - first;
        choose_in_group(gate, p, first, tokens, in->capacity);
    }
}

/* A weight is a probability: softmax backward of what the chosen ones get. */
static void backward_expert_choice(fsm_gate *gate, const fsm_gate_input *in, const float *dweight,
                                   const fsm_gate_loss_grad *loss, float *dx)
{
    int64_t k = gate->choices;
    fsm_router_losses_backward(gate, in->n, loss);
    for (int64_t i = 0; i < in->n; i++) {
        const float *prob = gate->prob + i * gate->num_experts, *weight = gate->weight + i * k;
        float *dlogits = gate->dlogits + i * gate->num_experts, mean = 0;
        for (int64_t j = 0; j < k && gate->choice[i * k + j] >= 0; j++) mean += weight[j] * dweight[i * k + j];
        for (int64_t j = 0; j < k && gate->choice[i * k + j] >= 0; j++)
            dlogits[gate->choice[i * k + j]] += weight[j] * dweight[i * k + j];
        for (int64_t e = 0; e < gate->num_experts; e++) dlogits[e] -= prob[e] * mean;
    }
    fsm_router_project_backward(gate, in->n, in->x, dx);
}

const fsm_gate_kind fsm_gate_expert_choice = {
    .name = "expert_choice",
    .description = "experts choose their tokens",
    .source = "Zhou et al., Mixture-of-experts with expert choice routing, 2022",
    .has_logits = true,
    .has_weights = true,
    .experts_choose = true,
    .list_params = list_params_expert_choice,
    .take = take_expert_choice,
    .forward = forward_expert_choice,
    .backward = backward_expert_choice,
};
