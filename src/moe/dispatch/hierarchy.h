/* What the all-to-alls that pass blocks on share. A block of no elements is no message, at both ends. */
#ifndef FSM_MOE_HIERARCHY_H
#define FSM_MOE_HIERARCHY_H

#include "moe/dispatch/alltoall.h"

#include <string.h>

/* counts[0] + counts[stride] + …, n of them */
static inline int64_t fsm_blocks_sum(const int64_t *counts, int n, int stride)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++) sum += counts[i * stride];
    return sum;
}

/* Copies a block and moves both ends on. */
static inline void fsm_block_move(const float **from, float **to, int64_t n)
{
    if (n > 0) memcpy(*to, *from, sizeof **to * (size_t)n);
    *from += n;
    *to += n;
}

static inline fsmoe_status fsm_blocks_send(const fsm_alltoall *a, int slot, int to, const float *elems, int64_t n)
{
    return n > 0 ? a->comm->data->post_send(a->comm, slot, to, FSM_COMM_FP32, elems, n) : FSMOE_OK;
}

static inline fsmoe_status fsm_blocks_recv(const fsm_alltoall *a, int slot, int from, float *elems, int64_t n)
{
    return n > 0 ? a->comm->data->post_recv(a->comm, slot, from, FSM_COMM_FP32, elems, n) : FSMOE_OK;
}

static inline void fsm_blocks_begin(fsm_alltoall *a, fsm_comm_op *op, const float *send, float *recv,
                                    const fsm_alltoall_counts *counts,
                                    fsmoe_status (*advance)(fsm_comm_op *op, bool *done))
{
    *op = (fsm_comm_op){.comm = a->comm, .advance = advance, .object = a};
    a->send = send;
    a->recv = recv;
    a->send_counts = counts->send;
    a->recv_counts = counts->recv;
    a->stage = 0;
}

#endif
