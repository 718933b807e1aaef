#include "train/stop.h"

#include "comm/op.h"

static fsmoe_status find_reason(fsm_comm *world, int mine, int *reason)
{
    *reason = 0;
    for (int rank = 0; rank < world->size && *reason == 0; rank++) {
        int64_t of_rank = mine;
        FSM_TRY(world->control->broadcast_bytes(world, &of_rank, sizeof of_rank, rank));
        *reason = (int)of_rank;
    }
    return FSMOE_OK;
}

fsmoe_status fsm_stop_agree(fsm_comm *world, fsmoe_status status, fsm_step_verdict *verdict)
{
    if (world->size == 1) return status;
    /* how many ranks failed, want to stop, find it time to save */
    double ranks[3] = {status != FSMOE_OK, verdict->stop != 0, world->rank == 0 && verdict->save_time};
    int mine = verdict->stop;
    FSM_TRY(fsm_comm_all_reduce_double(world, ranks, 3));
    *verdict = (fsm_step_verdict){.save_time = ranks[2] > 0};
    if (ranks[0] > 0) return fsm_comm_agree(world, status);
    return ranks[1] > 0 ? find_reason(world, mine, &verdict->stop) : FSMOE_OK;
}
