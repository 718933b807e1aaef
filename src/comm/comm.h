/* The contract of collectives: one group of ranks that act together.
 * In:  contiguous arrays; blocks of different ranks follow one another in rank order; counts in elements.
 * Out: the collective's result in caller-owned memory. All calls block, and every member of the group must make them
 *      in the same order. A group of one rank (self.c) does nothing, or copies when the two arrays differ.
 * Errors: ERROR_COMM with the transport's reason; a count too large for the transport. No collective of a step allocates.
 */
#ifndef FSM_COMM_COMM_H
#define FSM_COMM_COMM_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct fsm_comm fsm_comm;

typedef struct fsm_comm_table {
    const char *name;
    /* recv block s = what rank s sent to me; send block d goes to rank d */
    fsmoe_status (*all_to_all)(fsm_comm *comm, const float *send, const int64_t *send_counts, float *recv,
                               const int64_t *recv_counts);
    /* recv = the blocks of all ranks; send may be its own place in recv */
    fsmoe_status (*all_gather)(fsm_comm *comm, const float *send, float *recv, const int64_t *counts);
    fsmoe_status (*all_gather_int64)(fsm_comm *comm, const int64_t *send, int64_t count, int64_t *recv);
    /* recv = block `rank` of the sum over ranks of send; the arrays differ unless the group has one rank */
    fsmoe_status (*reduce_scatter)(fsm_comm *comm, const float *send, float *recv, const int64_t *counts);
    /* buffer = sum over ranks, the same bits on every rank */
    fsmoe_status (*all_reduce)(fsm_comm *comm, float *buffer, int64_t count);
    fsmoe_status (*all_reduce_double)(fsm_comm *comm, double *buffer, int64_t count);
    /* bytes of every rank to rank 0, in rank order; `recv`, `counts` are read on rank 0 only */
    fsmoe_status (*gather_bytes)(fsm_comm *comm, const void *send, int64_t count, void *recv, const int64_t *counts);
    fsmoe_status (*broadcast_bytes)(fsm_comm *comm, void *buffer, int64_t count, int root);
    fsmoe_status (*barrier)(fsm_comm *comm);
    /* a new group of the ranks with my color, in order of their present rank */
    fsmoe_status (*split)(fsm_comm *comm, int color, fsm_comm **group);
    /* how many ranks share this rank's machine, and which of them it is */
    fsmoe_status (*local_ranks)(fsm_comm *comm, int *count, int *index);
    /* ends every rank of the job at once, without clean-up; does not return */
    void (*abort)(fsm_comm *comm, int exit_code);
    void (*destroy)(fsm_comm *comm);
} fsm_comm_table;

struct fsm_comm {
    const fsm_comm_table *table;
    int rank, size;
};

/* The group of all ranks of this job: MPI's when the process was started by mpirun, else a group of one.
 * MPI is initialised here and finalised when this group is destroyed. */
fsmoe_status fsm_comm_create_world(fsm_comm **world);
/* A group of one, whatever the job. */
fsmoe_status fsm_comm_create_self(fsm_comm **self);
void fsm_comm_destroy(fsm_comm *comm); /* NULL is fine */

/* All ranks learn whether all of them succeeded: everyone returns the status of the lowest rank that failed, and
 * fsmoe_last_error() is that rank's sentence. Collective over comm. */
fsmoe_status fsm_comm_agree(fsm_comm *comm, fsmoe_status mine);

/* buffer = sum over ranks, added as a balanced binary tree over the ranks in order: the bits that one rank gets by adding
 * their parts that way itself. scratch: comm->size * FSM_TREE_ELEMS floats,
 * counts: comm->size. Collective. */
enum { FSM_TREE_ELEMS = 65536 };
fsmoe_status fsm_comm_all_reduce_tree(fsm_comm *comm, float *buffer, int64_t count, float *scratch, int64_t *counts);

/* The counts of every node, equal or ERROR_LAYOUT: how many nodes there are and how many ranks on each. */
fsmoe_status fsm_comm_find_nodes(fsm_comm *comm, int *nodes, int *ranks_per_node);

#ifdef FSMOE_WITH_MPI
fsmoe_status fsm_comm_create_mpi(fsm_comm **world);
int fsm_comm_launched_by_mpi(void);
#endif

#endif
