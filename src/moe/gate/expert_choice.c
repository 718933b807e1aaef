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

static void take_expert_choice(fsm_memory *memory, int64_t max_tokens, fsm_gate_pass *pass)
{
    picks *p = FSM_TAKE_HOST(memory, picks, 1);
    picks arrays = {.column = fsm_take_reals(memory, max_tokens),
                    .value = fsm_take_reals(memory, max_tokens),
                    .token = fsm_take_indices(memory, max_tokens),
                    .taken = fsm_take_indices(memory, max_tokens)};
    pass->own = p;
    if (p) *p = arrays; /* not while memory is only measured */
}

/* Puts expert e among a token's choices, by falling weight, after equals. */
static void give(fsm_gate_pass *pass, int64_t token, int32_t e, float weight)
{
    picks *p = pass->own;
    int64_t first = token * pass->gate->choices, at = first + p->taken[token]++;
    for (; at > first && pass->weight[at - 1] < weight; at--) {
        pass->weight[at] = pass->weight[at - 1];
        pass->choice[at] = pass->choice[at - 1];
    }
    pass->weight[at] = weight;
    pass->choice[at] = e;
}

static void choose_in_group(fsm_gate_pass *pass, int64_t first, int64_t tokens)
{
    const fsm_gate *gate = pass->gate;
    picks *p = pass->own;
    int64_t capacity = pass->input.capacity < tokens ? pass->input.capacity : tokens;
    for (int32_t e = 0; e < gate->num_experts; e++) {
        for (int64_t i = 0; i < tokens; i++) p->column[i] = pass->prob[(first + i) * gate->num_experts + e];
        gate->ops->top_k(gate->ops, 1, tokens, capacity, p->column, p->token, p->value);
        for (int64_t t = 0; t < capacity; t++) give(pass, first + p->token[t], e, p->value[t]);
    }
}

static void forward_expert_choice(fsm_gate_pass *pass)
{
    const fsm_gate_input *in = &pass->input;
    picks *p = pass->own;
    int64_t pairs = in->n * pass->gate->choices;
    fsm_router_project(pass, in->x);
    fsm_router_softmax(pass);
    memset(p->taken, 0, sizeof *p->taken * (size_t)in->n);
    memset(pass->choice, -1, sizeof *pass->choice * (size_t)pairs);
    pass->gate->ops->zero(pass->gate->ops, pairs, pass->weight);
    for (int64_t first = 0; first < in->n; first += in->group)
        choose_in_group(pass, first, first + in->group < in->n ? in->group : in->n - first);
}

/* A weight is a probability: softmax backward of what the chosen ones get. */
static void backward_expert_choice(fsm_gate_pass *pass)
{
    int64_t k = pass->gate->choices, num_experts = pass->gate->num_experts;
    fsm_router_losses_backward(pass);
    for (int64_t i = 0; i < pass->input.n; i++) {
        const int32_t *choice = pass->choice + i * k;
        const float *prob = pass->prob + i * num_experts, *weight = pass->weight + i * k;
        const float *dweight = pass->dweight + i * k;
        float *dlogits = pass->dlogits + i * num_experts, mean = 0;
        for (int64_t j = 0; j < k && choice[j] >= 0; j++) mean += weight[j] * dweight[j];
        for (int64_t j = 0; j < k && choice[j] >= 0; j++) dlogits[choice[j]] += weight[j] * dweight[j];
        for (int64_t e = 0; e < num_experts; e++) dlogits[e] -= prob[e] * mean;
    }
    fsm_router_project_backward(pass);
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
