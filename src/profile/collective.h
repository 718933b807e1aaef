/* Collectives on values that nobody reads: what is timed, and what is rehearsed.
 * In:  a group; how many elements, as the operations of a cluster file count them.
 * Out: the collective under way, its elements cut into blocks of the ranks, as even as they go.
 */
#ifndef FSM_PROFILE_COLLECTIVE_H
#define FSM_PROFILE_COLLECTIVE_H

#include "comm/op.h"
#include "profile/cluster.h"

/* One at a time: they share the buffers. */
typedef struct fsm_collective {
    float *from, *to;       /* [most_elems], and an element more from each rank; owned */
    int64_t *counts, *mine; /* [most_ranks] elements of every rank's block; my block's, once a rank; owned */
} fsm_collective;

/* Pages exist afterwards. ERROR_MEMORY; destroy it even then. */
fsmoe_status fsm_collective_create(int most_ranks, int64_t most_elems, fsm_collective *collective);
void fsm_collective_destroy(fsm_collective *collective); /* {0} is fine */

/* Sets counts and mine. */
void fsm_collective_cut(fsm_collective *collective, const fsm_comm *group, int64_t elems);

/* op: of FSM_COST_OPS, but no GEMM; elems of that type, in the same buffers. ERROR_COMM. */
fsmoe_status fsm_collective_start(fsm_collective *collective, fsm_comm *group, fsm_cost_op op, fsm_comm_type type,
                                  int64_t elems, fsm_comm_op *under_way);

#endif
