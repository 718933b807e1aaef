/* Ranks agree how a step has ended.
 * In:  whether this rank failed, whether it wants to stop; on rank 0 whether it is time to save.
 * Out: the same answers on every rank, in the one exchange of a few numbers that ends every step anyway.
 */
#ifndef FSM_TRAIN_STOP_H
#define FSM_TRAIN_STOP_H

#include "comm/comm.h"

typedef struct fsm_step_verdict {
    int stop;       /* the reason of the lowest rank that wants to stop; 0: none does */
    bool save_time; /* rank 0's clock says so */
} fsm_step_verdict;

/* As fsm_comm_agree; *verdict: in, this rank's; out, everybody's. Collective over world. */
fsmoe_status fsm_stop_agree(fsm_comm *world, fsmoe_status status, fsm_step_verdict *verdict);

#endif
