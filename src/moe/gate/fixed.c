/* Gates that learn nothing: an expert by the token's id (Roller et al., Hash layers, 2021), modulo or by a random table
 * that is the same in every run, since a model must be read as it was trained; and round robin, which is perfectly
 * balanced and good for benchmarks alone. Every choice weighs 1 / k. */
#include "base/rng.h"
#include "moe/gate/gate.h"

#include <string.h>

static void set_choices(fsm_gate *gate, int64_t token, uint64_t first)
{
    for (int64_t j = 0; j < gate->choices; j++) {
        gate->choice[token * gate->choices + j] = (int32_t)((first + (uint64_t)j) % (uint64_t)gate->num_experts);
        gate->weight[token * gate->choices + j] = 1.0f / (float)gate->choices;
    }
}

static void forward_hash(fsm_gate *gate, const fsm_gate_input *in)
{
    bool table = strcmp(gate->config->hash, "table") == 0;
    for (int64_t i = 0; i < in->n; i++) {
        uint64_t id = in->ids ? (uint64_t)in->ids[i] : in->first_token + (uint64_t)i;
        set_choices(gate, i, table ? fsm_rng_bits(0, FSM_RNG_GATE_NOISE + in->layer, id) >> 1 : id);
    }
}

static void forward_balanced_test(fsm_gate *gate, const fsm_gate_input *in)
{
    for (int64_t i = 0; i < in->n; i++) set_choices(gate, i, (in->first_token + (uint64_t)i) * (uint64_t)gate->choices);
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
