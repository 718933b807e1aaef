/* Sums over tokens: losses, expert load, and what the aux losses send back. One array of doubles a micro-batch, added over
 * all ranks at once, so that losses do not depend on the layout:
 *   per MoE layer: first choices [E], probability [E], kept [E], sum of logsumexp^2, dropped, tokens;  then loss, tokens.
 */
#include "model/model.h"

static int64_t sums_a_layer(const fsm_model *model)
{
    return 3 * model->config->moe.num_experts + 3;
}

fsm_gate_sums fsm_model_gate_sums(const fsm_model *model, double *sums, int moe_index)
{
    int64_t num_experts = model->config->moe.num_experts;
    double *at = sums + moe_index * sums_a_layer(model);
    return (fsm_gate_sums){
        .first_choices = at,
        .probability = at + num_experts,
        .kept = at + 2 * num_experts,
        .log_sum_sq = at + 3 * num_experts,
        .dropped = at + 3 * num_experts + 1,
        .tokens = at + 3 * num_experts + 2,
    };
}

fsm_model_sums fsm_model_loss_sums(const fsm_model *model, const double *sums)
{
    return (fsm_model_sums){.loss = sums[model->sum_count - 2], .tokens = sums[model->sum_count - 1]};
}

/* aux = E sum_e f_e P_e, f_e the share of first choices, P_e the mean probability (GShard, Lepikhin et al. 2020):
 * d aux / d p[n,e] = E f_e / tokens; f_e is a count and has no gradient. */
static void set_load_gradients(fsm_model *model)
{
    const fsmoe_moe_config *moe = &model->config->moe;
    for (int i = 0; i < model->moe_layers; i++) {
        fsm_gate_sums sums = fsm_model_gate_sums(model, model->sums, i);
        double tokens = *sums.tokens > 0 ? *sums.tokens : 1;
        double factor = moe->aux_loss_coeff * model->aux_scale * (double)moe->num_experts / (tokens * tokens);
        for (int64_t e = 0; e < moe->num_experts; e++)
            model->load_grad[i * moe->num_experts + e] = factor * sums.first_choices[e];
    }
}

/* aux is not linear in the sums, so each micro-batch's is worked out before they are added up. */
static void keep_aux_losses(fsm_model *model)
{
    for (int i = 0; i < model->moe_layers; i++) {
        fsm_gate_sums sums = fsm_model_gate_sums(model, model->sums, i);
        double tokens = *sums.tokens > 0 ? *sums.tokens : 1, aux = 0;
        for (int64_t e = 0; e < model->config->moe.num_experts; e++) aux += sums.first_choices[e] * sums.probability[e];
        model->step_aux += model->aux_scale * (double)model->config->moe.num_experts * aux / (tokens * tokens);
        model->step_z += model->aux_scale * *sums.log_sum_sq / tokens;
    }
}

fsmoe_status fsm_model_start_sums(fsm_model *model, fsm_comm_op *op)
{
    return fsm_comm_start_all_reduce_double(op, model->groups[FSM_GROUP_WORLD], model->sums, model->sum_count);
}

void fsm_model_take_sums(fsm_model *model)
{
    set_load_gradients(model);
    keep_aux_losses(model);
    for (int64_t i = 0; i < model->sum_count; i++) model->step_sums[i] += model->sums[i];
}
