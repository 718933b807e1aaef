/* The all-to-all between expert-parallel ranks, by algorithm.
 * In:  blocks of rows by destination, counts in elements.
 * Out: blocks by source, once the operation says so. Every algorithm gives the same bits. A kind is one file and one row of the table.
 */
#ifndef FSM_MOE_ALLTOALL_H
#define FSM_MOE_ALLTOALL_H

#include "comm/op.h"

typedef struct fsm_alltoall_kind {
    const char *name, *description, *source;
    fsmoe_status (*start)(fsm_comm_op *op, fsm_comm *comm, const float *send, const int64_t *send_counts, float *recv,
                          const int64_t *recv_counts);
} fsm_alltoall_kind;

const fsm_alltoall_kind *fsm_alltoall_find(const char *name);
extern const fsm_alltoall_kind fsm_alltoall_direct;

#endif
