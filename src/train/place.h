/* Where a rank stands on the machines it was started on: its compute threads, and its place in the layout.
 * In:  the configuration, the world. Out: threads, a topology.
 */
#ifndef FSM_TRAIN_PLACE_H
#define FSM_TRAIN_PLACE_H

#include "comm/comm.h"
#include "topo/topo.h"

/* How many compute threads a rank has by the configuration, and its OpenMP uses from now on. Collective. ERROR_COMM. */
fsmoe_status fsm_use_threads(const fsmoe_config *config, fsm_comm *world, int *threads);

/* This rank's topology; nodes and ranks a node are found where the configuration says 0. Collective.
 * ERROR_LAYOUT: they are not the ranks that were started, a node would span machines, or groups do not fit. */
fsmoe_status fsm_place(const fsmoe_config *config, fsm_comm *world, fsm_topo *topo);

#endif
