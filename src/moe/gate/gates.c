/* The gates there are, and what is done around each. */
#include "moe/gate/balance.h"
#include "moe/gate/on_host.h"

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

fsmoe_status fsm_add_gate_v(const fsm_gate_kind *kind, int version)
{
    FSM_TRY(fsm_registry_check(&registry, kind, version));
    if (kind->runs_on_host && (kind->mixes || kind->after_step || kind->add_load))
        return fsm_fail(FSMOE_ERROR_CONFIG,
                        "moe.gate: '%s' runs on the host: mix, after_step and add_load must be operations", kind->name);
    return fsm_registry_add(&registry, kind, version);
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

const char *fsm_gate_on_host(const fsmoe_moe_config *config)
{
    const fsm_gate_kind *kind = fsm_gate_find(config->gate);
    if (kind && kind->runs_on_host) return kind->name; /* all of it */
    return kind && kind->on_host ? kind->on_host(config) : NULL;
}

void fsm_gate_take(fsm_memory *memory, const fsm_gate *gate, int64_t max_tokens, fsm_real *dlogits, fsm_gate_pass *pass)
{
    int64_t scores = max_tokens * gate->num_experts, choices = max_tokens * gate->choices;
    *pass = (fsm_gate_pass){.gate = gate, .dlogits = dlogits};
    if (gate->kind->has_logits) {
        pass->logits = fsm_take_reals(memory, scores);
        pass->prob = fsm_take_reals(memory, scores);
        pass->lse = fsm_take_reals(memory, max_tokens);
    }
    pass->choice = fsm_take_indices(memory, choices);
    pass->score = fsm_take_reals(memory, choices);
    pass->weight = fsm_take_reals(memory, choices);
    if (fsm_gate_needs_host(memory, gate)) fsm_gate_host_take(memory, max_tokens, pass);
    else if (gate->kind->take) gate->kind->take(memory, max_tokens, pass);
}

fsm_gate_sums fsm_gate_sums_at(fsm_sum *sums, int64_t num_experts)
{
    return (fsm_gate_sums){
        .load = sums,
        .share = fsm_sum_at(sums, num_experts),
        .chosen = fsm_sum_at(sums, 2 * num_experts),
        .kept = fsm_sum_at(sums, 3 * num_experts),
        .log_sum_sq = fsm_sum_at(sums, 4 * num_experts),
        .dropped = fsm_sum_at(sums, 4 * num_experts + 1),
        .tokens = fsm_sum_at(sums, 4 * num_experts + 2),
        .aux = fsm_sum_at(sums, 4 * num_experts + 3),
    };
}

void fsm_gate_forward(fsm_gate_pass *pass, fsm_gate_sums *sums)
{
    const fsm_gate *gate = pass->gate;
    const fsm_ops *ops = gate->ops;
    int64_t n = pass->input.n, k = gate->choices;
    if (pass->host) fsm_gate_host_forward(pass);
    else gate->kind->forward(pass);
    if (gate->kind->has_logits) ops->route.add_squares(ops, n, pass->lse, sums->log_sum_sq);
    ops->route.add_choices(ops, n, k, k, pass->choice, NULL, 1, sums->chosen);
    if (gate->balance) gate->balance->add(pass, sums);
    ops->add_to_sums(ops, 1, (double)n, sums->tokens);
}

void fsm_gate_backward(fsm_gate_pass *pass, fsm_real *dweight, const fsm_gate_loss_grad *loss, fsm_real *dx)
{
    const fsm_gate *gate = pass->gate;
    const fsm_ops *ops = gate->ops;
    if (!gate->kind->backward) return;
    if (gate->balance && gate->balance->of_weights)
        ops->route.add_share(ops, pass->input.n, gate->choices, pass->choice, loss->share, dweight);
    pass->dweight = dweight;
    pass->loss = *loss;
    pass->dx = dx;
    if (pass->host) fsm_gate_host_backward(pass);
    else gate->kind->backward(pass);
}
