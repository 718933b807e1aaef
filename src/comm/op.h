/* Operations under way: each is begun, moved along from time to time, and is there when it says so.
 * In:  a group, arrays and the type of their elements, which stay as they are until the end.
 * Out: the operation's result. Nothing waits: an operation does what can be done now and returns, so one thread moves
 *      several of different groups at once. A group has one operation under way at a time.
 * All-to-all and all-gather are the transport's. Sums are made here of messages (comm/sum.c), unless the transport has
 * its own: direct exchange in segments: every rank receives its block's parts from all others and adds them in the
 * order of ranks, so that the bits depend on nothing else; the next segment travels meanwhile. A rank sends (p - 1) / p
 * of the elements, as a ring does, in one round.
 * What sums are made in: FP32 in float, each addition rounded; BF16 in float too, in the same order, and the sum
 * rounded once, to the nearest, ties to even; FP64 in double, by the transport, in an order of its own. Every rank gets
 * the same bits.
 */
#ifndef FSM_COMM_OP_H
#define FSM_COMM_OP_H

#include <fsmoe/export.h>

#include "comm/comm.h"

typedef struct fsm_comm_op fsm_comm_op;

struct fsm_comm_op {
    fsm_comm *comm;
    fsmoe_status (*advance)(fsm_comm_op *op, bool *done); /* NULL: there was nothing to do */
    /* of sums */
    fsm_comm_type type;
    const char *send;
    char *recv;
    const int64_t *counts; /* of blocks */
    int64_t posted, added; /* segments */
    /* of an all-reduce, which is done part after part */
    int64_t left; /* elements after the present part */
    bool gathering;
    float *tree; /* of tree sums */
    int64_t *tree_counts;
    void *object;   /* of an operation that another module makes of messages: what its advance works on */
    double wakes_s; /* when it has something to do whatever has arrived (fsm_clock_s); 0: it waits for others alone */
};

/* recv block s = what rank s sent to me; send block d goes to rank d. ERROR_COMM, as of all of these. */
FSMOE_API fsmoe_status fsm_comm_start_all_to_all(fsm_comm_op *op, fsm_comm *comm, fsm_comm_type type, const void *send,
                                                 const int64_t *send_counts, void *recv, const int64_t *recv_counts);
/* recv = the blocks of all ranks; send may be its own place in recv. */
fsmoe_status fsm_comm_start_all_gather(fsm_comm_op *op, fsm_comm *comm, fsm_comm_type type, const void *send,
                                       void *recv, const int64_t *counts);
/* The same with `count` elements of every rank. */
fsmoe_status fsm_comm_start_all_gather_even(fsm_comm_op *op, fsm_comm *comm, fsm_comm_type type, const void *send,
                                            int64_t count, void *recv);
/* recv = block `rank` of the sum over ranks of send; recv is no part of send unless the group has one rank. FP32,
 * BF16. */
fsmoe_status fsm_comm_start_reduce_scatter(fsm_comm_op *op, fsm_comm *comm, fsm_comm_type type, const void *send,
                                           void *recv, const int64_t *counts);
/* buffer = sum over ranks, the same bits on every rank. FP32, BF16; FP64: few numbers. */
fsmoe_status fsm_comm_start_all_reduce(fsm_comm_op *op, fsm_comm *comm, fsm_comm_type type, void *buffer,
                                       int64_t count);
/* The sum of FP32, added as a balanced binary tree over the ranks in order: the bits that one rank gets by adding their
 * parts that way itself. In host memory. tree: comm->size * FSM_TREE_ELEMS floats, tree_counts: comm->size, both
 * scratch. */
enum { FSM_TREE_ELEMS = 65536 };
fsmoe_status fsm_comm_start_all_reduce_tree(fsm_comm_op *op, fsm_comm *comm, void *buffer, int64_t count, float *tree,
                                            int64_t *tree_counts);

/* Moves the operation along; *done: its result is there. Not again after that. */
FSMOE_API fsmoe_status fsm_comm_advance(fsm_comm_op *op, bool *done);

/* Waits for it, napping. */
fsmoe_status fsm_comm_finish(fsm_comm_op *op);

/* Memory for the counts and sums of a group; a transport calls it for each of its groups. ERROR_MEMORY. */
fsmoe_status fsm_comm_scratch_create(fsm_comm *comm);
void fsm_comm_scratch_destroy(fsm_comm *comm);

#endif
