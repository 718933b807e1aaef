/* The contract of communication: one group of ranks that act together.
 * In:  contiguous arrays; blocks of different ranks follow one another in rank order; counts in elements.
 * Out: the result in caller-owned memory. Every member of a group must make the same calls in the same order.
 * What begins with start_ or post_ returns at once; `test` says when it is there (comm/op.h makes collectives of it).
 * Until then all its arrays, counts too, stay as they are. A group of one rank (self.c) does nothing, or copies when two
 * arrays differ. Errors: ERROR_COMM with the transport's reason; of start_ and post_ also more elements than the transport
 * counts (MPI: 2^31 - 1), before anything is touched. None of start_, post_ and test allocates.
 * Threads: at most one thread at a time is in any call of any group of a job, which one may change (`any_thread`), or it
 * is always the thread that created the world.
 */
#ifndef FSM_COMM_COMM_H
#define FSM_COMM_COMM_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fsm_comm fsm_comm;

/* Messages are posted in one of two slots, so that some can be waited for while others are under way. */
enum { FSM_COMM_SLOTS = 2 };

/* What blocks moves bytes in pieces: transports count in ints, and nobody needs room for a whole tensor more. */
enum { FSM_COMM_PIECE_BYTES = 1 << 26 };

typedef struct fsm_comm_table {
    const char *name;
    /* Collectives: at most one under way, alone in slot 0. */
    /* recv block s = what rank s sent to me; send block d goes to rank d */
    fsmoe_status (*start_all_to_all)(fsm_comm *comm, const float *send, const int64_t *send_counts, float *recv,
                                     const int64_t *recv_counts);
    /* recv = the blocks of all ranks; send may be its own place in recv */
    fsmoe_status (*start_all_gather)(fsm_comm *comm, const float *send, float *recv, const int64_t *counts);
    fsmoe_status (*start_all_gather_int64)(fsm_comm *comm, const int64_t *send, int64_t count, int64_t *recv);
    /* buffer = sum over ranks, the same bits on every rank: for few numbers */
    fsmoe_status (*start_all_reduce_double)(fsm_comm *comm, double *buffer, int64_t count);
    /* Messages to and from other ranks: at most one each way, slot and rank. They arrive in the order posted. */
    fsmoe_status (*post_send)(fsm_comm *comm, int slot, int to, const float *elems, int64_t count);
    fsmoe_status (*post_recv)(fsm_comm *comm, int slot, int from, float *elems, int64_t count);
    /* *done: everything in the slot has been sent and received; moves whatever is under way */
    fsmoe_status (*test)(fsm_comm *comm, int slot, bool *done);
    /* Blocking: not while something of the group is under way. */
    /* bytes of every rank to rank 0, in rank order, as many as there are; `recv`, `counts` are read on rank 0 only */
    fsmoe_status (*gather_bytes)(fsm_comm *comm, const void *send, int64_t count, void *recv, const int64_t *counts);
    fsmoe_status (*broadcast_bytes)(fsm_comm *comm, void *buffer, int64_t count, int root);
    fsmoe_status (*barrier)(fsm_comm *comm);
    /* a new group of the ranks with my color, in order of their present rank */
    fsmoe_status (*split)(fsm_comm *comm, int color, fsm_comm **group);
    /* how many ranks share this rank's node, and which of them it is */
    fsmoe_status (*local_ranks)(fsm_comm *comm, int *count, int *index);
    /* ends every rank of the job at once, without clean-up; does not return */
    void (*abort)(fsm_comm *comm, int exit_code);
    void (*destroy)(fsm_comm *comm);
} fsm_comm_table;

struct fsm_comm {
    const fsm_comm_table *table;
    int rank, size;
    int launched_as; /* of the world: the number that the launcher has given this rank */
    bool any_thread; /* calls may come from one thread now and from another later */
    int64_t
        piece_bytes; /* of gather_bytes and broadcast_bytes, alike on all ranks: FSM_COMM_PIECE_BYTES, less in tests */
    /* of sums (comm/op.c); a group of one has none */
    int64_t segment_elems; /* the pieces that they are formed in */
    float *scratch;        /* [FSM_COMM_SLOTS, size, segment_elems] */
    int64_t *even;         /* [size] blocks of an all-reduce */
};

/* The group of all ranks of this job: MPI's when the process was started by mpirun, else a group of one. Its ranks are
 * numbered node by node, whatever order the launcher placed them in; rank 0 is the launcher's. MPI is initialised here, once a
 * process, and finalised when the process exits with all such groups destroyed, unless the program has initialised it itself. */
fsmoe_status fsm_comm_create_world(fsm_comm **world);
/* A group of one, whatever the job. */
fsmoe_status fsm_comm_create_self(fsm_comm **self);
void fsm_comm_destroy(fsm_comm *comm); /* NULL is fine */

/* All ranks learn whether all of them succeeded: everyone returns the status of the lowest rank that failed, and
 * fsmoe_last_error() is that rank's sentence. Collective over comm. */
fsmoe_status fsm_comm_agree(fsm_comm *comm, fsmoe_status mine);

/* The number of a rank where those of a node follow one another: nodes in the order of their lowest ranks, a node's ranks
 * in theirs. lowest [size]: of the ranks of each rank's node. */
int fsm_comm_number_by_node(int size, const int *lowest, int rank);

/* The counts of every node, equal or ERROR_LAYOUT: how many nodes there are and how many ranks on each. */
fsmoe_status fsm_comm_find_nodes(fsm_comm *comm, int *nodes, int *ranks_per_node);

#ifdef FSMOE_WITH_MPI
fsmoe_status fsm_comm_create_mpi(fsm_comm **world);
int fsm_comm_launched_by_mpi(void);
#endif

#endif
