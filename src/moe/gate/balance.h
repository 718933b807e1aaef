/* The load-balancing losses. Each is a function of two sums over all tokens of a batch, one an expert: `load`, how much
 * an expert had to do, and `share`, how much the gate wanted it to. Both are added over all ranks first, so that the
 * loss does not depend on the layout.
 * In:  choices, probabilities and weights of the gate. Out: the sums; the loss and its derivatives.
 * A loss is one row of the table in balance.c. Router z-loss: gate.h's log_sum_sq / tokens.
 */
#ifndef FSM_MOE_BALANCE_H
#define FSM_MOE_BALANCE_H

#include "moe/gate/gate.h"

typedef struct fsm_balance {
    const char *name, *description, *source;
    bool of_weights; /* share sums combine weights, else probabilities */
    /* sums->load, sums->share += those of the pass's tokens */
    void (*add)(const fsm_gate_pass *pass, fsm_gate_sums *sums);
    /* *loss += loss_scale times the loss of the sums; dshare, dload [E] = grad_scale times its derivatives */
    void (*loss)(const fsm_ops *ops, int64_t num_experts, const fsm_gate_sums *sums, double loss_scale,
                 double grad_scale, fsm_sum *loss, fsm_sum *dshare, fsm_sum *dload);
} fsm_balance;

/* The loss that the configuration asks for; *balance is NULL for none. ERROR_CONFIG: there is no such loss, or the gate
 * has not what it is made of. */
fsmoe_status fsm_balance_select(const fsmoe_moe_config *config, const fsm_gate_kind *kind, const fsm_balance **balance);

#endif
