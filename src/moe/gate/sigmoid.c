/* BASE's and StableMoE's gate (Lewis et al. 2021; Dai et al. 2022): the k best logits, each weighed by its sigmoid, not
 * normalised. With `balanced`, in training, experts get equally many tokens of every group (balanced.h). */
#include "moe/gate/balanced.h"
#include "moe/gate/router.h"

/* own, with `balanced`: the assignment's memory and, on the host, what it is made of. Its plan begins as prob. */
typedef struct assigning {
    fsm_balanced memory;
    float *logits;   /* [N, E] */
    int32_t *choice; /* [N, k] */
    int64_t n, group, num_experts, choices;
} assigning;

static void take_sigmoid(fsm_memory *memory, int64_t max_tokens, fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    if (!gate->config->balanced) return;
    assigning *own = FSM_TAKE_HOST(memory, assigning, 1);
    assigning taken = {.num_experts = gate->num_experts, .choices = gate->choices};
    fsm_balanced_take(memory, max_tokens, gate->config->capacity_group, gate->num_experts, gate->choices,
                      &taken.memory);
    taken.logits = FSM_TAKE_HOST(memory, float, max_tokens * gate->num_experts);
    taken.choice = FSM_TAKE_HOST(memory, int32_t, max_tokens * gate->choices);
    pass->own = own;
    if (own) *own = taken; /* not while memory is only measured */
}

/* Groups [first, first + count). */
static void choose_balanced(void *context, int64_t first, int64_t count)
{
    const assigning *a = context;
    for (int64_t g = first; g < first + count; g++) {
        int64_t token = g * a->group, left = a->n - token, at = token * a->num_experts;
        fsm_balanced_choose(&a->memory, g, left < a->group ? left : a->group, a->memory.plan + at, a->logits + at,
                            a->choice + token * a->choices);
    }
}

static void choose_on_host(fsm_gate_pass *pass)
{
    const fsm_ops *ops = pass->gate->ops;
    assigning *a = pass->own;
    a->n = pass->input.n;
    a->group = pass->input.group;
    int64_t groups = a->group > 0 ? (a->n + a->group - 1) / a->group : 0;
    size_t scores = (size_t)(a->n * a->num_experts), pairs = (size_t)(a->n * a->choices);
    ops->read(ops, sizeof(float) * scores, pass->prob, a->memory.plan);
    ops->read(ops, sizeof(float) * scores, pass->logits, a->logits);
    ops->for_rows(ops, groups, a->group * a->num_experts, choose_balanced, a);
    ops->write(ops, sizeof(int32_t) * pairs, a->choice, pass->choice);
    ops->route.pick(ops, a->n, a->num_experts, a->choices, pass->logits, pass->choice, pass->score);
}

static void forward_sigmoid(fsm_gate_pass *pass)
{
    const fsm_ops *ops = pass->gate->ops;
    fsm_router_project(pass, pass->input.x);
    fsm_router_softmax(pass);
    if (pass->own && pass->input.training) choose_on_host(pass);
    else fsm_router_choose(pass, pass->logits);
    ops->sigmoid(ops, pass->input.n * pass->gate->choices, pass->score, pass->weight);
}

static void backward_sigmoid(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    fsm_router_losses_backward(pass);
    gate->ops->route.sigmoid_weights_backward(gate->ops, pass->input.n, gate->num_experts, gate->choices, pass->choice,
                                              pass->weight, pass->dweight, pass->dlogits);
    fsm_router_project_backward(pass);
}

static const char *on_host_sigmoid(const fsmoe_moe_config *config)
{
    return config->balanced ? "the balanced assignment, in which tokens ask experts one after another" : NULL;
}

const fsm_gate_kind fsm_gate_sigmoid = {
    .name = "sigmoid",
    .description = "top-k, sigmoid of the logit",
    .source = "Lewis et al., BASE layers, 2021; Dai et al., StableMoE, 2022",
    .has_logits = true,
    .has_weights = true,
    .on_host = on_host_sigmoid,
    .list_params = fsm_router_list_weight,
    .take = take_sigmoid,
    .forward = forward_sigmoid,
    .backward = backward_sigmoid,
};
