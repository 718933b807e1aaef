/* Expert Choice (Zhou et al. 2022): S = softmax over experts of each token; of every group of tokens each expert takes
 * the T with its largest S, ties to the earlier token; weight = S. A token has any number of experts, also none. It
 * looks at later tokens of the group, so it is not causal.
 */
#include "moe/gate/router.h"

static void forward_expert_choice(fsm_gate_pass *pass)
{
    const fsm_gate_input *in = &pass->input;
    const fsm_gate *gate = pass->gate;
    fsm_router_project(pass, in->x);
    fsm_router_softmax(pass);
    gate->ops->route.choose_by_columns(gate->ops, in->n, gate->num_experts, in->group, in->capacity, pass->prob,
                                       pass->choice, pass->weight);
}

/* A weight is a probability: softmax backward of what the chosen ones get. */
static void backward_expert_choice(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    fsm_router_losses_backward(pass);
    gate->ops->route.chosen_prob_backward(gate->ops, pass->input.n, gate->num_experts, gate->choices, pass->prob,
                                          pass->choice, pass->weight, pass->dweight, pass->dlogits);
    fsm_router_project_backward(pass);
}

const fsm_gate_kind fsm_gate_expert_choice = {
    .name = "expert_choice",
    .description = "experts choose their tokens",
    .source = "Zhou et al., Mixture-of-experts with expert choice routing, 2022",
    .has_logits = true,
    .has_weights = true,
    .experts_choose = true,
    .list_params = fsm_router_list_weight,
    .forward = forward_expert_choice,
    .backward = backward_expert_choice,
};
