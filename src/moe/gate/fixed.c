/* Gates that learn nothing: an expert by the token's id (Roller et al., Hash layers, 2021), modulo or by a random table
 * that is the same in every run, since a model must be read as it was trained; and round robin, which is perfectly
 * balanced and good for benchmarks alone. Every choice weighs 1 / k. */
#include "base/rng.h"
#include "moe/gate/gate.h"

#include <string.h>

static void weigh_equally(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    gate->ops->route.fill(gate->ops, pass->input.n * gate->choices, 1.0f / (float)gate->choices, pass->weight);
}

static void forward_hash(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    const fsm_gate_input *in = &pass->input;
    const fsm_draw table = {.seed = 0, .stream = FSM_RNG_GATE_NOISE + in->layer, .first = in->first_token};
    if (strcmp(gate->config->hash, "table") == 0)
        gate->ops->route.choose_hashed(gate->ops, in->n, gate->num_experts, gate->choices, in->ids, &table,
                                       pass->choice);
    else
        gate->ops->route.choose_modulo(gate->ops, in->n, gate->num_experts, gate->choices, in->ids, in->first_token, 1,
                                       pass->choice);
    weigh_equally(pass);
}

static void forward_balanced_test(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    const fsm_gate_input *in = &pass->input;
    gate->ops->route.choose_modulo(gate->ops, in->n, gate->num_experts, gate->choices, NULL, in->first_token,
                                   (uint64_t)gate->choices, pass->choice);
    weigh_equally(pass);
}

const fsm_gate_kind fsm_gate_hash = {
    .name = "hash",
    .description = "expert by token id",
    .source = "Roller et al., Hash layers, 2021",
    .forward = forward_hash,
};

const fsm_gate_kind fsm_gate_balanced_test = {
    .name = "balanced_test",
    .description = "round robin, for benchmarks",
    .source = "this project",
    .forward = forward_balanced_test,
};
