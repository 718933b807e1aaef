/* How many rows every rank of the expert group sends to every expert: computed where sizes are known beforehand, else
 * exchanged. With capacity a padded order sends as many rows as the number of tokens says, whatever is chosen; so do
 * products with matrices. All members must know or not know alike, or some would wait for others. */
#include "moe/layer_parts.h"

#include <assert.h>

/* Of a rank with n tokens, to each expert; -1: choices say it. */
static int64_t rows_of(const fsm_moe_pass *pass, int64_t n)
{
    const fsm_order_kind *order = pass->drops ? pass->moe->order : &fsm_order_sorted;
    fsm_order_problem problem = fsm_moe_order_problem(pass->moe->config, n, pass->drops);
    if (pass->by_products) return fsm_mixing_rows(&pass->mixing, n);
    return order->fixed_rows ? order->fixed_rows(&problem) : -1;
}

static bool know_rows(const fsm_moe_pass *pass)
{
    return pass->tokens && rows_of(pass, pass->gate.input.n) >= 0;
}

static void fill_counts(fsm_moe_pass *pass)
{
    const fsm_moe *moe = pass->moe;
    int64_t experts = moe->gate.num_experts;
    for (int r = 0; r < moe->expert_group->size; r++) {
        int64_t rows = rows_of(pass, pass->tokens[r]);
        for (int64_t e = 0; e < experts; e++) pass->counts[r * experts + e] = rows;
    }
    const int64_t *mine = pass->counts + moe->expert_group->rank * experts;
    for (int64_t e = 0; e < experts; e++) assert(mine[e] == pass->route.rows[e]);
    (void)mine;
}

fsmoe_status fsm_moe_start_counts(fsm_moe_pass *pass, fsm_comm_op *op)
{
    if (!know_rows(pass))
        return fsm_comm_start_all_gather_even(op, pass->moe->expert_group, FSM_COMM_INT64, pass->route.rows,
                                              pass->moe->gate.num_experts, pass->counts);
    fill_counts(pass);
    return FSMOE_OK;
}
