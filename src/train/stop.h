/* Ranks agree whether to stop.
 * In:  what this rank wants, and whether it failed.
 * Out: the same answer on every rank, in the exchange of statuses that ends every step anyway.
 */
#ifndef FSM_TRAIN_STOP_H
#define FSM_TRAIN_STOP_H

#include "comm/comm.h"

/* As fsm_comm_agree; *reason: that of the lowest rank which wants to stop (its `mine`), 0 when none does.
 * Collective over world. */
fsmoe_status fsm_stop_agree(fsm_comm *world, fsmoe_status status, int mine, int *reason);

#endif
