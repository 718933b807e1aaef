/* Where a rank stands on the machines it was started on: its compute threads, and its place in the layout.
 * In:  the configuration, the world. Out: threads and the kind of operations that they run, a topology.
 */
#ifndef FSM_TRAIN_PLACE_H
#define FSM_TRAIN_PLACE_H

#include "cpu/cpu.h"
#include "exec/exec.h"
#include "topo/topo.h"

/* Compute threads of a rank, one of `local_ranks` on its machine: the configuration's number, or its share of the
 * cores. */
int fsm_threads_of(const fsmoe_config *config, int local_ranks);

/* The operations that a derived configuration asks for. */
fsm_cpu_kind fsm_ops_kind_of(const fsmoe_config *config);

/* The same number of this rank. Collective. ERROR_COMM. */
fsmoe_status fsm_count_threads(const fsmoe_config *config, fsm_comm *world, int *threads);

/* Who moves communication: one rank has nobody to talk to while it computes. */
fsm_progress fsm_progress_of(const fsmoe_config *config, const fsm_comm *world);

/* This rank's topology; nodes and ranks a node are found where the configuration says 0. Collective.
 * ERROR_LAYOUT: they are not the ranks that were started, a node would span machines, or groups do not fit. */
fsmoe_status fsm_place(const fsmoe_config *config, fsm_comm *world, fsm_topo *topo);

#endif
