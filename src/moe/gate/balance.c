#include "moe/gate/balance.h"

#include <string.h>

/* What both losses are made of, and where they go. */
static fsm_balance_sums of_sums(int64_t num_experts, const fsm_gate_sums *sums, double loss_scale, double grad_scale,
                                fsm_sum *loss, fsm_sum *dshare, fsm_sum *dload)
{
    return (fsm_balance_sums){.experts = num_experts,
                              .load = sums->load,
                              .share = sums->share,
                              .tokens = sums->tokens,
                              .loss_scale = loss_scale,
                              .grad_scale = grad_scale,
                              .loss = loss,
                              .dshare = dshare,
                              .dload = dload};
}

/* ---- GShard's: E sum_e f_e P_e, 1 at balance; f the share of tokens, a count without gradient, P the mean
 * probability ---- */

/* f from the first `first` choices of a token, which together count as one. */
static void add_shares(const fsm_gate_pass *pass, int64_t first, fsm_gate_sums *sums)
{
    const fsm_ops *ops = pass->gate->ops;
    int64_t n = pass->input.n;
    ops->route.add_choices(ops, n, pass->gate->choices, first, pass->choice, NULL, 1.0 / (double)first, sums->load);
    ops->route.add_columns(ops, n, pass->gate->num_experts, pass->prob, sums->share);
}

static void add_first_choice(const fsm_gate_pass *pass, fsm_gate_sums *sums)
{
    add_shares(pass, 1, sums);
}

static void add_all_choices(const fsm_gate_pass *pass, fsm_gate_sums *sums)
{
    add_shares(pass, pass->gate->choices, sums);
}

static void product_loss(const fsm_ops *ops, int64_t num_experts, const fsm_gate_sums *sums, double loss_scale,
                         double grad_scale, fsm_sum *loss, fsm_sum *dshare, fsm_sum *dload)
{
    fsm_balance_sums s = of_sums(num_experts, sums, loss_scale, grad_scale, loss, dshare, dload);
    ops->route.product_loss(ops, &s);
}

/* ---- Shazeer's: CV^2 of the weights' sums plus CV^2 of the load, 0 at balance ---- */

static void add_importance_load(const fsm_gate_pass *pass, fsm_gate_sums *sums)
{
    const fsm_gate_kind *kind = pass->gate->kind;
    const fsm_ops *ops = pass->gate->ops;
    int64_t n = pass->input.n, k = pass->gate->choices;
    ops->route.add_choices(ops, n, k, k, pass->choice, pass->weight, 0, sums->share);
    if (kind->add_load && kind->add_load(pass, sums->load)) return;
    ops->route.add_choices(ops, n, k, k, pass->choice, NULL, 1, sums->load);
}

/* Counts pass the gradient of the load on to nobody. */
static void variation_loss(const fsm_ops *ops, int64_t num_experts, const fsm_gate_sums *sums, double loss_scale,
                           double grad_scale, fsm_sum *loss, fsm_sum *dshare, fsm_sum *dload)
{
    fsm_balance_sums s = of_sums(num_experts, sums, loss_scale, grad_scale, loss, dshare, dload);
    ops->route.variation_loss(ops, &s);
}

/* ---- the table ---- */

static const fsm_balance losses[] = {
    {.name = "first_choice",
     .description = "E sum f P, f from first choices",
     .source = "Lepikhin et al., GShard, 2020; Fedus et al., Switch, 2021",
     .add = add_first_choice,
     .loss = product_loss},
    {.name = "all_choices",
     .description = "E sum f P, f from all choices, divided by k",
     .source = "Mixtral in Hugging Face transformers; Megatron-LM",
     .add = add_all_choices,
     .loss = product_loss},
    {.name = "importance_load",
     .description = "squared variation of weights and of load",
     .source = "Shazeer et al., Outrageously large neural networks, 2017",
     .of_weights = true,
     .add = add_importance_load,
     .loss = variation_loss},
};

static const fsm_balance *find(const char *name)
{
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++)
        if (strcmp(losses[i].name, name) == 0) return &losses[i];
    return NULL;
}

fsmoe_status fsm_balance_select(const fsmoe_moe_config *config, const fsm_gate_kind *kind, const fsm_balance **balance)
{
    const char *name = config->aux_loss;
    *balance = NULL;
    if (strcmp(name, "none") == 0) return FSMOE_OK;
    if (strcmp(name, "auto") == 0) {
        if (kind->has_probability) *balance = find("first_choice");
        return FSMOE_OK;
    }
    const fsm_balance *found = find(name);
    if (!found) return fsm_fail(FSMOE_ERROR_CONFIG, "moe.aux_loss: no loss is named '%s'", name);
    if (found->of_weights ? !kind->has_weights : !kind->has_probability)
        return fsm_fail(FSMOE_ERROR_CONFIG, "moe.aux_loss: gate %s has no %s", kind->name, name);
    *balance = found;
    return FSMOE_OK;
}
