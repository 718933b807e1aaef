/* The communicators of a topology: one for each kind of group this rank is in.
 * In:  the world and the rank's place. Out: groups[FSM_GROUP_COUNT]; WORLD is the world itself.
 */
#ifndef FSM_COMM_GROUPS_H
#define FSM_COMM_GROUPS_H

#include "comm/comm.h"
#include "topo/topo.h"

/* Collective over world; groups of one rank are "self". Destroy with fsm_groups_destroy, before the world. */
fsmoe_status fsm_groups_create(fsm_comm *world, const fsm_topo *topo, fsm_comm *groups[FSM_GROUP_COUNT]);
void fsm_groups_destroy(fsm_comm *groups[FSM_GROUP_COUNT]);

#endif
