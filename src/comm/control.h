/* The control contract of communication: what ranks say to each other between steps.
 * In:  a group; bytes, few whole numbers and few doubles in host memory.
 * Out: the same on every rank, or on rank 0 what all have said. All of it blocks, until every member has made the call:
 * not while something of the group's data is under way (comm/data.h), and in the same order on every rank. Nothing here
 * moves tensors in a step.
 * Errors: ERROR_COMM with the transport's reason; of numbers also more of them than the transport counts (MPI: 2^31 -
 * 1), before anything is touched.
 */
#ifndef FSM_COMM_CONTROL_H
#define FSM_COMM_CONTROL_H

#include "base/status.h"

#include <stdint.h>

typedef struct fsm_comm fsm_comm;

/* Bytes move in pieces: transports count in ints, and nobody needs room for a whole tensor more. */
enum { FSM_COMM_PIECE_BYTES = 1 << 26 };

typedef struct fsm_control_table {
    const char *name;
    /* bytes of every rank to rank 0, in rank order, as many as there are; `recv`, `counts` are read on rank 0 only */
    fsmoe_status (*gather_bytes)(fsm_comm *comm, const void *send, int64_t count, void *recv, const int64_t *counts);
    fsmoe_status (*broadcast_bytes)(fsm_comm *comm, void *buffer, int64_t count, int root);
    /* recv [size, count] = the numbers of all ranks, in rank order */
    fsmoe_status (*all_gather_int64)(fsm_comm *comm, const int64_t *send, int64_t count, int64_t *recv);
    /* buffer = sum over ranks, the same bits on every rank */
    fsmoe_status (*all_reduce_double)(fsm_comm *comm, double *buffer, int64_t count);
    fsmoe_status (*barrier)(fsm_comm *comm);
    /* a new group of the ranks with my color, in order of their present rank */
    fsmoe_status (*split)(fsm_comm *comm, int color, fsm_comm **group);
    /* how many ranks share this rank's node, and which of them it is */
    fsmoe_status (*local_ranks)(fsm_comm *comm, int *count, int *index);
    /* ends every rank of the job at once, without clean-up; does not return */
    void (*abort)(fsm_comm *comm, int exit_code);
    void (*destroy)(fsm_comm *comm);
} fsm_control_table;

fsmoe_status fsm_comm_all_gather_int64(fsm_comm *comm, const int64_t *send, int64_t count, int64_t *recv);
fsmoe_status fsm_comm_all_reduce_double(fsm_comm *comm, double *buffer, int64_t count);

/* All ranks learn whether all of them succeeded: everyone returns the status of the lowest rank that failed, and
 * fsmoe_last_error() is that rank's sentence. */
fsmoe_status fsm_comm_agree(fsm_comm *comm, fsmoe_status mine);

/* The number of a rank where those of a node follow one another: nodes in the order of their lowest ranks, a node's
 * ranks in theirs. lowest [size]: of the ranks of each rank's node. */
int fsm_comm_number_by_node(int size, const int *lowest, int rank);

/* The counts of every node, equal or ERROR_LAYOUT: how many nodes there are and how many ranks on each. */
fsmoe_status fsm_comm_find_nodes(fsm_comm *comm, int *nodes, int *ranks_per_node);

#endif
