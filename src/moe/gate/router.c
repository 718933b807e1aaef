#include "moe/gate/router.h"

#include "moe/gate/balance.h"

fsm_param_spec fsm_router_weight_spec(const fsmoe_moe_config *config, int64_t hidden)
{
    return (fsm_param_spec){"weight", config->num_experts, hidden, 2, FSM_SHARD_NONE, FSM_INIT_NORMAL, true};
}

int fsm_router_list_weight(const fsmoe_moe_config *config, int64_t hidden, fsm_param_spec *specs)
{
    specs[FSM_ROUTER_WEIGHT] = fsm_router_weight_spec(config, hidden);
    return 1;
}

void fsm_router_project(fsm_gate_pass *pass, const fsm_row *x)
{
    const fsm_gate *gate = pass->gate;
    gate->ops->linear_forward(gate->ops, pass->input.n, &gate->weights[FSM_ROUTER_WEIGHT], NULL,
                              fsm_rows(x, gate->hidden), fsm_reals(pass->logits, gate->num_experts));
}

void fsm_router_project_backward(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    int64_t n = pass->input.n, num_experts = gate->num_experts, hidden = gate->hidden;
    gate->ops->linear_backward_input(gate->ops, n, &gate->weights[FSM_ROUTER_WEIGHT],
                                     fsm_reals(pass->dlogits, num_experts), 1.0f, fsm_reals(pass->dx, hidden));
    gate->ops->linear_backward_weight(gate->ops, n, num_experts, hidden, fsm_reals(pass->dlogits, num_experts),
                                      fsm_rows(pass->input.x, hidden), gate->params[FSM_ROUTER_WEIGHT].grad, NULL);
}

void fsm_router_softmax(fsm_gate_pass *pass)
{
    const fsm_ops *ops = pass->gate->ops;
    ops->softmax(ops, pass->input.n, pass->gate->num_experts, pass->logits, pass->prob, pass->lse);
}

void fsm_router_choose(fsm_gate_pass *pass, const fsm_real *scores)
{
    const fsm_gate *gate = pass->gate;
    gate->ops->top_k(gate->ops, pass->input.n, gate->num_experts, gate->choices, scores, pass->choice, pass->score);
}

void fsm_router_softmax_weights(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    const fsm_ops *ops = gate->ops;
    int64_t n = pass->input.n, k = gate->choices;
    if (k > 1) ops->softmax(ops, n, k, pass->score, pass->weight, NULL);
    else if (gate->config->normalize_top_k) ops->route.fill(ops, n, 1, pass->weight);
    else ops->route.pick(ops, n, gate->num_experts, 1, pass->prob, pass->choice, pass->weight);
}

void fsm_router_softmax_weights_backward(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    const fsm_ops *ops = gate->ops;
    int64_t n = pass->input.n, num_experts = gate->num_experts, k = gate->choices;
    if (k > 1)
        ops->route.softmax_weights_backward(ops, n, num_experts, k, pass->choice, pass->weight, pass->dweight,
                                            pass->dlogits);
    else if (!gate->config->normalize_top_k)
        ops->route.prob_weights_backward(ops, n, num_experts, pass->prob, pass->choice, pass->weight, pass->dweight,
                                         pass->dlogits);
}

const fsm_sum *fsm_router_share(const fsm_gate_pass *pass)
{
    const fsm_balance *balance = pass->gate->balance;
    return balance && !balance->of_weights ? pass->loss.share : NULL;
}

void fsm_router_losses_backward(fsm_gate_pass *pass)
{
    const fsm_ops *ops = pass->gate->ops;
    ops->route.losses_backward(ops, pass->input.n, pass->gate->num_experts, pass->prob, pass->lse,
                               fsm_router_share(pass), pass->loss.z, pass->dlogits);
}

void fsm_router_z_backward(fsm_gate_pass *pass)
{
    const fsm_ops *ops = pass->gate->ops;
    ops->route.z_backward(ops, pass->input.n, pass->gate->num_experts, pass->logits, pass->lse, pass->loss.z,
                          pass->dlogits);
}
