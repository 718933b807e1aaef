/* Gates that learn nothing: an expert by the token's id (Roller et al., Hash layers, 2021), modulo or by a random table
 * that is the same in every run, since a model must be read as it was trained; and round robin, which is perfectly
 * balanced and good for benchmarks alone. Every choice weighs 1 / k. */
#include "base/rng.h"
#include "moe/gate/gate.h"

#include <string.h>

static void set_choices(fsm_gate_pass *pass, int64_t token, uint64_t first)
{
    int64_t k = pass->gate->choices;
    for (int64_t j = 0; j < k; j++) {
        pass->choice[token * k + j] = (int32_t)((first + (uint64_t)j) % (uint64_t)pass->gate->num_experts);
        pass->weight[token * k + j] = 1.0f / (float)k;
    }
}

static void forward_hash(fsm_gate_pass *pass)
{
    const fsm_gate_input *in = &pass->input;
    bool table = strcmp(pass->gate->config->hash, "table") == 0;
    for (int64_t i = 0; i < in->n; i++) {
        uint64_t id = in->ids ? (uint64_t)in->ids[i] : in->first_token + (uint64_t)i;
        set_choices(pass, i, table ? fsm_rng_bits(0, FSM_RNG_GATE_NOISE + in->layer, id) >> 1 : id);
    }
}

static void forward_balanced_test(fsm_gate_pass *pass)
{
    uint64_t k = (uint64_t)pass->gate->choices;
    for (int64_t i = 0; i < pass->input.n; i++) set_choices(pass, i, (pass->input.first_token + (uint64_t)i) * k);
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
