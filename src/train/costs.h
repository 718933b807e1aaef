/* One set of costs for all ranks: rank 0's, to the bit, so that every rank makes the same plan from it.
 * In:  costs of rank 0, measured or in a file. Out: the same on every rank. Collective over world.
 */
#ifndef FSM_TRAIN_COSTS_H
#define FSM_TRAIN_COSTS_H

#include "comm/op.h"
#include "profile/cluster.h"

/* What other ranks had is destroyed. ERROR_MEMORY, ERROR_COMM. */
fsmoe_status fsm_costs_share(fsm_comm *world, fsm_cluster *cluster);

/* A cluster file, read by rank 0. fsm_cluster_read's errors. */
fsmoe_status fsm_costs_read(fsm_comm *world, const char *path, fsm_cluster *cluster);

#endif
