#include "train/stop.h"

#include "comm/op.h"

static fsmoe_status find_reason(fsm_comm *world, int mine, int *reason)
{
    *reason = 0;
    for (int rank = 0; rank < world->size && *reason == 0; rank++) {
        int64_t of_rank = mine;
        FSM_TRY(world->table->broadcast_bytes(world, &of_rank, sizeof of_rank, rank));
        *reason = (int)of_rank;
    }
    return FSMOE_OK;
}

fsmoe_status fsm_stop_agree(fsm_comm *world, fsmoe_status status, int mine, int *reason)
{
    double ranks[2] = {status != FSMOE_OK, mine != 0}; /* that failed, that want to stop */
    *reason = mine;
    if (world->size == 1) return status;
    FSM_TRY(fsm_comm_all_reduce_double(world, ranks, 2));
    *reason = 0;
    if (ranks[0] > 0) return fsm_comm_agree(world, status);
    return ranks[1] > 0 ? find_reason(world, mine, reason) : FSMOE_OK;
}
