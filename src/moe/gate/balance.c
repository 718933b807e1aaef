#include "moe/gate/balance.h"

#include <string.h>

/* ---- GShard's: E sum_e f_e P_e, 1 at balance; f the share of tokens, a count without gradient, P the mean
 * probability ---- */

static void add_probabilities(const fsm_gate_pass *pass, double *share)
{
    int64_t num_experts = pass->gate->num_experts;
    for (int64_t i = 0; i < pass->input.n; i++)
        for (int64_t e = 0; e < num_experts; e++) share[e] += pass->prob[i * num_experts + e];
}

static void add_first_choice(const fsm_gate_pass *pass, fsm_gate_sums *sums)
{
    int64_t k = pass->gate->choices;
    for (int64_t i = 0; i < pass->input.n; i++)
        if (pass->choice[i * k] >= 0) sums->load[pass->choice[i * k]] += 1;
    add_probabilities(pass, sums->share);
}

static void add_all_choices(const fsm_gate_pass *pass, fsm_gate_sums *sums)
{
    int64_t k = pass->gate->choices;
    for (int64_t i = 0; i < pass->input.n * k; i++)
        if (pass->choice[i] >= 0) sums->load[pass->choice[i]] += 1.0 / (double)k;
    add_probabilities(pass, sums->share);
}

static double tokens_of(const fsm_gate_sums *sums)
{
    return *sums->tokens > 0 ? *sums->tokens : 1;
}

static double loss_of_product(int64_t num_experts, const fsm_gate_sums *sums)
{
    double product = 0, tokens = tokens_of(sums);
    for (int64_t e = 0; e < num_experts; e++) product += sums->load[e] * sums->share[e];
    return (double)num_experts * product / (tokens * tokens);
}

static void gradient_of_product(int64_t num_experts, const fsm_gate_sums *sums, double scale, double *dshare,
                                double *dload)
{
    double tokens = tokens_of(sums);
    for (int64_t e = 0; e < num_experts; e++) {
        dshare[e] = scale * (double)num_experts * sums->load[e] / (tokens * tokens);
        dload[e] = 0;
    }
}

/* ---- Shazeer's: CV^2 of the weights' sums plus CV^2 of the load, 0 at balance ---- */

static void add_importance_load(const fsm_gate_pass *pass, fsm_gate_sums *sums)
{
    const fsm_gate_kind *kind = pass->gate->kind;
    int64_t pairs = pass->input.n * pass->gate->choices;
    for (int64_t i = 0; i < pairs; i++)
        if (pass->choice[i] >= 0) sums->share[pass->choice[i]] += pass->weight[i];
    if (kind->add_load && kind->add_load(pass, sums->load)) return;
    for (int64_t i = 0; i < pairs; i++)
        if (pass->choice[i] >= 0) sums->load[pass->choice[i]] += 1;
}

static void moments(int64_t n, const double *x, double *mean, double *variance)
{
    *mean = *variance = 0;
    for (int64_t i = 0; i < n; i++) *mean += x[i] / (double)n;
    for (int64_t i = 0; i < n; i++) *variance += (x[i] - *mean) * (x[i] - *mean) / (double)n;
}

static double squared_variation(int64_t n, const double *x)
{
    double mean, variance;
    moments(n, x, &mean, &variance);
    return mean > 0 ? variance / (mean * mean) : 0;
}

static void squared_variation_gradient(int64_t n, const double *x, double scale, double *dx)
{
    double mean, variance;
    moments(n, x, &mean, &variance);
    for (int64_t i = 0; i < n; i++)
        dx[i] =
            mean > 0 ? scale * 2 / (double)n * ((x[i] - mean) / (mean * mean) - variance / (mean * mean * mean)) : 0;
}

static double loss_of_variation(int64_t num_experts, const fsm_gate_sums *sums)
{
    return squared_variation(num_experts, sums->share) + squared_variation(num_experts, sums->load);
}

static void gradient_of_variation(int64_t num_experts, const fsm_gate_sums *sums, double scale, double *dshare,
                                  double *dload)
{
    squared_variation_gradient(num_experts, sums->share, scale, dshare);
    squared_variation_gradient(num_experts, sums->load, scale, dload); /* counts pass it on to nobody */
}

/* ---- the table ---- */

static const fsm_balance losses[] = {
    {.name = "first_choice",
     .description = "E sum f P, f from first choices",
     .source = "Lepikhin et al., GShard, 2020; Fedus et al., Switch, 2021",
     .add = add_first_choice,
     .loss = loss_of_product,
     .gradient = gradient_of_product},
    {.name = "all_choices",
     .description = "E sum f P, f from all choices, divided by k",
     .source = "Mixtral in Hugging Face transformers; Megatron-LM",
     .add = add_all_choices,
     .loss = loss_of_product,
     .gradient = gradient_of_product},
    {.name = "importance_load",
     .description = "squared variation of weights and of load",
     .source = "Shazeer et al., Outrageously large neural networks, 2017",
     .of_weights = true,
     .add = add_importance_load,
     .loss = loss_of_variation,
     .gradient = gradient_of_variation},
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
