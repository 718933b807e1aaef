/* The data contract of communication: what moves tensors in a step.
 * In:  contiguous arrays in the memory that the transport moves, the type of their elements; blocks of different ranks
 *      follow one another in rank order; counts in elements, in host memory.
 * Out: the result in caller-owned memory. Every member of a group must make the same calls in the same order.
 * What begins with start_ or post_ returns at once; `test` says when it is there (comm/op.h makes operations of it).
 * Until then all its arrays, counts too, stay as they are. A group of one rank (self.c) does nothing, or copies when
 * two arrays differ. None of it allocates. Any type is moved as it is, bit for bit, as many bytes an element as the
 * type has. A transport of memory that is not the host's fills `copy` and the sums with its own.
 * Errors: ERROR_COMM with the transport's reason; also more elements than the transport counts (MPI: 2^31 - 1), before
 * anything is touched.
 */
#ifndef FSM_COMM_DATA_H
#define FSM_COMM_DATA_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fsm_comm fsm_comm;

typedef enum fsm_comm_type {
    FSM_COMM_FP32,
    FSM_COMM_BF16,
    FSM_COMM_INT64,
    FSM_COMM_FP64,
    FSM_COMM_TYPES
} fsm_comm_type;

static inline size_t fsm_comm_bytes(fsm_comm_type type, int64_t elems)
{
    static const size_t bytes[FSM_COMM_TYPES] = {
        [FSM_COMM_FP32] = 4, [FSM_COMM_BF16] = 2, [FSM_COMM_INT64] = 8, [FSM_COMM_FP64] = 8};
    return bytes[type] * (size_t)elems;
}

/* Messages are posted in one of two slots, so that some can be waited for while others are under way. */
enum { FSM_COMM_SLOTS = 2 };

typedef struct fsm_data_table {
    /* Collectives: at most one under way, alone in slot 0. */
    /* recv block s = what rank s sent to me; send block d goes to rank d */
    fsmoe_status (*start_all_to_all)(fsm_comm *comm, fsm_comm_type type, const void *send, const int64_t *send_counts,
                                     void *recv, const int64_t *recv_counts);
    /* recv = the blocks of all ranks; send may be its own place in recv */
    fsmoe_status (*start_all_gather)(fsm_comm *comm, fsm_comm_type type, const void *send, void *recv,
                                     const int64_t *counts);
    /* buffer = sum over ranks in double, the same bits on every rank: for few numbers */
    fsmoe_status (*start_all_reduce_double)(fsm_comm *comm, void *buffer, int64_t count);
    /* Sums of many FP32 or BF16 elements, as comm/op.h promises of them. NULL: made of the messages below, in host
     * memory. */
    fsmoe_status (*start_reduce_scatter)(fsm_comm *comm, fsm_comm_type type, const void *send, void *recv,
                                         const int64_t *counts);
    fsmoe_status (*start_all_reduce)(fsm_comm *comm, fsm_comm_type type, void *buffer, int64_t count);
    /* Messages to and from other ranks: at most one each way, slot and rank. They arrive in the order posted. */
    fsmoe_status (*post_send)(fsm_comm *comm, int slot, int to, fsm_comm_type type, const void *elems, int64_t count);
    fsmoe_status (*post_recv)(fsm_comm *comm, int slot, int from, fsm_comm_type type, void *elems, int64_t count);
    /* *done: everything in the slot has been sent and received; moves whatever is under way */
    fsmoe_status (*test)(fsm_comm *comm, int slot, bool *done);
    /* Within this rank's memory, between arrays that do not overlap: before what is posted afterwards is sent. NULL:
     * memcpy. */
    void (*copy)(fsm_comm *comm, void *to, const void *from, size_t bytes);
    /* Ends a transport that was laid over the control's own (fsm_comm.data_state). NULL: it is the control's. */
    void (*detach)(fsm_comm *comm);
} fsm_data_table;

#endif
