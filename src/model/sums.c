/* Sums over tokens: losses, expert load, and what the aux losses send back. One array of doubles a micro-batch, which
 * all of its passes add to, and which is added over all ranks at once, so that losses do not depend on the layout:
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
    double losses[2];
    m->ops->read(m->ops, sizeof *m->totals * (size_t)m->sum_count, m->step_sums, m->totals);
    m->ops->read(m->ops, sizeof losses, m->step_losses, losses);
    m->step_aux = losses[0];
    m->step_z = losses[1];
}

fsm_layer_load fsm_model_layer_load(const fsm_model *model, const double *totals, int moe_index)
{
    int64_t num_experts = model->config->moe.num_experts;
    const double *layer = totals + moe_index * FSM_GATE_SUMS_COUNT(num_experts);
    return (fsm_layer_load){.kept = layer + FSM_GATE_SUMS_KEPT(num_experts),
                            .dropped = layer[FSM_GATE_SUMS_DROPPED(num_experts)]};
}

static fsm_sum *layer_gradients(const fsm_model *model, const fsm_micro_sums *s, int moe_index)
{
    return fsm_sum_at(s->loss_grads, 2 * moe_index * model->config->moe.num_experts);
}

fsm_gate_loss_grad fsm_model_loss_grad(const fsm_model *model, const fsm_micro_sums *s, int moe_index)
{
    fsm_sum *grads = layer_gradients(model, s, moe_index);
    return (fsm_gate_loss_grad){.share = grads,
                                .load = fsm_sum_at(grads, model->config->moe.num_experts),
                                .z = fsm_sum_at(s->z_coeff, moe_index)};
}

fsm_model_sums fsm_model_loss_sums(const fsm_model *model, const double *totals)
{
    return (fsm_model_sums){.loss = totals[model->sum_count - 2], .tokens = totals[model->sum_count - 1]};
}

/* *loss += `to_loss` times a layer's loss of the tokens that its sums are of, and what `share` of it sends back. */
static void balance(const fsm_model *model, const fsm_gate *gate, int moe_index, const fsm_micro_sums *s, double share,
                    double to_loss, fsm_sum *loss)
{
    const fsmoe_moe_config *moe = &model->config->moe;
    fsm_gate_sums sums = fsm_model_gate_sums(model, s->sums, moe_index);
    fsm_sum *grads = layer_gradients(model, s, moe_index);
    gate->balance->loss(model->link_ops, moe->num_experts, &sums, to_loss,
                        share * moe->aux_loss_coeff * model->aux_scale, loss, grads,
                        fsm_sum_at(grads, moe->num_experts));
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
        double share = 1.0 / model->topo.ranks;
        if (gate->balance) balance(model, gate, moe_index, s, share, share, sums.aux);
        moe_index++;
    }
}

/* aux is not linear in the sums, so each micro-batch's is worked out before they are added up. */
static void take_layer_sums(fsm_model *model, const fsm_gate *gate, int moe_index, fsm_micro_sums *s)
{
    const fsm_ops *ops = model->link_ops;
    fsm_gate_sums sums = fsm_model_gate_sums(model, s->sums, moe_index);
    fsm_sum *aux = model->step_losses, *z = fsm_sum_at(model->step_losses, 1);
    ops->ratio(ops, model->aux_scale, sums.log_sum_sq, sums.tokens, 1, z);
    ops->ratio(ops, 2.0 * model->config->moe.z_loss_coeff * model->aux_scale, NULL, sums.tokens, 0,
               fsm_sum_at(s->z_coeff, moe_index));
    if (!gate->balance) return; /* the gradients stay zero */
    if (by_rank(model)) ops->ratio(ops, model->aux_scale, sums.aux, NULL, 1, aux);
    else balance(model, gate, moe_index, s, 1, model->aux_scale, aux);
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
    model->link_ops->add_sums(model->link_ops, model->sum_count, s->sums, model->step_sums);
    model->link_ops->zero_sums(model->link_ops, model->sum_count, s->sums);
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
