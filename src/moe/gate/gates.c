/* The gates there are, and what is done around each. */
#include "moe/gate/balance.h"

#include "moe/extend.h"
#include "moe/registry.h"

#include <string.h>

static const fsm_gate_kind *const gates[] = {
    &fsm_gate_gshard, &fsm_gate_switch,   &fsm_gate_sigmoid, &fsm_gate_xmoe,          &fsm_gate_expert_choice,
    &fsm_gate_soft,   &fsm_gate_deepseek, &fsm_gate_hash,    &fsm_gate_balanced_test,
};

static fsm_registry registry = FSM_REGISTRY("moe.gate", gates);

const fsm_gate_kind *fsm_gate_find(const char *name)
{
    return fsm_registry_find(&registry, name);
}

const fsm_gate_kind *fsm_gate_at(int index)
{
    return fsm_registry_at(&registry, index);
}

fsmoe_status fsm_add_gate(const fsm_gate_kind *kind)
{
    return fsm_registry_add(&registry, kind);
}

fsmoe_status fsm_gate_select(const fsmoe_moe_config *config, fsm_gate *gate)
{
    gate->config = config;
    gate->num_experts = config->num_experts;
    gate->choices = fsm_gate_choices(config);
    gate->kind = fsm_gate_find(config->gate);
    if (!gate->kind) return fsm_fail(FSMOE_ERROR_CONFIG, "moe.gate: no gate is named '%s'", config->gate);
    if (config->z_loss_coeff > 0 && !gate->kind->has_logits)
        return fsm_fail(FSMOE_ERROR_CONFIG, "moe.z_loss_coeff: gate %s has no z-loss", config->gate);
    return fsm_balance_select(config, gate->kind, &gate->balance);
}

int64_t fsm_gate_choices(const fsmoe_moe_config *config)
{
    const fsm_gate_kind *kind = fsm_gate_find(config->gate);
    if (kind && kind->mixes) return 1; /* a slot goes to its expert */
    return kind && kind->experts_choose ? config->num_experts : config->top_k;
}

void fsm_gate_take(fsm_arena *arena, int64_t max_tokens, fsm_gate *gate)
{
    int64_t scores = max_tokens * gate->num_experts, choices = max_tokens * gate->choices;
    if (gate->kind->has_logits) {
        gate->logits = FSM_ARENA_ARRAY(arena, float, scores);
        gate->prob = FSM_ARENA_ARRAY(arena, float, scores);
        gate->lse = FSM_ARENA_ARRAY(arena, float, max_tokens);
        gate->dlogits = FSM_ARENA_ARRAY(arena, float, scores);
    }
    gate->choice = FSM_ARENA_ARRAY(arena, int32_t, choices);
    gate->score = FSM_ARENA_ARRAY(arena, float, choices);
    gate->weight = FSM_ARENA_ARRAY(arena, float, choices);
    if (gate->kind->take) gate->kind->take(arena, max_tokens, gate);
}

fsm_gate_sums fsm_gate_sums_at(double *sums, int64_t num_experts)
{
    return (fsm_gate_sums){
        .load = sums,
        .share = sums + num_experts,
        .chosen = sums + 2 * num_experts,
        .kept = sums + 3 * num_experts,
        .log_sum_sq = sums + 4 * num_experts,
        .dropped = sums + 4 * num_experts + 1,
        .tokens = sums + 4 * num_experts + 2,
        .aux = sums + 4 * num_experts + 3,
    };
}

static void count_choices(const fsm_gate *gate, int64_t n, fsm_gate_sums *sums)
{
    for (int64_t i = 0; i < n * gate->choices; i++)
        if (gate->choice[i] >= 0) sums->chosen[gate->choice[i]] += 1;
}

void fsm_gate_forward(fsm_gate *gate, const fsm_gate_input *input, fsm_gate_sums *sums)
{
    gate->kind->forward(gate, input);
    for (int64_t i = 0; gate->kind->has_logits && i < input->n; i++)
        *sums->log_sum_sq += (double)gate->lse[i] * gate->lse[i];
    count_choices(gate, input->n, sums);
    if (gate->balance) gate->balance->add(gate, input->n, sums);
    *sums->tokens += (double)input->n;
}

void fsm_gate_backward(fsm_gate *gate, const fsm_gate_input *input, float *dweight, const fsm_gate_loss_grad *loss,
                       float *dx)
{
    if (!gate->kind->backward) return;
    if (gate->balance && gate->balance->of_weights)
        for (int64_t i = 0; i < input->n * gate->choices; i++)
            if (gate->choice[i] >= 0) dweight[i] += (float)loss->share[gate->choice[i]];
    gate->kind->backward(gate, input, dweight, loss, dx);
}
