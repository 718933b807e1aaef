/* Sums over tokens: losses, expert load, and what the aux losses send back. One array of doubles a micro-batch, which all of
 * its passes add to, and which is added over all ranks at once, so that losses do not depend on the layout:
 *   per MoE layer: load [E], share [E], chosen [E], kept [E], sum of logsumexp^2, dropped, tokens, own losses;
 *   then loss, tokens.
 */
#include "model/model.h"
#include "moe/gate/balance.h"

#include <string.h>

fsm_gate_sums fsm_model_gate_sums(const fsm_model *model, fsm_sum *sums, int moe_index)
{
    int64_t num_experts = model->config->moe.num_experts;
    return fsm_gate_sums_at(fsm_sum_at(sums, moe_index * FSM_GATE_SUMS_COUNT(num_experts)), num_experts);
}

void fsm_model_read_sums(fsm_model *m)
{
    m->ops->read(m->ops, sizeof *m->totals * (size_t)m->sum_count, m->step_sums, m->totals);
}

fsm_layer_load fsm_model_layer_load(const fsm_model *model, const double *totals, int moe_index)
{
    int64_t num_experts = model->config->moe.num_experts;
    const double *layer = totals + moe_index * FSM_GATE_SUMS_COUNT(num_experts);
    return (fsm_layer_load){.kept = layer + FSM_GATE_SUMS_KEPT(num_experts),
                            .dropped = layer[FSM_GATE_SUMS_DROPPED(num_experts)]};
}

static double *layer_gradients(const fsm_model *model, const fsm_micro_sums *s, int moe_index)
{
    return s->loss_grads + 2 * moe_index * model->config->moe.num_experts;
}

fsm_gate_loss_grad fsm_model_loss_grad(const fsm_model *model, const fsm_micro_sums *s, int moe_index)
{
    double *grads = layer_gradients(model, s, moe_index);
    return (fsm_gate_loss_grad){.share = grads,
                                .load = grads + model->config->moe.num_experts,
                                .z = s->log_sum_coeff + moe_index};
}

fsm_model_sums fsm_model_loss_sums(const fsm_model *model, const double *totals)
{
    return (fsm_model_sums){.loss = totals[model->sum_count - 2], .tokens = totals[model->sum_count - 1]};
}

/* A layer's loss of the tokens that its sums are of, and what it sends back; both times `scale`. */
static double balance(const fsm_model *model, const fsm_gate *gate, int moe_index, const fsm_micro_sums *s,
                      double scale)
{
    const fsmoe_moe_config *moe = &model->config->moe;
    fsm_gate_sums sums = fsm_model_gate_sums(model, s->sums, moe_index);
    double *grads = layer_gradients(model, s, moe_index), loss = 0;
    gate->balance->loss(model->ops, moe->num_experts, &sums, scale, scale * moe->aux_loss_coeff * model->aux_scale,
                        &loss, grads, grads + moe->num_experts);
    return loss;
}

static bool by_rank(const fsm_model *model)
{
    return strcmp(model->config->moe.aux_loss_scope, "rank") == 0;
}

/* Before sums are exchanged: the losses of this rank's tokens. */
static void balance_own(const fsm_model *model, const fsm_micro_sums *s)
{
    int moe_index = 0;
    for (int i = 0; i < model->config->model.num_layers; i++) {
        const fsm_gate *gate = &model->layers[i].moe.gate;
        if (!model->layers[i].is_moe) continue;
        fsm_gate_sums sums = fsm_model_gate_sums(model, s->sums, moe_index);
        if (gate->balance) *sums.aux = balance(model, gate, moe_index, s, 1.0 / model->topo.ranks);
        moe_index++;
    }
}

/* aux is not linear in the sums, so each micro-batch's is worked out before they are added up. */
static void take_layer_sums(fsm_model *model, const fsm_gate *gate, int moe_index, fsm_micro_sums *s)
{
    fsm_gate_sums sums = fsm_model_gate_sums(model, s->sums, moe_index);
    double tokens = *sums.tokens > 0 ? *sums.tokens : 1;
    s->log_sum_coeff[moe_index] = 2.0 * model->config->moe.z_loss_coeff * model->aux_scale / tokens;
    model->step_z += model->aux_scale * *sums.log_sum_sq / tokens;
    if (!gate->balance) return; /* the gradients stay zero */
    model->step_aux += model->aux_scale * (by_rank(model) ? *sums.aux : balance(model, gate, moe_index, s, 1));
}

static fsm_micro_sums *sums_of(fsm_model *model, int micro)
{
    return &model->micro_sums[micro % (model->lanes / model->parts)];
}

fsmoe_status fsm_model_start_sums(fsm_model *model, int micro, fsm_comm_op *op)
{
    fsm_micro_sums *s = sums_of(model, micro);
    if (by_rank(model)) balance_own(model, s);
    return fsm_comm_start_all_reduce(op, model->groups[FSM_GROUP_WORLD], FSM_COMM_FP64, s->sums, model->sum_count);
}

void fsm_model_take_sums(fsm_model *model, int micro)
{
    fsm_micro_sums *s = sums_of(model, micro);
    int moe_index = 0;
    for (int i = 0; i < model->config->model.num_layers; i++)
        if (model->layers[i].is_moe) take_layer_sums(model, &model->layers[i].moe.gate, moe_index++, s);
    for (int64_t i = 0; i < model->sum_count; i++) model->step_sums[i] += s->sums[i];
    memset(s->sums, 0, sizeof *s->sums * (size_t)model->sum_count);
}

void fsm_model_after_step(fsm_model *model)
{
    int moe_index = 0;
    for (int i = 0; i < model->config->model.num_layers; i++) {
        if (!model->layers[i].is_moe) continue;
        fsm_gate *gate = &model->layers[i].moe.gate;
        fsm_gate_sums sums = fsm_model_gate_sums(model, model->step_sums, moe_index++);
        if (gate->kind->after_step) gate->kind->after_step(gate, sums.chosen);
    }
}
