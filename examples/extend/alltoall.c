/* An all-to-all: the transport's own, which counts what this rank sends. */
#include "extend.h"

int64_t sent_elems;

static fsmoe_status start(fsm_alltoall *alltoall, fsm_comm_op *op, const float *send, float *recv,
                          const fsm_alltoall_counts *counts)
{
    for (int i = 0; i < alltoall->comm->size; i++) sent_elems += counts->send[i];
    return fsm_comm_start_all_to_all(op, alltoall->comm, FSM_COMM_FP32, send, counts->send, recv, counts->recv);
}

const fsm_alltoall_kind my_alltoall = {
    .name = "counted",
    .description = "direct, and counts",
    .source = "examples/extend",
    .start = start,
};
